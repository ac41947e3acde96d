"""The log-likelihood of a score model, by its probability-flow ODE."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from basis.core.arrays import plain_torch
from basis.core.errors import UsageError
from basis.core.noise import Noise
from basis.core.prior import Prior
from basis.core.schedule import geometric, nearest
from basis.core.settings import Count, Whole, takes


@plain_torch()
def flow_log_prob(
    prior: Prior,
    x: Tensor,
    sigma: float = 0.05,
    sigma_max: float = 20.0,
    steps: int = 32,
    probes: int | None = 1,
    seed: int = 0,
) -> Tensor:
    """Return log p_σ(x) from the prior's score alone, (B,), in nats.

    The probability-flow ODE ``dx/d ln σ = -σ² ∇ log p_σ(x)`` carries p_σ to p_σmax, on the way ``d log p_σ(x) / d ln σ
    = σ² ∇·∇ log p_σ(x)`` (Song et al. 2021, "Score-based generative modeling through SDEs", appendix D.2), and there
    the density is taken for ``N(D(x, σ_max), σ_max² I)``: too narrow by the data's own variance v, which costs the
    constant ``½ d v / σ_max²``. Both are integrated by Heun's method with equal steps of ln σ.

    Args:
        prior: any prior whose denoiser can be differentiated. Of discrete levels the nearest ones are taken.
        x: examples, (B, *S).
        sigma: noise level of the density, in units of the data.
        sigma_max: where the density is a normal one: large beside the data.
        steps: steps N; 2 N + 1 evaluations, and N + 1 backward passes for each probe.
        probes: random signs v for Hutchinson's estimate ``E vᵀ J v`` of the divergence, J the score's derivative; the
            same for all examples, so that differences between them are less noisy than values. None takes each of the d
            unit vectors in turn: exact, for small examples.
        seed: fixes the probes.

    Raises:
        UsageError: levels or steps out of range, or the prior's denoiser gives no derivatives.

    Example:
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> found = flow_log_prob(unit, torch.tensor([[1.0]]), 0.5, sigma_max=100.0, steps=200)
        >>> bool((found - unit.log_prob(torch.tensor([[1.0]]), 0.5)).abs() < 1e-3)
        True
    """
    whole = takes(Count, steps) and takes(Count | None, probes) and takes(Whole, seed)
    if not (whole and takes(float, sigma) and takes(float, sigma_max) and 0 < sigma < sigma_max < math.inf):
        raise UsageError(
            f"expected 0 < sigma < sigma_max, steps >= 1, probes >= 1 and seed >= 0, got {sigma}, {sigma_max}, "
            f"{steps}, {probes} and {seed}",
            fix="for instance sigma=0.05, sigma_max=20.0, steps=32 and probes=1",
        )
    x = x.detach().clone()  # one that `torch.inference_mode` made has no gradients
    sigmas = nearest(geometric(sigma_max, sigma, steps + 1), prior.levels).flip(0).tolist()
    vectors = _vectors(x, probes, seed)
    change = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    slope, divergence = _derivatives(prior, x, sigmas[0], vectors)
    for low, high in pairwise(sigmas):
        h = math.log(high / low)
        ahead = x + h * slope
        with torch.no_grad():
            x = x + h / 2 * (slope + ahead - prior.denoise(ahead, high))
        before = divergence
        slope, divergence = _derivatives(prior, x, high, vectors)
        change = change + h / 2 * (before + divergence)
    z = slope.flatten(1) / sigmas[-1]  # the slope is x - D(x, σ)
    return -0.5 * (z**2 + math.log(2 * math.pi * sigmas[-1] ** 2)).sum(1) - change


def _derivatives(prior: Prior, x: Tensor, sigma: float, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``dx/d ln σ = x - D(x, σ)``, (B, *S), and ``σ² ∇·∇ log p_σ(x)``, (B,), from vectors (P, *S)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        clean = prior.denoise(x, sigma)
    if not clean.requires_grad:
        raise UsageError("the prior's denoiser gives no derivatives", fix='rank by "denoising"')
    trace = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for i, v in enumerate(vectors):
        v = v.expand_as(x)
        pull = torch.autograd.grad(clean, x, v, retain_graph=i + 1 < len(vectors))[0]
        trace = trace + (v * (pull - v)).flatten(1).sum(1)
    return (x - clean).detach(), trace / len(vectors)


def _vectors(x: Tensor, probes: int | None, seed: int) -> Tensor:
    """Return random signs, (P, *S), scaled unit vectors if ``probes`` is None: the mean of v vᵀ is the identity."""
    size = x[0].numel()
    if probes is None:
        return math.sqrt(size) * torch.eye(size).reshape(size, *x.shape[1:]).to(x)
    draws = Noise(x.shape[1:], seed, range(probes)).uniform()
    return torch.where(draws < 0.5, -1.0, 1.0).to(x)
