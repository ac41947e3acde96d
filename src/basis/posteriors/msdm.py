"""The last source is what the others leave: the posterior of MSDM."""

from __future__ import annotations

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import Mixing, weights_of
from basis.core.posterior import Posterior
from basis.core.prior import Prior, per_example


class MSDM(Posterior):
    """Last source replaced by what the others leave (Mariani et al. 2024, MSDM, arXiv 2302.02257).

    With ``z = (m - Σ_{k<K} α_k x_k) / α_K`` in place of x_K, the other sources have the score

    ``∇_k log p_σ(x | m) = ∇ log p_σ(x_k) - (α_k / α_K) ∇ log p_σ(z)``, k < K,

    that of ``Π_{k<K} p_σ(x_k) · p_σ(z)`` (MSDM's equation for a plain sum, with any weights). In terms of denoised
    estimates, ``D_k(x, σ; m) = D(x_k, σ) - (α_k / α_K) (D(z, σ) - z)``. x_K itself plays no part: its estimate is what
    the others' leave, so that the estimates mix to m.

    Bias: the noise of z is not independent of the others', nor of level σ; the target is the true posterior only as
    σ → 0. It is here for comparison. The score is ‖α‖² / α_K² times as steep as another: put the source of the largest
    weight last, and give `Ancestral` an eta of at most 1 and many levels.

    Args:
        prior, mixing, mixture: see `Posterior`; the mixing must be a weighted sum whose last weight is not 0.

    Raises:
        UsageError: another kind of mixing.

    Example:
        >>> from basis import GaussianMixture, Product, WeightedSum
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> posterior = MSDM(Product([unit, unit]), WeightedSum([1, 1]), torch.tensor([[2.0]]))
        >>> posterior.score(torch.tensor([[[0.0], [0.0]]]), 1.0)  # -0/2 + 2/2; then 2 - 1 is left
        tensor([[[1.],
                 [1.]]])
    """

    def __init__(self, prior: Prior, mixing: Mixing, mixture: Tensor) -> None:
        super().__init__(prior, mixing, mixture)
        self.alphas = weights(mixing, prior).to(mixture)
        self.steepness = (self.alphas / self.alphas[-1]).square().sum().item()

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        z = self._left(x[:, :-1])
        D = self.prior.denoise(torch.cat([x[:, :-1], z], 1), sigma)
        ratio = per_example(self.alphas[:-1] / self.alphas[-1], x.transpose(0, 1)[:-1]).transpose(0, 1)
        others = D[:, :-1] - ratio * (D[:, -1:] - z)
        return torch.cat([others, self._left(others)], 1)

    def lipschitz(self, sigma: float) -> float:
        return self.prior.lipschitz(sigma) * self.steepness

    def _left(self, others: Tensor) -> Tensor:
        """Return the last source, (B, 1, *S), that K - 1 others leave."""
        rest = self.mixture - torch.tensordot(others.movedim(1, -1), self.alphas[:-1], 1)
        return rest[:, None] / self.alphas[-1]


def weights(mixing: Mixing, prior: Prior) -> Tensor:
    """Return the weights α of a mixing that is a weighted sum, (K,); raises `UsageError` for others."""
    alphas = weights_of(mixing, prior.shape)
    if alphas is None or not alphas[-1]:
        raise UsageError(
            f"this posterior needs a weighted sum whose last weight is not 0, got {type(mixing).__name__}",
            fix="take posterior ddnm, or put another source last",
        )
    return alphas
