"""How sure a figure is that was measured on a number of mixtures."""

from __future__ import annotations

import math

import numpy as np

CONFIDENCE = 0.95
FEWEST = 5  # values from which the spread of their mean can be told at all
FEW = 30  # values below which an interval of skewed ones covers less than it says
RESAMPLES = 9_999
LARGEST = 2_000_000  # numbers in memory at a time


def mean_interval(values: np.ndarray, seed: int = 0, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return a confidence interval of the mean that the values are a sample of: the studentised bootstrap.

    ``(x̄ - t_high s, x̄ - t_low s)`` with s the standard error of the mean x̄ and t_low, t_high the quantiles of
    ``(x̄* - x̄) / s*`` over resamples (Efron & Tibshirani 1993, chapter 12.5). It holds its level for small and for
    skewed samples better than the other bootstraps and Student's t, see docs/results.md. A resample of (nearly) one
    value counts as having a spread, an n-th of the sample's.

    Args:
        values: (n,), n at least 5.
        seed: fixes the resampling.
        confidence: wanted coverage.

    Example:
        >>> low, high = mean_interval(np.array([1.0, 2.0, 3.0, 4.0, 9.0]))
        >>> bool(low < 2.0 < 3.8 < 5.6 < high)
        True
    """
    n, mean = len(values), float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(n)
    rng, t = np.random.default_rng(seed), []
    for part in np.array_split(np.arange(RESAMPLES), math.ceil(RESAMPLES * n / LARGEST)):
        x = values[rng.integers(n, size=(len(part), n))]
        errors = np.maximum(x.std(axis=1, ddof=1) / math.sqrt(n), error / n)
        t.append(np.divide(x.mean(axis=1) - mean, errors, out=np.zeros(len(part)), where=errors > 0))
    low, high = np.quantile(np.concatenate(t), [(1 - confidence) / 2, (1 + confidence) / 2])
    return mean - float(high) * error, mean - float(low) * error


def share_interval(share: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return a confidence interval of a share that was found in n cases (Wilson 1927): at 24 of 24 it is not ± 0.

    Args:
        share: part of the n cases, from 0 to 1.
        n: cases, at least 1.
        confidence: wanted coverage.

    Example:
        >>> [round(end, 3) for end in share_interval(1.0, 24)]
        [0.862, 1.0]
    """
    from scipy.stats import binomtest

    found = binomtest(round(share * n), n).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def standard_error(values: np.ndarray) -> float | None:
    """Return the standard error of the mean of figures (n,), None for fewer than five."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) >= FEWEST else None
