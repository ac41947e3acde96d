"""A posterior is a denoiser, as a prior is: ``E[x₀ | x, m]``. Any sampler draws from either."""

from __future__ import annotations

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import Mixing
from basis.core.prior import Prior, Wrapper
from basis.core.registry import Registry


class Posterior(Wrapper):
    """Distribution p(x | m) of the sources of given mixtures, over stacks x of shape (B, K, *S).

    Args:
        prior: p(x) over stacks of sources, usually a `Product`.
        mixing: the map g from sources to mixture.
        mixture: the mixtures m, (B, *M).

    Example:
        >>> import torch
        >>> from basis import GaussianMixture, WeightedSum
        >>> class Ignorant(Posterior):
        ...     def denoise(self, x, sigma):
        ...         return self.prior.denoise(x, sigma)
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> Ignorant(unit, WeightedSum([1.0]), torch.zeros(1, 1)).denoise(torch.tensor([[2.0]]), 1.0)
        tensor([[1.]])
    """

    def __init__(self, prior: Prior, mixing: Mixing, mixture: Tensor) -> None:
        super().__init__(prior)
        self.mixing, self.mixture = mixing, mixture


def deviations(noise: float | Tensor, mixture: Tensor) -> Tensor:
    """Return the standard deviation of mixtures' noise, () or (B,), as the mixtures' type; `UsageError` below 0."""
    found = torch.as_tensor(noise, dtype=mixture.dtype, device=mixture.device)
    if not ((found >= 0) & found.isfinite()).all():
        raise UsageError(
            f"the mixture's noise must be a standard deviation of at least 0, got {noise}",
            fix="in units of the data, for instance 0.1",
        )
    return found


POSTERIORS = Registry("posterior", "basis.posteriors", Posterior)
