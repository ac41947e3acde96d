"""A prior of any denoiser: a function or a network of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from basis.core.prior import Prior, per_example


class FunctionPrior(Prior):
    """A prior whose denoiser is given, see `as_prior`; arguments are those."""

    def __init__(
        self,
        denoiser: Callable[[Tensor, Tensor], Tensor],
        shape: Sequence[int],
        data_range: tuple[float, float] | None = None,
        levels: Sequence[float] | None = None,
    ) -> None:
        super().__init__(shape, data_range, levels)
        self.denoiser = denoiser

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        return self.denoiser(x, level if isinstance(self.denoiser, nn.Module) else per_example(level, x))


def as_prior(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    shape: Sequence[int],
    data_range: tuple[float, float] | None = None,
    levels: Sequence[float] | None = None,
) -> Prior:
    """Return a prior made of a denoiser ``D(x, σ) = E[x₀ | x₀ + σ ε = x]``, a function or a network.

    Args:
        denoiser: called with x, (B, *S), and σ; returns the denoised estimate, (B, *S). A network (`torch.nn.Module`)
            gets σ as (B,), as networks take it; any other function as (B, 1, …, 1), for formulas with x.
        shape: shape S of one example.
        data_range: smallest and largest value that the data can take; None for any.
        levels: noise levels that the denoiser knows, decreasing, where it knows only some; None for any.

    Raises:
        UsageError: an argument is not as described.

    Example:
        >>> prior = as_prior(lambda x, sigma: x / (1 + sigma**2), shape=(1, 2, 2))  # x₀ ~ N(0, I)
        >>> prior.score(torch.full((1, 1, 2, 2), 2.0), 1.0).flatten()
        tensor([-1., -1., -1., -1.])
    """
    return FunctionPrior(denoiser, shape, data_range, levels)
