"""The posterior that knows how sure the prior is: moment matching (MMPS)."""

from __future__ import annotations

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import Mixing
from basis.core.posterior import Posterior, deviations
from basis.core.prior import Prior, per_example
from basis.core.settings import Count

CONVERGED = 1e-12  # squared residual of the linear solve, relative to its start: rounding error in float32


class MMPS(Posterior):
    """Likelihood with the denoiser's own covariance (Rozet et al. 2024, MMPS, arXiv 2405.13712).

    ``x₀ | x ≈ N(x̂, V)`` with ``x̂ = D(x, σ)`` and ``V = σ² ∂D/∂x`` (the second-order Tweedie formula) makes
    ``m | x ~ N(A x̂, σ_y² I + A V Aᵀ)``, and with V held constant

    ``∇ log p_σ(x | m) = ∇ log p_σ(x) + (∂D/∂x)ᵀ Aᵀ (σ_y² I + A V Aᵀ)⁻¹ (m - A x̂)``, that is,
    ``D(x, σ; m) = x̂ + V Aᵀ (σ_y² I + A V Aᵀ)⁻¹ (m - A x̂)``.

    Exact for Gaussian priors. V is block-diagonal, a block a source: where the prior is sure of one source, the others
    take up the residual. The linear system is solved by a fixed number of conjugate-gradient iterations, each one
    vector-Jacobian product through all sources together (∂D/∂x is symmetric), so that a call costs one evaluation of
    the prior and ``iterations`` backward passes through it.

    Args:
        prior, mixing, mixture: see `Posterior`; the mixing must be linear and the prior's denoiser differentiable.
        noise: standard deviation σ_y >= 0 of the mixture, in its units: a number, or one for each mixture, (B,). 0
            for exact mixtures; then the iterations, which begin with the steepest directions, alone keep the system
            from being solved in directions in which the prior leaves no freedom.
        iterations: of conjugate gradients, at least 1.

    Raises:
        UsageError: negative noise, no iterations, a mixing that is not linear; in `denoise`, a prior that gives no
            derivatives.

    Example:
        >>> from basis import GaussianMixture, Product, WeightedSum
        >>> sure, vague = (GaussianMixture([1.0], [[0.0]], [[[variance]]]) for variance in (0.25, 1.0))
        >>> posterior = MMPS(Product([sure, vague]), WeightedSum([1, 1]), torch.tensor([[1.0]]))
        >>> posterior.denoise(torch.zeros(1, 2, 1), 1.0)  # m = 1 shared as their variances given x, 1/5 and 1/2
        tensor([[[0.2857],
                 [0.7143]]])
    """

    def __init__(
        self, prior: Prior, mixing: Mixing, mixture: Tensor, noise: float | Tensor = 0.0, iterations: Count = 3
    ) -> None:
        super().__init__(prior, mixing, mixture)
        self.noise, self.iterations = deviations(noise, mixture), iterations
        a, b = (10 * torch.randn(1, *prior.shape, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
        a, b = a.to(mixture), b.to(mixture)
        if not torch.allclose(mixing(3 * a - b), 3 * mixing(a) - mixing(b), rtol=1e-3, atol=1e-3):
            raise UsageError(
                f"moment matching needs a linear mixing, {type(mixing).__name__} is none",
                fix="take posterior ddnm or annealed",
            )

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            clean = self.prior.denoise(x, sigma)
        if not clean.requires_grad:
            raise UsageError("the prior's denoiser gives no derivatives", fix="take posterior ddnm")
        return clean.detach() + self._pull(x, clean, sigma)

    @torch.no_grad()
    def _pull(self, x: Tensor, clean: Tensor, sigma: float | Tensor) -> Tensor:
        """Return ``J Aᵀ v`` with ``(σ_y² / σ² + A J Aᵀ) v = m - A x̂``, J = ∂x̂/∂x, by conjugate gradients.

        Each example has its own step sizes. ``J Aᵀ v`` is summed up on the way, which spares another product. Where
        each source has its own noise level, σ is their root mean square, and J stands for ``(σ_k / σ)² ∂x̂_k/∂x_k``.
        """
        own = None
        if isinstance(sigma, Tensor) and sigma.dim() == 2:
            own, sigma = sigma, sigma.square().mean(1).sqrt()
            own = per_example(own / sigma[:, None], x) ** 2
        r = self.mixture - self.mixing(clean)
        ridge = per_example(self.noise, r) ** 2 / per_example(sigma, r) ** 2
        pull, p, rr = torch.zeros_like(x), r, dot(r, r)
        least = CONVERGED * rr
        for i in range(self.iterations):
            u = self.mixing.adjoint(x, p)
            q = torch.autograd.grad(clean, x, u, retain_graph=i + 1 < self.iterations)[0]
            q = q if own is None else own * q
            Mp = ridge * p + self.mixing(q)
            pMp = dot(p, Mp)
            # A network's ∂D/∂x need not be positive: such a direction is left alone.
            a = torch.where((rr > least) & (pMp > 0), rr / pMp, 0)
            pull = pull + per_example(a, x) * q
            r = r - per_example(a, r) * Mp
            rr, before = dot(r, r), rr
            p = r + per_example(torch.where(a > 0, rr / before, 0), r) * p
        return pull


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each example, (B,)."""
    return (a * b).flatten(1).sum(1)
