"""One evaluation a level: DDIM, ancestral sampling, and denoising with fresh noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.prior import Prior
from basis.core.sampler import Sampler


@dataclass(frozen=True, eq=False)
class Ancestral(Sampler):
    """Denoise and put back less noise, old or fresh (Song et al. 2021, DDIM, equation 12, in terms of σ).

    ``x ← D(x, σ) + √(σ'² - s²) (x - D(x, σ)) / σ + s ε`` with ``s = min(σ', η σ' √(1 - σ'²/σ²))``,

    σ' the next level, 0 after the last, so that the last state is the denoised estimate D. One evaluation a level.

    Args:
        sigmas: noise levels σ_1 > … > σ_L, (L,); `karras` by default.
        eta: stochasticity η >= 0. 0 is DDIM, deterministic; 1 is the ancestral sampler (DDPM). Up to 1, samples follow
            the target as L grows. ``math.inf`` has fresh noise alone, ``x ← D(x, σ) + σ' ε``, which after DDNM's
            projection is "denoise, project, re-noise"; values between approach it. Above 1 samples are more
            concentrated than the target, the more the larger L: for a normal of variance v, by up to a half of v.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> sampler = Ancestral(torch.tensor([1.0, 0.5]), eta=0.0)
        >>> [state.x.item() for state in sampler.run(unit, torch.ones(1, 1), noise=None)]
        [0.75, 0.6000000238418579]
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eta >= 0:
            raise UsageError(
                f"expected eta >= 0, got {self.eta}",
                fix="0 for DDIM, 1 for ancestral sampling, inf for fresh noise at each step",
            )

    def step(self, x: Tensor, sigma: float, sigma_next: float, target: Prior, noise: Callable[[], Tensor]) -> Tensor:
        D = target.denoise(x, sigma)
        s = (
            sigma_next
            if math.isinf(self.eta)
            else min(sigma_next, self.eta * sigma_next * math.sqrt(1 - sigma_next**2 / sigma**2))
        )
        old = math.sqrt(sigma_next**2 - s**2) / sigma * (x - D)
        fresh = s * noise() if s else torch.zeros_like(x)
        return D + old + fresh
