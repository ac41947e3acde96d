"""The sampler of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from basis.core.prior import Prior
from basis.core.sampler import Sampler
from basis.core.schedule import geometric, matched_step
from basis.core.settings import Above0, Count, NonNegative, Positive


@dataclass(frozen=True, eq=False)
class AnnealedLangevin(Sampler):
    """Langevin dynamics at falling noise levels (Song & Ermon 2019; Algorithm 1 of the paper).

    ``x ← x + η ∇ log p_σ(x) + √(2 η τ) ε`` with ``η = δ σ² / σ_L²``, at most ``stability / lipschitz(σ)``.

    Args:
        sigmas: noise levels σ_1 > … > σ_L, (L,); the paper's ten by default.
        steps: steps T at each level.
        delta: step size δ at the smallest level; None for the rule of NCSNv2, see `matched_step`.
        temperature: τ; 1 samples, 0 ascends without noise (equation 12).
        stability: bound on η times the target's curvature. An explicit step is stable below 2, and at 1 the paper's own
            step is untouched for up to four sources of weight 1. ``math.inf`` takes η as it is.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> import torch
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> sampler = AnnealedLangevin(steps=3, temperature=0.0)  # ascent to the mode
        >>> *_, last = sampler.run(unit, torch.ones(1, 1), noise=None)
        >>> last.step
        30
    """

    steps: Count = 100
    delta: Positive | None = 2e-5
    temperature: NonNegative = 1.0
    stability: Above0 = 1.0
    sequential: bool = False

    def schedule(self) -> Tensor:
        return geometric()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delta is None:
            object.__setattr__(self, "delta", matched_step(torch.tensor(self.levels, dtype=torch.float64), self.steps))

    @property
    def repeats(self) -> int:
        return self.steps

    def step(self, x: Tensor, sigma: float, sigma_next: float, target: Prior, noise: Callable[[], Tensor]) -> Tensor:
        assert self.delta is not None
        eta = self.delta * sigma**2 / self.levels[-1] ** 2
        eta = min(eta, self.stability / target.lipschitz(sigma))
        diffusion = math.sqrt(2 * eta * self.temperature) * noise() if self.temperature else torch.zeros_like(x)
        if not self.sequential:
            return x + eta * target.score(x, sigma) + diffusion
        x = x.clone()
        for k in range(x.shape[1]):
            x[:, k] += eta * target.score(x, sigma)[:, k] + diffusion[:, k]
        return x
