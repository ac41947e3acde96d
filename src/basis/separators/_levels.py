"""Unequal weights: noise levels at which every source has the same noise in the mixture."""

from __future__ import annotations

import torch
from torch import Tensor

from basis.core.prior import Prior, Wrapper

LEAST = 0.05  # of the largest weight: smaller ones count as this much, so that levels differ by 20 at most
EQUAL = 1e-4  # relative difference up to which weights count as equal


def unequal(alphas: Tensor | None) -> bool:
    """Return whether these are weights, and differ in size or sign.

    Example:
        >>> unequal(torch.tensor([0.5, 0.5])), unequal(torch.tensor([0.45, 0.55])), unequal(None)
        (False, True, False)
    """
    return alphas is not None and bool((alphas - alphas.mean()).abs().max() > EQUAL * alphas.abs().max())


def scales(alphas: Tensor) -> Tensor:
    """Return noise scales ``s_k ∝ 1 / α_k``, (K,), of mean size 1 and with the sign of α_k; all 1 for equal weights.

    The noise ``α_k s_k ε_k`` of all sources in the mixture is then alike, so that noise that they have in common is
    undone where the mixture is met, as it is for equal weights. The source of the smallest weight has the most noise in
    its own units: it is the one of which the mixture says the least.

    Example:
        >>> scales(torch.tensor([0.25, 0.75]))
        tensor([1.5000, 0.5000])
    """
    size = alphas.abs().clamp_min(LEAST * alphas.abs().max())
    inverse = torch.where(alphas < 0, -1, 1) / size
    return inverse / inverse.abs().mean()


class OwnLevels(Wrapper):
    """A distribution over stacks of sources with noise of level ``σ |s_k|`` in source k.

    In units of ``x_k / |s_k|`` every source has noise of level σ, so that a sampler whose noise is scaled by s_k needs
    no change.

    Args:
        prior: over stacks (B, K, *S), that takes noise levels (B, K).
        scales: s_k, (K,).
    """

    def __init__(self, prior: Prior, scales: Tensor) -> None:
        super().__init__(prior)
        self.scales = scales.abs()

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.prior.denoise(x, self._own(x, sigma))

    def lipschitz(self, sigma: float) -> float:
        return max(s**2 * self.prior.lipschitz(sigma * s) for s in self.scales.tolist())

    def _own(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return the noise level of each source, (B, K)."""
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1)
        return (level * self.scales.to(x)).expand(len(x), -1)
