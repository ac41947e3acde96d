"""How many sources there are: the evidence for K = 1, 2, … of them."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from basis.api import separate, warn_of
from basis.core.arrays import as_tensor, plain_torch
from basis.core.assessment import assess
from basis.core.errors import UncertainWarning, UsageError
from basis.core.prior import DensityPrior, Prior
from basis.core.problem import pose
from basis.core.separator import Separation, Separator
from basis.core.settings import Count, Positive, takes
from basis.io.limits import check_request
from basis.mixings.weighted_sum import WeightedSum
from basis.priors._flow import flow_log_prob

MOVED = 0.1  # total variation from which chances are no probabilities
LARGEST = 1 - 1e-6  # eigenvalue
SMALL, PROBES = 64, 4  # dimensions up to which a determinant is exact, and random vectors that estimate it above
UNCERTAIN = (
    "the chances of the numbers are no probabilities: sources of this prior vary on the scale of the noise, and larger "
    "numbers are favoured too little. To fix: read them as an order, or take a larger sigma in basis.count_sources"
)
FLOW = {"sigma_max": 10.0, "steps": 24, "probes": 4}  # of the log-likelihood of priors without a density


@dataclass(frozen=True, eq=False)
class Counting:
    """The evidence for each number of sources, and a separation into each.

    Attributes:
        evidence: log p(m | K) for K = 1, 2, …, (B, most), in nats, for sources that do not vary within the noise.
        separations: of all mixtures into K = 1, 2, … sources.
        missing: nats that the evidence lacks because they do, (B, most): an estimate, see `count_sources`. NaN where
            the prior gives no derivatives.

    Example:
        >>> found = Counting(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), (), torch.zeros(2, 2))
        >>> found.counts, found.chances[0], found.uncertain
        (tensor([2, 1]), tensor([0.2689, 0.7311]), tensor([False, False]))
    """

    evidence: Tensor
    separations: tuple[Separation, ...]
    missing: Tensor

    @property
    def counts(self) -> Tensor:
        """The likeliest number of sources of each mixture, (B,), int64."""
        return self.evidence.argmax(1) + 1

    @property
    def chances(self) -> Tensor:
        """What the evidence makes of each K, (B, most), with sum 1, where every K was as likely beforehand.

        They are the probabilities p(K | m) only where sources do not vary within the noise; see `uncertain`.
        """
        return torch.softmax(self.evidence, 1)

    @property
    def uncertain(self) -> Tensor:
        """Whether the chances of each mixture are no probabilities, (B,): what is missing would move them."""
        moved = torch.softmax(self.evidence + self.missing.nan_to_num(), 1) - self.chances
        return moved.abs().sum(1) / 2 > MOVED

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

    K! orders (of sources that differ), for each source the probability of examples that the noise does not tell from
    it, and the density of the noise. It is exact where s is small beside the distances of the examples that the prior
    knows, these do not vary on the scale of s, and x̂ is the only answer. Of sources that do vary, with covariance C
    around x̂_k, the examples that mix to m are more than the noise's own, and larger K are favoured too little, by
    about

    ``(K - 1) / 2K Σ_k log det(I + K C / s²) = -(K - 1) / 2K Σ_k log det(I - ∂D/∂x)``, D the denoiser at s / √K,

    which is exact for normal sources. It is estimated as `Counting.missing` and not added: where it would move the
    chances by more than a tenth they are no probabilities, and a warning says so.
    Of a mean of K sources, m is K times what is given, s as well, and the density that of the mean, K^D times as large.

    Args:
        mixture: the plain sum of the sources, or their mean, (*S) or (B, *S).
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
        UncertainWarning: the chances are no probabilities, because sources vary on the scale of sigma.
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
    check_request(f"most={most}", 4 * most**2 * as_tensor(mixture).numel(), fix="try fewer sources")
    mixture = pose(mixture, prior, WeightedSum([1.0 / most if mean else 1.0] * most), sigma).mixture
    size, found, evidence, missing = math.prod(prior.shape), [], [], []
    for count in range(1, most + 1):
        scale, mixing = count if mean else 1, WeightedSum([1.0] * count)
        s, m = scale * sigma, scale * mixture
        own = s / math.sqrt(count)
        # What is more than K sources can sum to is cut off: the residual says by how much.
        inside = m if prior.data_range is None else m.clamp(count * prior.data_range[0], count * prior.data_range[1])
        part = separate(inside, prior, mixing, method, seed=seed, index=index, assess=False, **settings)
        worth = assess(pose(inside, prior, mixing), part, len(mixture))
        found.append(dataclasses.replace(part, assessment=worth))
        x = found[-1].sources
        logs = _log_prob(prior, x.flatten(0, 1), own).unflatten(0, x.shape[:2]).sum(1).cpu()
        free = _freedom(prior, x.flatten(0, 1), own).unflatten(0, x.shape[:2]) if count > 1 else x.new_zeros(1, 1)
        missing.append((count - 1) / 2 * free.mean(1).cpu().expand(len(x)))
        error = (m - mixing(x).cpu()).flatten(1).square().sum(1)
        normal = 0.5 * size * (count * math.log(2 * math.pi * own**2) - math.log(2 * math.pi * s**2))
        evidence.append(math.lgamma(count + 1) + logs + normal - error / (2 * s**2) + size * math.log(scale))
    counting = Counting(torch.stack(evidence, 1), tuple(found), torch.stack(missing, 1))
    if uncertain := counting.uncertain.nonzero().flatten().tolist():
        warnings.warn(f"mixture {', '.join(map(str, uncertain))}: {UNCERTAIN}", UncertainWarning, stacklevel=3)
    warn_of(counting.unlikely.nonzero().flatten().tolist(), len(mixture))
    return counting


@torch.no_grad()
def _log_prob(prior: Prior, x: Tensor, sigma: float) -> Tensor:
    if isinstance(prior, DensityPrior):
        return prior.log_prob(x, sigma)
    return flow_log_prob(prior, x, sigma, **FLOW)  # type: ignore[arg-type]


def _freedom(prior: Prior, x: Tensor, sigma: float) -> Tensor:
    """Return ``-log det(I - J)`` of the denoiser's derivative J at x, (N,); NaN where the prior gives none.

    J has the eigenvalues ``c / (c + σ²)``, c the variances of the sources around x. Of large examples its trace and
    that of ``J Jᵀ`` are estimated from random signs, and J is taken to have one eigenvalue other than 0.
    """
    size, x = x[0].numel(), x.detach().clone()
    if size <= SMALL:
        vectors = torch.eye(size)
    else:
        vectors = torch.randint(0, 2, (PROBES, size), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    with torch.enable_grad():
        x.requires_grad_()
        clean = prior.denoise(x, sigma)
    if not clean.requires_grad:
        return x.new_full((len(x),), math.nan)
    rows = torch.stack([_pull(clean, x, v.to(x).reshape(x.shape[1:])) for v in vectors], 1)  # Jᵀ v, (N, V, size)
    if size <= SMALL:
        eigenvalues = torch.linalg.eigvalsh((rows + rows.mT).double() / 2)
        return -torch.log1p(-eigenvalues.clamp(0, LARGEST)).sum(1).to(x)
    trace, square = (rows * vectors.to(x)).sum(2).mean(1).clamp_min(0), rows.square().sum(2).mean(1)
    share = (square / trace.clamp_min(torch.finfo(x.dtype).tiny)).clamp(1e-6, LARGEST)
    return -trace / share * torch.log1p(-share)


def _pull(clean: Tensor, x: Tensor, v: Tensor) -> Tensor:
    return torch.autograd.grad(clean, x, v.expand_as(x), retain_graph=True)[0].flatten(1)
