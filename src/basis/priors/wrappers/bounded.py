"""Denoised estimates within the range of the data."""

from __future__ import annotations

from torch import Tensor

from basis.core.errors import UsageError
from basis.core.prior import Prior, Wrapper


class Bounded(Wrapper):
    """A prior whose denoised estimates keep to its support: ``clamp(D(x, σ))``, from which the score follows (Tweedie).

    ``E[x₀ | x]`` cannot leave the range of the data; an approximate score can, and a flow's score far from its training
    data can be so wrong that Langevin dynamics run away. Kept in range, its pull is always inwards there.

    Args:
        prior: any prior that has a support; its density, if it has one, is left behind.

    Raises:
        UsageError: the prior has no support.

    Example:
        >>> class Wrong(Prior):
        ...     def denoise(self, x, sigma):
        ...         return 100 * x
        >>> Bounded(Wrong((1,), support=(0.0, 1.0))).denoise(torch.tensor([[3.0]]), 1.0)
        tensor([[1.]])
    """

    def __init__(self, prior: Prior) -> None:
        super().__init__(prior)
        if prior.support is None:
            raise UsageError("the prior does not say which values its data can take", fix="give it a support")
        self.ends = prior.support

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.prior.denoise(x, sigma).clamp(*self.ends)
