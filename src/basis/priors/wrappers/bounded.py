"""Denoised estimates within the range of the data."""

from __future__ import annotations

from torch import Tensor

from basis.core.errors import UsageError
from basis.core.prior import Prior, Wrapper


class Bounded(Wrapper):
    """A prior whose denoised estimates are clamped to its data range.

    ``E[x₀ | x]`` cannot leave the range of the data; an approximate score can, and a flow's score far from its training
    data can be so wrong that Langevin dynamics run away. Kept in range, its pull is always inwards there.

    Args:
        prior: any prior that has a data range; its density, if it has one, is left behind.

    Raises:
        UsageError: the prior has no data range.

    Example:
        >>> import torch
        >>> class Wrong(Prior):
        ...     def denoise(self, x, sigma):
        ...         return 100 * x
        >>> Bounded(Wrong((1,), data_range=(0.0, 1.0))).denoise(torch.tensor([[3.0]]), 1.0)
        tensor([[1.]])
    """

    def __init__(self, prior: Prior) -> None:
        super().__init__(prior)
        if prior.data_range is None:
            raise UsageError("the prior does not say which values its data can take", fix="give it a data range")
        self.ends = prior.data_range

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.prior.denoise(x, sigma).clamp(*self.ends)
