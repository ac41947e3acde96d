"""What a separation costs, counted where it is spent: at the priors."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from basis.core.prior import DensityPrior, Prior, Product, Wrapper


class Meter:
    """How many examples some priors were asked for, backward passes through their answers counted as one more each.

    Attributes:
        examples: the number so far.
    """

    def __init__(self) -> None:
        self.examples = 0

    def spent(self, rows: int) -> int:
        """Return the evaluations for each of some rows, which share them equally; parts count as whole ones."""
        return math.ceil(self.examples / rows)

    def count(self, found: Tensor) -> Tensor:
        """Count an answer for (B, ...) examples, and again each time that gradients pass back through it."""
        if not isinstance(found, Tensor) or not found.dim():
            return found  # which `Product` refuses
        size = len(found)
        self.examples += size
        if found.requires_grad:
            found.register_hook(lambda _: self._again(size))
        return found

    def _again(self, size: int) -> None:
        self.examples += size


class Counted(Wrapper):
    """A prior whose evaluations are counted, and that is the same in all else.

    A score, a denoised estimate or a density of one example is one evaluation, however the prior finds it; a backward
    pass through that answer is one more. Of a `Windowed` prior all windows together are one.

    Example:
        >>> import torch
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> prior, meter = counted(Product([unit, unit]))
        >>> found = prior.denoise(torch.zeros(5, 2, 1), 1.0)
        >>> meter.examples
        10
    """

    def __init__(self, prior: Prior, meter: Meter) -> None:
        super().__init__(prior)
        self.meter = meter

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.meter.count(self.prior.score(x, sigma))

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.meter.count(self.prior.denoise(x, sigma))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "prior":  # not there yet
                raise
            return getattr(self.prior, name)


class CountedDensity(Counted, DensityPrior):
    """A prior with a density whose evaluations are counted, see `Counted`."""

    prior: DensityPrior

    def log_prob(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.meter.count(self.prior.log_prob(x, sigma))

    def initialise(self, x: Tensor, sigma: Tensor) -> None:
        self.prior.initialise(x, sigma)


def counted(prior: Product) -> tuple[Product, Meter]:
    """Return the sources' priors with one meter for all of them, which counts from zero."""
    meter = Meter()
    kinds = [CountedDensity if isinstance(one, DensityPrior) else Counted for one in prior.distinct]
    watched = [kind(one, meter) for kind, one in zip(kinds, prior.distinct, strict=True)]
    return Product([watched[i] for i in prior.order]), meter


def uncounted(prior: Prior) -> Prior:
    """Return the prior that is counted, or the prior itself."""
    return uncounted(prior.prior) if isinstance(prior, Counted) else prior
