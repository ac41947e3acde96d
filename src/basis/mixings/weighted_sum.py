"""The mixing of the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.checks import weights_of
from basis.core.errors import UsageError
from basis.core.mixing import Mixing

TOLERANCE = 1e-6  # what counts as met, in units of the mixture


class WeightedSum(Mixing):
    """Weighted sum ``g(x) = Σ α_i x_i`` (equation 1).

    Args:
        alphas: the K weights, finite numbers, not all zero.

    Raises:
        UsageError: weights that are not so; a stack of another number of sources.

    Example:
        >>> import torch
        >>> WeightedSum([0.25, 0.75])(torch.tensor([[[0.0], [1.0]]]))
        tensor([[0.7500]])
    """

    def __init__(self, alphas: Sequence[float]) -> None:
        self.alphas = weights_of(alphas, fix="give one a source, for instance [1.0, 1.0] for the plain sum of two")
        self.sources = len(self.alphas)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.sources:
            raise UsageError(
                f"expected {self.sources} sources, (B, {self.sources}, ...), got {tuple(x.shape)}",
                fix="give as many as there are weights",
            )
        return torch.tensordot(x.movedim(1, -1), x.new_tensor(self.alphas), 1)

    def project(
        self, x: Tensor, m: Tensor, data_range: tuple[float, float] | None = None, variance: Tensor | None = None
    ) -> Tensor:
        """Return the sources close to x, (B, K, *S), that mix to m, (B, *M), as `Mixing.project`, but directly.

        What is missing is shared among the sources that can still move, ``x_k + α_k (m - g(x)) / Σ α²``; in each round
        a source of every pixel comes to its bound, or the pixel is done. With variances v, (B, K, *S), those move most
        that are least sure, ``x_k + α_k v_k (m - g(x)) / Σ α² v``.
        """
        low, high = data_range or (-math.inf, math.inf)
        alphas = x.new_tensor(self.alphas).reshape(-1, *[1] * (x.dim() - 2))
        for _ in range(self.sources + 1 if data_range else 1):
            r = self.residual(x, m)[:, None]
            if r.abs().max() <= TOLERANCE and x.min() >= low and x.max() <= high:
                break
            way = alphas * r if variance is None else alphas * variance * r
            # Sources out of bounds come in at once, those at a bound leave it inwards only.
            weight = alphas**2 if variance is None else alphas**2 * variance
            gain = torch.where(torch.where(way > 0, x < high, x > low), weight, 0.0)
            share = way / gain.sum(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
            x = torch.where(gain > 0, x + share, x).clamp(low, high)
        return x
