"""A sum that saturates: the non-linear mixing that the paper leaves to future work."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import Mixing
from basis.core.settings import takes
from basis.mixings.weighted_sum import WeightedSum


class Clipped(Mixing):
    """Sum that saturates, ``g(x) = min(max(Σ α_i x_i, low), high)`` (section 5, after Sabour et al. 2017).

    Where the sum is beyond the bounds its derivative is taken as that of the unclipped sum, and the residual counts
    from there: a pixel that must come back into range is pushed there, one that is rightly saturated has no residual
    and stays free (a censored likelihood). The constraint g(x) = m is the same.

    Args:
        alphas: the K weights.
        low, high: where the signal saturates.

    Raises:
        UsageError: bad weights, or low >= high.

    Example:
        >>> Clipped([1.0, 1.0])(torch.tensor([[[0.75], [0.75]]]))
        tensor([[1.]])
    """

    def __init__(self, alphas: Sequence[float], low: float = 0.0, high: float = 1.0) -> None:
        self.sum = WeightedSum(alphas)
        if not (takes(float, low) and takes(float, high) and low < high):
            raise UsageError(f"expected low < high, got {low} and {high}", fix="for instance 0.0 and 1.0")
        self.low, self.high = low, high
        self.sources = self.sum.sources

    def forward(self, x: Tensor) -> Tensor:
        s = self.sum(x)
        return s.clamp(self.low, self.high).detach() + (s - s.detach())

    def residual(self, x: Tensor, m: Tensor) -> Tensor:
        r = m.clamp(self.low, self.high) - self.sum(x)
        r = torch.where(m <= self.low, r.clamp_max(0), r)
        return torch.where(m >= self.high, r.clamp_min(0), r)
