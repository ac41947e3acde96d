"""Values of any range as pictures: what panels and animations show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from basis.core.mixing import Mixing, range_of
from basis.core.signal import signal_of
from basis.signals._pictures import white

Ends = Sequence[float]


@dataclass(frozen=True)
class View:
    """How the sources and the mixture of a separation are shown.

    Attributes:
        sources, mixtures: their values that are shown darkest and lightest, or lowest and highest.
    """

    sources: Ends
    mixtures: Ends

    def source(self, x: Tensor) -> Tensor:
        """Return sources (N, *S) as pictures, (N, C, H, W)."""
        return pictures(unit(x, self.sources))

    def mixture(self, m: Tensor) -> Tensor:
        """Return mixtures (N, *M) as pictures, (N, C, H, W)."""
        return pictures(unit(m, self.mixtures))

    def error(self, m: Tensor, remixes: Tensor, scale: float) -> Tensor:
        """Return how far remixes (N, *M) are from the mixture (*M), enlarged, as pictures (N, C, H, W)."""
        low, high = self.mixtures
        return pictures(scale * (m - remixes).abs() / (high - low))

    def spread(self, spread: Tensor, scale: float) -> Tensor:
        """Return the spread of each source, (K, *S), enlarged, as pictures (K, C, H, W)."""
        low, high = self.sources
        return pictures(scale * spread / (high - low))


def view(mixture: Tensor, mixing: Mixing, shape: Sequence[int], data_range: Ends | None) -> View:
    """Return how a mixture (*M) and its sources (K, *S) are shown.

    Args:
        mixture: what was separated; it says which values there are where the data range is None.
        mixing: how the sources mix.
        shape: (K, *S).
        data_range: smallest and largest value of the sources.
    """
    if data_range is None:
        ends = _distinct(mixture.min().item(), mixture.max().item())
        return View(ends, ends)
    low, high = data_range
    if (low, high) == (0.0, 1.0):
        return View((low, high), (0.0, white(mixing, torch.zeros(*shape))))
    return View((low, high), _distinct(*range_of(mixing, shape, (low, high))))


def _distinct(low: float, high: float) -> Ends:
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def unit(x: Tensor, ends: Ends) -> Tensor:
    """Return values with the two ends moved to 0 and 1."""
    low, high = ends
    return ((x - low) if low else x) / (high - low)


def pictures(x: Tensor) -> Tensor:
    """Return examples (N, *S) with values in [0, 1] as pictures, (N, C, H, W)."""
    signal = signal_of(x.shape[1:])
    return torch.stack([signal.picture(one) for one in x])
