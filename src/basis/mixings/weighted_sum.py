"""The mixing of the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import Mixing


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
        self.alphas = tuple(float(alpha) for alpha in alphas)
        if not any(self.alphas) or not all(math.isfinite(alpha) for alpha in self.alphas):
            raise UsageError(
                f"expected at least one weight, finite and not all zero, got {list(self.alphas)}",
                fix="give one weight a source, for instance [1.0, 1.0] for the plain sum of two",
            )
        self.sources = len(self.alphas)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.sources:
            raise UsageError(f"expected {self.sources} sources, (B, {self.sources}, ...), got {tuple(x.shape)}")
        return torch.tensordot(x.movedim(1, -1), x.new_tensor(self.alphas), 1)
