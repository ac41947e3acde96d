"""Which of several samples a prior finds the likeliest: exactly where it has a density, estimated where it has none."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.plausibility import denoising_errors, in_widths
from basis.core.prior import DensityPrior, Product
from basis.core.problem import Problem
from basis.core.schedule import geometric
from basis.priors._flow import flow_log_prob
from basis.priors.wrappers.counted import uncounted

SIGMA = 0.01  # the paper's smallest noise level, for priors that know any
LEVELS = geometric(1.0, 0.05, 6)  # noise levels of the denoising rank, in widths of the data's range
DRAWS = 4  # at each of them
FLOW_STEPS, FLOW_END = 16, 10.0  # steps of the flow rank, and its largest noise level
SHARP = 0.05  # its noise level: the smallest of the denoising rank's


def likelihood(prior: Product, x: Tensor, sigma: float | None = None) -> Tensor:
    """Return ``Σ_k log p_σ(x_k)`` of each stack of sources x (N, K, *S), in nats, (N,); σ as in `BestOf`."""
    check_density(prior)
    if sigma is None:
        sigma = min(prior.levels) if prior.levels else SIGMA
    total = x.new_zeros(len(x))
    for k, i in enumerate(prior.order):
        total += prior.distinct[i].log_prob(x[:, k], sigma)  # type: ignore[operator]
    return total


def denoising(prior: Product, x: Tensor, sigma: float | None = None, draws: int = DRAWS) -> Tensor:
    """Return how well the prior denoises each stack of sources x (N, K, *S), in nats up to a constant, (N,).

    ``-Δ Σ_σ Σ_k E_ε ‖D(x_k + σ ε, σ) - x_k‖² / σ²`` over six geometric levels σ from 1 to 0.05 times the width of the
    prior's data range (of 1, where it has none), Δ the step of ln σ.
    With an exact denoiser this integral over all ln σ is log p(x) + constant (Kong et al. 2023, "Information-theoretic
    diffusion"): here for differences between images that show at these levels. Of four draws of ε, the same for every
    stack and every source, so that differences are less noisy than scores, and a stack's score does not depend on
    which others there are.

    Args:
        prior: of any kind; one with discrete levels is asked at the nearest of those.
        x: stacks of sources, (N, K, *S).
        sigma: not used, see `likelihood`.
        draws: of ε at each level.
    """
    sigmas = in_widths(prior, LEVELS)
    step = math.log(LEVELS[0] / LEVELS[-1]) / max(len(sigmas) - 1, 1)
    total = x.new_zeros(len(x))
    for level, error in denoising_errors(prior, x, sigmas, draws):
        total -= step / draws * error.flatten(1).square().sum(1) / level**2
    return total


def flow(prior: Product, x: Tensor, sigma: float | None = None) -> Tensor:
    """Return ``Σ_k log p_σ(x_k)`` of each stack of sources x (N, K, *S) by the probability-flow ODE, in nats, (N,).

    For priors without a density, see `flow_log_prob`: 16 steps from σ, by default 0.05, to 10, one probe, the same for
    every stack and source: 33 evaluations and 17 backward passes.
    """
    parts = [
        flow_log_prob(prior.distinct[i], x[:, k], SHARP if sigma is None else sigma, FLOW_END, FLOW_STEPS)
        for k, i in enumerate(prior.order)
    ]
    return torch.stack(parts).sum(0)


def few(prior: Product, x: Tensor, sigma: float | None = None) -> Tensor:
    """Return the denoising rank from one draw at each level: a quarter of its evaluations, a little more noise."""
    return denoising(prior, x, sigma, draws=1)


def fit(problem: Problem, x: Tensor) -> Tensor | float:
    """Return what a noisy mixture adds to the ranks of stacks x, (B · n, K, *S): ``-‖m - g(x)‖² / 2σ_y²``, (B · n,).

    Ranks are log p(x) up to a constant, so that these sums are log p(x | m). Of exact mixtures, which all stacks meet,
    it is 0.
    """
    if not problem.noise:
        return 0.0
    mixture = problem.mixture.repeat_interleave(len(x) // len(problem.mixture), 0)
    return -(mixture - problem.mixing(x)).flatten(1).square().sum(1) / (2 * problem.noise**2)


RANKS = {"likelihood": likelihood, "denoising": denoising, "few": few, "flow": flow}


def natural(prior: Product):
    """Return the rank that suits a prior: exact where every source has a density."""
    return likelihood if all(isinstance(one, DensityPrior) for one in prior.distinct) else denoising


def check_density(prior: Product) -> None:
    """Raise `UsageError` where the likelihood of samples cannot be computed."""
    for one in prior.distinct:
        if not isinstance(one, DensityPrior):
            raise UsageError(
                f"rank likelihood needs a density, which a prior of kind {type(uncounted(one)).__name__} does not give",
                fix='take rank="denoising", or a prior with a density, such as a Glow',
            )
