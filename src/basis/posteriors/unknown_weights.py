"""The posterior where nobody knows how loud each source is in the mixture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import Mixing
from basis.core.posterior import Posterior
from basis.core.prior import Prior, per_example
from basis.posteriors.msdm import weights


class UnknownWeights(Posterior):
    """Denoised estimate, moved onto a mixture whose weights are fitted to it at every step.

    With ``x̂ = D(x, σ)`` in the prior's data range, ``X`` its K sources as rows, weights ``α ~ N(α₀, τ² I)`` and
    residuals of variance σ², the weights are their posterior mean, a ridge regression,

    ``α = (X Xᵀ + (σ²/τ²) I)⁻¹ (X m + (σ²/τ²) α₀)``, then ``D(x, σ; m) = x̂ + α (m - α·x̂) / ‖α‖²`` as in `DDNM`,

    each mixture by itself: while x̂ says little, α stays at the guess α₀; as σ falls, it becomes least squares. Sampling
    and fitting so take turns. Give ``project=False`` to `Sample`, which would end on a mixture with the guess, and read
    the weights with `fit_weights`. They can be told from the sources' own brightness only as far as the prior can.

    Args:
        prior, mixing, mixture: see `Posterior`; the mixing must be a weighted sum, its weights are the guess α₀.
        spread: τ > 0, how far weights may be from the guess.

    Raises:
        UsageError: another kind of mixing, or a spread out of range.

    Example:
        >>> from basis import GaussianMixture, Product, WeightedSum
        >>> sure = GaussianMixture([1.0], [[0.2, 0.6]], 1e-6 * torch.eye(2)[None])
        >>> posterior = UnknownWeights(Product([sure]), WeightedSum([1.0]), torch.tensor([[0.1, 0.3]]))
        >>> fit_weights(posterior.denoise(torch.zeros(1, 1, 2), 0.01), posterior.mixture)  # half as loud as guessed
        tensor([[0.5...]])
    """

    def __init__(self, prior: Prior, mixing: Mixing, mixture: Tensor, spread: float = 0.5) -> None:
        super().__init__(prior, mixing, mixture)
        if not 0 < spread < math.inf:
            raise UsageError(f"the spread of the weights must be positive, got {spread}", fix="for instance 0.5")
        self.guess, self.spread = weights(mixing, prior).to(mixture), spread

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        clean = self.prior.denoise(x, sigma)
        inside = clean if self.data_range is None else clean.clamp(*self.data_range)
        ridge = per_example(sigma, self.mixture.flatten(1)) ** 2 / self.spread**2
        alphas = fit_weights(inside, self.mixture, self.guess, ridge)
        alphas = alphas.reshape(*alphas.shape, *[1] * (x.dim() - 2))
        r = (self.mixture - (alphas * clean).sum(1))[:, None]
        gain = alphas.square().sum(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        return clean + alphas * r / gain


def fit_weights(sources: Tensor, mixture: Tensor, guess: Tensor | float = 0.0, ridge: Tensor | float = 1e-6) -> Tensor:
    """Return the weights α of each mixture, (B, K), that explain it best: ``min ‖m - α·x‖² + ridge ‖α - guess‖²``.

    Args:
        sources: (B, K, *S).
        mixture: (B, *S).
        guess: (K,) or a number.
        ridge: (B, 1) or a number, positive.

    Example:
        >>> x = torch.rand(1, 2, 9, generator=torch.Generator().manual_seed(0))
        >>> fit_weights(x, 0.5 * x[:, 0] + 2 * x[:, 1])
        tensor([[0.5000, 2.0000]])
    """
    X, m = sources.flatten(2).double(), mixture.flatten(1).double()
    ridge, guess = (torch.as_tensor(value, dtype=torch.float64, device=X.device) for value in (ridge, guess))
    gram = X @ X.mT + ridge.expand(len(X), 1)[..., None] * torch.eye(X.shape[1]).to(X)
    right = (X @ m[..., None])[..., 0] + ridge * guess
    return torch.linalg.solve(gram, right).to(sources.dtype)
