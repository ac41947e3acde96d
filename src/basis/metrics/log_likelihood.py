"""How typical images are of a prior with a density: Table 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.metric import Metric
from basis.core.prior import DensityPrior
from basis.core.settings import Whole, takes

BINS = 256  # of 8-bit images
BATCH = 100  # images at a time


class LogLikelihood(Metric):
    """Mean over the sources of their log-likelihood under a prior, in nats an image; the truth is not looked at.

    Args:
        prior: p.
        sigma: noise level of the density log p_σ; by default the prior's smallest, 0.01 where it knows any.

    Example:
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture([1.0], [[0.0]], [[[1.0]]])
        >>> LogLikelihood(unit, sigma=0.0)(torch.zeros(1, 2, 1))
        tensor([-0.9189])
    """

    unit = "nats"

    def __init__(self, prior: DensityPrior, sigma: float | None = None) -> None:
        if not isinstance(prior, DensityPrior):
            raise UsageError(
                f"a prior of kind {type(prior).__name__} has no density", fix="choose one that has, such as a Glow"
            )
        self.prior = prior
        self.sigma = smallest(prior) if sigma is None else sigma

    @torch.no_grad()
    def __call__(self, estimate: Tensor, target: Tensor | None = None) -> Tensor:
        parts = estimate.flatten(0, 1).to(self.prior.device, torch.float32).split(BATCH)
        found = torch.cat([self.prior.log_prob(part, self.sigma) for part in parts])
        return found.unflatten(0, estimate.shape[:2]).mean(1)


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """The three columns of Table 1 for one data set, image by image, in nats.

    Attributes:
        test: log p of the test images, (N,); None where the prior has no density at σ = 0.
        noisy: log p_σL of the test images, (N,).
        separated: log p_σL of the separated images, (M,).
        dimensions: D, pixels times channels of an image.
    """

    test: Tensor | None
    noisy: Tensor
    separated: Tensor
    dimensions: int

    def bits(self) -> dict[str, float | None]:
        """Return the means in bits a dimension of 8-bit images, as the table prints them; smaller is likelier."""
        columns = {"test": self.test, "noisy": self.noisy, "separated": self.separated}
        return {k: None if v is None else bits_per_dim(v, self.dimensions).mean().item() for k, v in columns.items()}


def likelihoods(prior: DensityPrior, test: Tensor, separated: Tensor, seed: int = 0) -> Likelihoods:
    """Measure how typical separated images are beside those of the test set (Table 1).

    Test images are dequantised as for training, ``x · 255/256 + u/256`` with u uniform; separated images are
    continuous, and taken as they are.

    Args:
        prior: p, and p_σL at its smallest noise level (0.01 where it knows any).
        test: 8-bit test images in [0, 1], (N, *S).
        separated: separated images in [0, 1], (M, *S): for instance ``separation.sources.flatten(0, 1)``.
        seed: fixes u.

    Raises:
        UsageError: the prior has no density, images are not of its shape, or the seed is none.

    Example:
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture([1.0], [[0.5]], [[[0.1]]])
        >>> found = likelihoods(unit, torch.tensor([[0.2], [0.6]]), torch.tensor([[0.5]]))
        >>> {name: round(bits, 1) for name, bits in found.bits().items()}
        {'test': 8.0, 'noisy': 8.0, 'separated': 7.7}
    """
    noisy = LogLikelihood(prior)
    if shape := next((tuple(x.shape) for x in (test, separated) if tuple(x.shape[1:]) != prior.shape), None):
        raise UsageError(f"expected images (N, *{prior.shape}), got {shape}", fix="bring them to the prior's size")
    images = dequantise(test, seed)[:, None]
    try:
        clean = LogLikelihood(prior, 0.0)(images)
    except UsageError:  # a flow for each level, none of them for σ = 0
        clean = None
    return Likelihoods(clean, noisy(images), noisy(separated[:, None]), math.prod(prior.shape))


def dequantise(images: Tensor, seed: int = 0) -> Tensor:
    """Return 8-bit images k / 255 spread over their bins: ``(k + u) / 256``, u uniform on [0, 1), of the same shape."""
    if not takes(Whole, seed):
        raise UsageError(f"expected a whole seed of at least 0, got {seed}", fix="for instance 0")
    u = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)).to(images)
    return (images * (BINS - 1) + u) / BINS


def bits_per_dim(nats: Tensor, dimensions: int) -> Tensor:
    """Return ``8 - log p / (D log 2)``: densities over [0, 1]^D in nats as code lengths of 8-bit images."""
    return math.log2(BINS) - nats / (dimensions * math.log(2))


def smallest(prior: DensityPrior) -> float:
    """Return the smallest noise level of a prior; the paper's where it knows any."""
    return min(prior.levels) if prior.levels else 0.01
