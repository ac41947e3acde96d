"""What comes with the package: weights, recipes, examples."""
