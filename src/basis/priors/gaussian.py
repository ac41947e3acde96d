"""Priors with everything in closed form: the truth that samplers are tested against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.prior import DensityPrior, per_example
from basis.io.loading import brief

Numbers = Tensor | np.ndarray | Sequence


class GaussianMixture(DensityPrior):
    """Mixture of Gaussians, everything in closed form: ``p_σ(x) = Σ_j w_j N(x; μ_j, C_j + σ² I)``.

    A single one is a Gaussian prior.

    Args:
        weights: J positive weights, normalised here.
        means: J means, (J, *S).
        covariances: J symmetric positive semi-definite matrices over the flattened example, (J, D, D).

    Raises:
        UsageError: shapes that do not fit, weights that are not positive, matrices that are not covariances.

    Example:
        >>> two = GaussianMixture(weights=[1, 3], means=[[-1.0], [1.0]], covariances=[[[0.01]], [[0.01]]])
        >>> two.log_prob(torch.tensor([[1.0], [-1.0]]), 0.0).diff().exp()
        tensor([0.3333])
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor
    bases: Tensor

    def __init__(self, weights: Numbers, means: Numbers, covariances: Numbers) -> None:
        try:
            weights, means, covariances = (
                torch.as_tensor(t, dtype=torch.float32) for t in (weights, means, covariances)
            )
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"expected weights, means and covariances as arrays ({brief(error)})", fix="see basis.GaussianMixture"
            ) from error
        if not all(
            tensor.dim() and len(tensor) and torch.isfinite(tensor).all() for tensor in (weights, means, covariances)
        ):
            raise UsageError(
                "expected weights, means and covariances of finite numbers, at least one of each",
                fix="replace the others",
            )
        count, size = len(means), means[0].numel()
        if weights.shape != (count,) or covariances.shape != (count, size, size) or not (weights > 0).all():
            raise UsageError(
                f"expected {count} positive weights and covariances ({count}, {size}, {size}), got "
                f"{tuple(weights.shape)} and {tuple(covariances.shape)}",
                fix="give one positive weight and one covariance for each mean",
            )
        variances, bases = torch.linalg.eigh(covariances.double())
        if variances.min() < -1e-6 * variances.abs().max() or not torch.allclose(covariances, covariances.mT):
            raise UsageError(
                "expected symmetric positive semi-definite covariances", fix="check them with torch.linalg.eigvalsh"
            )
        super().__init__(means.shape[1:])
        self.register_buffer("log_weights", (weights / weights.sum()).log())
        self.register_buffer("means", means.flatten(1))
        self.register_buffer("variances", variances.clamp_min(0).float())
        self.register_buffer("bases", bases.float())

    def log_prob(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        z = torch.einsum("jde,bjd->bje", self.bases, x.flatten(1)[:, None] - self.means)
        variance = self.variances + per_example(sigma, z) ** 2
        log_normal = -0.5 * (z**2 / variance + torch.log(2 * torch.pi * variance)).sum(-1)
        return torch.logsumexp(self.log_weights + log_normal, 1)
