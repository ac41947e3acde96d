"""The second-order sampler of EDM."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from basis.core.errors import UsageError
from basis.core.prior import Prior
from basis.core.sampler import Sampler


@dataclass(frozen=True, eq=False)
class Heun(Sampler):
    """Heun's method for the probability-flow ODE, with churn (Karras et al. 2022, arXiv 2206.00364, algorithm 2).

    ``σ̂ = σ (1 + γ)``, ``x̂ = x + √(σ̂² - σ²) S ε``, ``d = (x̂ - D(x̂, σ̂)) / σ̂``, ``x ← x̂ + (σ' - σ̂) d``, and where the
    next level σ' is not 0, ``d' = (x - D(x, σ')) / σ'`` and ``x ← x̂ + (σ' - σ̂) (d + d') / 2``. After the last level
    σ' = 0: the last state is the denoised estimate D. For L levels, 2 L - 1 evaluations.

    Args:
        sigmas: noise levels σ_1 > … > σ_L, (L,); `karras` by default.
        churn: S_churn >= 0, spread over the levels: ``γ = min(churn / L, √2 - 1)`` for σ in [churn_min, churn_max].
            0 is the ODE, deterministic. Priors of discrete levels know no σ̂ in between and need 0.
        churn_min, churn_max: range of noise levels with churn.
        inflation: S, standard deviation of the noise that churn adds; a little above 1 makes up for denoisers that
            remove too much.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> import torch
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> [state.x.item() for state in Heun(torch.tensor([1.0, 0.5])).run(unit, torch.ones(1, 1), noise=None)]
        [0.80000001..., 0.63999998...]
    """

    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = math.inf
    inflation: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.churn >= 0 and 0 <= self.churn_min <= self.churn_max and 0 <= self.inflation < math.inf):
            raise UsageError(
                f"expected churn >= 0, 0 <= churn_min <= churn_max and inflation >= 0, got churn {self.churn}, "
                f"churn_min {self.churn_min}, churn_max {self.churn_max}, inflation {self.inflation}",
                fix="churn 0 is the deterministic sampler",
            )

    def step(self, x: Tensor, sigma: float, sigma_next: float, target: Prior, noise: Callable[[], Tensor]) -> Tensor:
        if self.churn and self.churn_min <= sigma <= self.churn_max:
            gamma = min(self.churn / len(self.levels), math.sqrt(2) - 1)
            x = x + math.sqrt((1 + gamma) ** 2 - 1) * sigma * self.inflation * noise()
            sigma = (1 + gamma) * sigma
        d = (x - target.denoise(x, sigma)) / sigma
        euler = x + (sigma_next - sigma) * d
        if not sigma_next:
            return euler
        d_next = (euler - target.denoise(euler, sigma_next)) / sigma_next
        return x + (sigma_next - sigma) * (d + d_next) / 2
