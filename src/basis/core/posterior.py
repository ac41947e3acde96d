"""A posterior is a prior: p(x | m) is known through its score as p(x) is, so that any sampler draws from either."""

from __future__ import annotations

from torch import Tensor

from basis.core.mixing import Mixing
from basis.core.prior import Prior
from basis.core.registry import Registry


class Posterior(Prior):
    """Distribution p(x | m) of the sources of given mixtures, over stacks x of shape (B, K, *S).

    Args:
        prior: p(x) over stacks of sources, usually a `Product`.
        mixing: the map g from sources to mixture.
        mixture: the mixtures m, (B, *M).
    """

    def __init__(self, prior: Prior, mixing: Mixing, mixture: Tensor) -> None:
        super().__init__(prior.shape, prior.support)
        self.prior, self.mixing, self.mixture = prior, mixing, mixture


POSTERIORS = Registry("posterior", "basis.posteriors", Posterior)
