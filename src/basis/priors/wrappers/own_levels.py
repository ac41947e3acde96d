"""A noise level of its own for each source."""

from __future__ import annotations

import torch
from torch import Tensor

from basis.core.prior import Prior, Wrapper


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
