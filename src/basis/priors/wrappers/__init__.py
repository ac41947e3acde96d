"""Priors made of another prior."""
