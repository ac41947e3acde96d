"""How many sources there are: the evidence for K = 1, 2, … of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from basis.api import pose, separate, warn_of
from basis.core.arrays import as_tensor, plain_torch
from basis.core.assessment import assess
from basis.core.errors import UsageError
from basis.core.flow import flow_log_prob
from basis.core.limits import check_request
from basis.core.prior import DensityPrior, Prior
from basis.core.separator import Separation, Separator
from basis.core.settings import Count, Positive, takes
from basis.mixings.weighted_sum import WeightedSum

FLOW = {"sigma_max": 10.0, "steps": 24, "probes": 4}  # of the log-likelihood of priors without a density


@dataclass(frozen=True, eq=False)
class Counting:
    """The evidence for each number of sources, and a separation into each.

    Attributes:
        evidence: log p(m | K) for K = 1, 2, …, (B, most), in nats.
        separations: of all mixtures into K = 1, 2, … sources.

    Example:
        >>> found = Counting(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), ())
        >>> found.counts, found.posterior[0]
        (tensor([2, 1]), tensor([0.2689, 0.7311]))
    """

    evidence: Tensor
    separations: tuple[Separation, ...]

    @property
    def counts(self) -> Tensor:
        """The likeliest number of sources of each mixture, (B,), int64."""
        return self.evidence.argmax(1) + 1

    @property
    def posterior(self) -> Tensor:
        """p(K | m) where every K was as likely beforehand, (B, most)."""
        return torch.softmax(self.evidence, 1)

    @property
    def unlikely(self) -> Tensor:
        """Whether no sources of the prior could have made each mixture, (B,): then its count says nothing.

        By the separation into that number, see `Assessment`; False where the prior has no calibration.
        """
        told = [part.assessment and part.assessment.doubtful for part in self.separations]
        return torch.tensor([i in (told[count - 1] or ()) for i, count in enumerate(self.counts.tolist())])


@plain_torch()
def count_sources(
    mixture: Tensor | np.ndarray,
    prior: Prior,
    most: int = 4,
    method: str | Separator = "quality",
    *,
    mean: bool = False,
    sigma: float = 0.1,
    seed: int = 0,
    index: Sequence[int] | None = None,
    **settings,
) -> Counting:
    """Find how many sources of one kind add up to a mixture, from the evidence for each number of them.

    With noise of standard deviation s in the sum m of the sources, s / √K of it in each, and x̂ a separation,

    ``log p(m | K) ≈ log K! + Σ_k [log p_{s/√K}(x̂_k) + ½ D log(2π s²/K)] - ½ D log(2π s²) - ‖m - Σ_k x̂_k‖² / 2s²``:

    K! orders, for each source the probability of images that the noise does not tell from it, and the density of the
    noise. It is exact where s is small beside the distances of the images that the prior knows, and x̂ the only answer.
    Of a mean of K sources, m is K times what is given, s as well, and the density that of the mean, K^D times as large.

    Args:
        mixture: the plain sum of the sources, or their mean, (C, H, W) or (B, C, H, W).
        prior: of every source. Where it has no density, log p is that of its probability flow, see `flow_log_prob`.
        most: largest number K that is tried, at least 1.
        method: how to separate; name of a preset or a separator, or a separator.
        mean: whether the mixture is the mean of its sources, as an image file is, and not their sum.
        sigma: noise in the mixture that is given, in units of the data.
        seed, index: fix the separations, see `separate`.
        **settings: of the method.

    Raises:
        UsageError: most or sigma out of range; and what `separate` raises.

    Warns:
        UnlikelyMixtureWarning: no number of sources of this prior could have made the mixture, by its own measure.

    Example:
        >>> from basis import GaussianMixture
        >>> levels = GaussianMixture([1, 1], [[[[0.3]]], [[[0.5]]]], [[[1e-6]], [[1e-6]]])
        >>> found = count_sources(torch.full((1, 1, 1), 1.1), levels, method="basis", sigma=0.03)
        >>> found.counts  # 0.3 + 0.3 + 0.5
        tensor([3])
    """
    if not (takes(Count, most) and takes(Positive, sigma)):
        raise UsageError(f"expected most >= 1 and sigma > 0, got {most} and {sigma}", fix="for instance most=4")
    mixture = as_tensor(mixture)
    check_request(f"most={most}", 4 * most**2 * mixture.numel(), fix="try fewer sources")
    mixture = mixture[None] if mixture.dim() == len(prior.shape) else mixture
    size, found, evidence = math.prod(prior.shape), [], []
    for count in range(1, most + 1):
        scale, mixing = count if mean else 1, WeightedSum([1.0] * count)
        s, m = scale * sigma, scale * mixture
        own = s / math.sqrt(count)
        # What is more than K sources can sum to is cut off: the residual says by how much.
        inside = m if prior.support is None else m.clamp(count * prior.support[0], count * prior.support[1])
        part = separate(inside, prior, mixing, method, seed=seed, index=index, assess=False, **settings)
        worth = assess(pose(inside, prior, mixing), part, len(mixture))
        found.append(dataclasses.replace(part, assessment=worth))
        x = found[-1].sources
        logs = _log_prob(prior, x.flatten(0, 1), own).unflatten(0, x.shape[:2]).sum(1).cpu()
        error = (m - mixing(x).cpu()).flatten(1).square().sum(1)
        normal = 0.5 * size * (count * math.log(2 * math.pi * own**2) - math.log(2 * math.pi * s**2))
        evidence.append(math.lgamma(count + 1) + logs + normal - error / (2 * s**2) + size * math.log(scale))
    counting = Counting(torch.stack(evidence, 1), tuple(found))
    warn_of(counting.unlikely.nonzero().flatten().tolist(), len(mixture))
    return counting


@torch.no_grad()
def _log_prob(prior: Prior, x: Tensor, sigma: float) -> Tensor:
    if isinstance(prior, DensityPrior):
        return prior.log_prob(x, sigma)
    return flow_log_prob(prior, x, sigma, **FLOW)  # type: ignore[arg-type]
