"""Ancestral steps, each followed by Langevin steps at the level that it came to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from basis.core.prior import Prior
from basis.core.sampler import Sampler
from basis.core.settings import Positive, Whole


@dataclass(frozen=True, eq=False)
class PredictorCorrector(Sampler):
    """Predictor-corrector sampling (Song et al. 2021, "Score-based generative modeling through SDEs", appendix G).

    Predictor: an ancestral step from σ to the next level σ', ``x ← D + (σ'²/σ²) (x - D) + σ' √(1 - σ'²/σ²) ε`` with
    ``D = D(x, σ)``. Corrector, ``corrections`` times at σ': ``x ← x + η g + √(2 η) z`` with ``g = ∇ log p_σ'(x)`` and
    ``η = 2 (r ‖z‖ / ‖g‖)²``, norms of each example by itself. After the last level σ' = 0 and x is D. For L levels,
    ``L + corrections (L - 1)`` evaluations.

    Args:
        sigmas: noise levels σ_1 > … > σ_L, (L,); `karras` by default.
        corrections: Langevin steps at each level; 0 is ancestral sampling.
        snr: r > 0, ratio of signal to noise in a Langevin step, 0.16 as published for images. Small examples want it
            small: their norms say little.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> sampler = PredictorCorrector(torch.tensor([1.0, 0.5]), corrections=0)
        >>> [state.x.item() for state in sampler.run(unit, torch.ones(1, 1), noise=lambda: torch.zeros(1, 1))]
        [0.625, 0.5]
    """

    corrections: Whole = 1
    snr: Positive = 0.16

    def step(self, x: Tensor, sigma: float, sigma_next: float, target: Prior, noise: Callable[[], Tensor]) -> Tensor:
        D = target.denoise(x, sigma)
        if not sigma_next:
            return D
        ratio = sigma_next**2 / sigma**2
        x = D + ratio * (x - D) + sigma_next * math.sqrt(1 - ratio) * noise()
        for _ in range(self.corrections):
            g, z = target.score(x, sigma_next), noise()
            eta = 2 * (self.snr * norm(z) / norm(g)) ** 2
            x = x + eta * g + torch.sqrt(2 * eta) * z
        return x


def norm(x: Tensor) -> Tensor:
    """Return the Euclidean norm of each example, broadcasting against x."""
    return x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.dim() - 1)).clamp_min(torch.finfo(x.dtype).tiny)
