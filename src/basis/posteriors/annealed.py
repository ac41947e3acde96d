"""The posterior of the paper."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import Mixing
from basis.core.posterior import Posterior, deviations
from basis.core.prior import Prior, ScorePrior, per_example


class AnnealedPosterior(ScorePrior, Posterior):
    """Mixture constraint softened to ``m ~ N(g(x), γ² I)`` with γ annealed along with σ (equations 3 to 6).

    ``∇ log p_{σ,γ}(x | m) = ∇ log p_σ(x) + γ⁻² Aᵀ (m - A x)``, γ² = (ratio σ)² + σ_y². (The paper prints the second
    term with a minus sign in Algorithm 1; with it the iteration diverges.)

    Args:
        prior, mixing, mixture: see `Posterior`.
        ratio: γ / σ of exact mixtures. The paper's is 1; its released code has √½ for MNIST and √⅓ for colorization.
        noise: standard deviation σ_y >= 0 of the mixture, in its units: a number, or one for each mixture, (B,). As σ
            falls, the target becomes the posterior of that noise, where without it becomes that of exact mixtures.

    Raises:
        UsageError: the ratio is not positive, or the noise negative.

    Example:
        >>> from basis import GaussianMixture, Product, WeightedSum
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> posterior = AnnealedPosterior(Product([unit, unit]), WeightedSum([1, 1]), torch.tensor([[2.0]]))
        >>> posterior.score(torch.zeros(1, 2, 1), 1.0)
        tensor([[[2.],
                 [2.]]])
    """

    def __init__(
        self, prior: Prior, mixing: Mixing, mixture: Tensor, ratio: float = 1.0, noise: float | Tensor = 0.0
    ) -> None:
        super().__init__(prior, mixing, mixture)
        if not 0 < ratio < math.inf:
            raise UsageError(f"the ratio γ / σ must be positive, got {ratio}", fix="for instance 1.0")
        self.ratio, self.noise = ratio, deviations(noise, mixture)
        self.gain = mixing.gain(torch.full(prior.shape, 0.5, dtype=mixture.dtype, device=mixture.device))

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        gamma2 = (self.ratio * per_example(sigma, x)) ** 2 + per_example(self.noise, x) ** 2
        return self.prior.score(x, sigma) + self.mixing.correction(x, self.mixture) / gamma2

    def lipschitz(self, sigma: float) -> float:
        return self.prior.lipschitz(sigma) + self.gain / ((self.ratio * sigma) ** 2 + self.noise.min().item() ** 2)
