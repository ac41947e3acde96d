"""Figure 2: how large the scores of a prior are at each noise level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.noise import Noise
from basis.core.prior import Prior
from basis.core.schedule import geometric

PUBLISHED = 50.0  # σ · ‖∇ log p_σ‖ at large σ, of NCSN and Glow on CIFAR-10; noise alone has √D = 55
BATCH = 100  # images at a time


@torch.no_grad()
def gradient_norms(prior: Prior, images: Tensor, sigmas: Sequence[float] | None = None, seed: int = 0) -> Tensor:
    """Return ``σ · E ‖∇ log p_σ(x + σ ε)‖`` at each noise level, over images x and noise ε.

    For large σ it is near √D, for the score there is that of the noise; where the data have a finite density it falls
    to 0 with σ (section 3.3 of the paper).

    Args:
        prior: p, with or without a density.
        images: x, (N, *S) in [0, 1].
        sigmas: noise levels, (L,); by default those of the prior, or the paper's ten.
        seed: fixes ε.

    Returns:
        One figure a level, (L,).

    Example:
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture([1.0], [[0.0]], [[[1.0]]])
        >>> small, large = gradient_norms(unit, torch.randn(2000, 1), [0.01, 100.0])
        >>> bool(small < 0.02) and 0.7 < large.item() < 0.9  # E|ε| = √(2/π)
        True
    """
    if sigmas is None:
        sigmas = prior.levels or geometric().tolist()
    found = []
    for sigma in sigmas:
        norms = []
        for start in range(0, len(images), BATCH):
            x = images[start : start + BATCH].to(prior.device)
            eps = Noise(prior.shape, seed, range(start, start + len(x)), device=prior.device).normal()
            norms.append(sigma * prior.score(x + sigma * eps, sigma).flatten(1).norm(dim=1))
        found.append(torch.cat(norms).mean())
    return torch.stack(found)
