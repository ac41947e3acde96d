"""What a prior knows, without a mixture: samples of the prior itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from basis.core.arrays import plain_torch
from basis.core.errors import UsageError
from basis.core.limits import check_request
from basis.core.noise import Noise
from basis.core.prior import Prior, Product
from basis.core.sampler import Sampler
from basis.core.schedule import karras
from basis.core.settings import Count, Whole, takes
from basis.samplers.annealed_langevin import AnnealedLangevin
from basis.samplers.heun import Heun

HIGHEST, LOWEST, STEPS, RHO = 10.0, 0.01, 30, 7.0  # noise levels in units of the data's width
CHURN = 10.0


@plain_torch()
def generate(prior: Prior, n: int = 16, seed: int = 0, sampler: Sampler | None = None, batch_size: int = 32) -> Tensor:
    """Draw samples of a prior: the first thing to look at where separations look wrong.

    Each depends on the seed and its own number alone. They start from N(c, σ_1²) with c the middle of the prior's
    support and σ_1 the sampler's largest noise level.

    Args:
        prior: what to draw from.
        n: number of samples.
        seed: fixes the samples.
        sampler: any; by default `Heun` with some churn on 30 noise levels (59 evaluations of each sample) or, for
            priors of discrete levels, `AnnealedLangevin` at these, 100 steps each of a size that suits them.
        batch_size: samples at a time.

    Returns:
        Samples, (n, *S), clamped to the prior's support.

    Raises:
        UsageError: n or batch_size below 1, seed below 0.
        DivergenceError: a sample is not finite.

    Example:
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> generate(unit, n=3).shape
        torch.Size([3, 1])
    """
    if not (isinstance(prior, Prior) and isinstance(sampler, Sampler | None)):
        raise UsageError(
            f"expected a prior and a sampler or None, got {type(prior).__name__} and {type(sampler).__name__}",
            fix="see basis.load_prior and basis.Heun",
        )
    if not (takes(Count, n) and takes(Count, batch_size) and takes(Whole, seed)):
        raise UsageError(
            f"expected whole n >= 1, batch_size >= 1 and seed >= 0, got {n}, {batch_size} and {seed}",
            fix="give numbers",
        )
    check_request(f"n={n}", 4 * n * math.prod(prior.shape), fix="draw fewer samples")
    low, high = prior.support or (0.0, 1.0)
    if sampler is None and prior.levels is None:
        sampler = Heun(karras(HIGHEST * (high - low), LOWEST * (high - low), STEPS, RHO), churn=CHURN)
    sampler = sampler or AnnealedLangevin(torch.tensor(sorted(prior.levels or (), reverse=True)), delta=None)
    target, centre, parts = Product([prior]), (low + high) / 2 if prior.support else 0.0, []
    for start in range(0, n, batch_size):
        noise = Noise(target.shape, seed, range(start, min(start + batch_size, n)), device=prior.device)
        x = centre + sampler.sigmas[0] * noise.normal()
        for state in sampler.run(target, x, noise.normal):
            x = state.x
        parts.append(x[:, 0])
    found = torch.cat(parts)
    return found.clamp(low, high) if prior.support else found
