"""Data in other units."""

from __future__ import annotations

import math

from torch import Tensor

from basis.core.errors import UsageError
from basis.core.prior import Prior, Wrapper


class Rescaled(Wrapper):
    """A prior over y seen as a prior over x, where ``y = scale · x + shift``: for models trained on [-1, 1], say.

    ``D(x, σ) = (D_q(scale · x + shift, scale · σ) - shift) / scale``, and
    ``∇ log p_σ(x) = scale · ∇ log q_{scale·σ}(scale · x + shift)``.

    Args:
        prior: the prior over y.
        scale: positive; 2 for a model of images in [-1, 1] that is to see images in [0, 1].
        shift: -1 for the same.

    Example:
        >>> import torch
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> Rescaled(unit, scale=2.0, shift=-1.0).denoise(torch.tensor([[0.9]]), 1e4)
        tensor([[0.5000]])
    """

    def __init__(self, prior: Prior, scale: float, shift: float = 0.0) -> None:
        if not 0 < scale < math.inf:
            raise UsageError(f"scale must be positive, got {scale}", fix="for instance scale=2.0")
        ends = prior.data_range
        super().__init__(
            prior,
            data_range=ends and ((ends[0] - shift) / scale, (ends[1] - shift) / scale),
            levels=prior.levels and [level / scale for level in prior.levels],
        )
        self.scale, self.shift = scale, shift

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return (self.prior.denoise(self.scale * x + self.shift, self.scale * sigma) - self.shift) / self.scale

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.scale * self.prior.score(self.scale * x + self.shift, self.scale * sigma)

    def lipschitz(self, sigma: float) -> float:
        return self.scale**2 * self.prior.lipschitz(self.scale * sigma)
