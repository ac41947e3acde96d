"""Measuring separations: mixtures with their truth, figures, comparisons, numbers of sources, calibrations."""
