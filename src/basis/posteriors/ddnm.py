"""Denoise, then move onto the mixture: the null-space posterior of DDNM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import MIXINGS, Mixing, weights_of
from basis.core.posterior import Posterior, deviations
from basis.core.prior import Prior, per_example

LEFT = 0.1  # part of σ² that is left to a denoised value at the end of its range
ISOTROPIC = 1e-4  # relative difference up to which J Jᵀ counts as a multiple of the identity


class DDNM(Posterior):
    """Denoised estimate, moved onto the mixture (Wang et al. 2023, DDNM, equation 13).

    With ``x̂ = D(x, σ)`` and ``A Aᵀ = a I`` (a = ‖α‖² for a weighted sum), the denoised posterior is

    ``D(x, σ; m) = x̂ + σ² / (a σ² + σ_y²) Aᵀ (m - A x̂)``

    That is E[x₀ | x, m] for ``m ~ N(A x₀, σ_y² I)`` if ``x₀ | x ~ N(x̂, σ² I)``. For an exact mixture, σ_y = 0, it is
    ``x̂ + A⁺ (m - A x̂)``, which mixes to m. (DDNM+ gets its factor from the variance that is left for the next step's
    noise instead; at σ_y = 0 both are DDNM.)

    Bias: the denoised sources have less variance than σ², and a correlated one; the exact update replaces σ² I by
    ``σ² ∂D/∂x`` (see `MMPS`). Here all sources and all pixels share the residual alike, however sure the
    prior is of each. The estimate is the exact one where the prior is flat on the scale of σ.

    ``bounded`` keeps the estimate within the prior's data range, exact mixtures by `Mixing.project`: where a mixture of
    images in [0, 1] is 0, so is every source. On MNIST it is worth 2 dB.

    ``bounded_variance`` replaces σ² in each pixel of each source by ``v = min(σ², (x̂ - a)(b - x̂)) + 0.1 σ²``: no value
    in [a, b] with mean x̂ has a variance above ``(x̂ - a)(b - x̂)`` (Bhatia & Davis 2000). The residual then goes to the
    sources that are unsure, ``x̂_k + α_k v_k (m - A x̂) / (Σ α² v + σ_y²)``. The same holds where each source has its own
    noise level. ``reorder`` lets denoised sources of one prior change places where that explains the mixture better:
    with unequal weights only one order is right, and the chain may have started with another.

    A conditional prior (`Prior.condition`) takes an exact mixture of its kind, for instance the grey of a colour image,
    as a clean input: ``x̂ = D(x + A⁺ (m - A x), σ)`` is then E[x₀ | x, m], up to the training's error. (With `Windowed`
    each window takes its own part.) Colours are then drawn for the clean grey image and not for a noisy version of it.

    Saturating mixings take their censored residual. Where ``J Jᵀ`` is no multiple of the identity, exact mixtures are
    met by `Mixing.project`, in several steps.

    Args:
        prior, mixing, mixture: see `Posterior`.
        noise: standard deviation σ_y >= 0 of the mixture, in its units: a number, or one for each mixture, (B,). 0
            for exact mixtures.
        bounded: whether to keep to the prior's data range, where it has one.
        bounded_variance: whether the variance of a denoised value is bounded by the prior's data range, see above.
        reorder: whether sources may change places, see above; for samplers that keep nothing of the state but D, such
            as `Ancestral` with eta=inf.
        use_condition: whether the prior takes the mixture as a clean input. By default a conditional prior does where
            the mixture is exact.

    Raises:
        UsageError: negative noise; noise with a mixture to be shown, or with a mixing for which ``J Jᵀ`` is no
            multiple of the identity; bounded_variance or reorder with another mixing than a weighted sum;
            bounded_variance with a prior that has no data range.

    Example:
        >>> from basis import GaussianMixture, Product, WeightedSum
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> posterior = DDNM(Product([unit, unit]), WeightedSum([1, 1]), torch.tensor([[2.0]]))
        >>> posterior.denoise(torch.tensor([[[2.0], [0.0]]]), 1.0)  # 1 and 0 denoised, then 0.5 more for each
        tensor([[[1.5000],
                 [0.5000]]])
    """

    def __init__(
        self,
        prior: Prior,
        mixing: Mixing,
        mixture: Tensor,
        noise: float | Tensor = 0.0,
        bounded: bool = False,
        use_condition: bool | None = None,
        bounded_variance: bool = False,
        reorder: bool = False,
    ) -> None:
        super().__init__(prior, mixing, mixture)
        self.noise = deviations(noise, mixture)
        self.gain = isotropic_gain(mixing, torch.full(prior.shape, 0.5).to(mixture))
        if self.gain is None and self.noise.any():
            raise UsageError(
                f"projection of noisy mixtures needs a mixing that treats all pixels alike, "
                f"{type(mixing).__name__} does not",
                fix="take noise=0, or posterior annealed",
            )
        self.bounds, self.exact = self.data_range if bounded else None, not self.noise.any()
        trained = prior.condition is not None and isinstance(mixing, MIXINGS.get(prior.condition))
        self.shown = (trained and self.exact) if use_condition is None else use_condition
        if self.shown and not self.exact:
            raise UsageError("a noisy mixture cannot be shown to the prior", fix="leave out use_condition=true")
        if bounded_variance and self.data_range is None:
            raise UsageError("bounded_variance needs a prior with a data range", fix="leave it out")
        self.bounded_variance, self.reorder = bounded_variance, reorder
        if bounded_variance or reorder:
            self.alphas  # noqa: B018  # raises for other mixings

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        s2 = per_example(sigma, x) ** 2
        clean = self.prior.denoise(self.mixing.project(x, self.mixture) if self.shown else x, sigma)
        if self.reorder:
            kinds = getattr(self.prior, "order", None) or range(x.shape[1])
            clean = ordered(clean, self.mixture - self.mixing(clean), self.alphas, kinds)
        return self._meet(clean, s2)

    def _meet(self, clean: Tensor, s2: Tensor) -> Tensor:
        """Return denoised sources (B, K, *S) moved onto the mixture; s2 is σ², (), (B, 1, …) or (B, K, …)."""
        if self.bounded_variance or (s2.dim() and s2.shape[1] > 1):
            return self._share(clean, self._variance(clean, s2))
        if self.gain is None or (self.bounds and self.exact):
            return self.mixing.project(clean, self.mixture, self.bounds)
        factor = s2 / (self.gain * s2 + per_example(self.noise, clean) ** 2)
        clean = clean + factor * self.mixing.correction(clean, self.mixture)
        return clean if self.bounds is None else clean.clamp(*self.bounds)

    def _variance(self, clean: Tensor, s2: Tensor) -> Tensor:
        if not self.bounded_variance or self.data_range is None:
            return s2.expand_as(clean)
        low, high = self.data_range
        inside = clean.clamp(low, high)
        return torch.minimum(s2.expand_as(clean), (inside - low) * (high - inside)) + LEFT * s2

    def _share(self, clean: Tensor, variance: Tensor) -> Tensor:
        """Return denoised sources moved onto the mixture, each as far as its variance (B, K, *S) lets it."""
        if self.exact:
            return self.mixing.project(clean, self.mixture, self.bounds, variance)
        alphas = per_example(self.alphas[None], clean)
        total = (alphas**2 * variance).sum(1, keepdim=True) + per_example(self.noise, clean) ** 2
        clean = clean + alphas * variance / total * (self.mixture - self.mixing(clean))[:, None]
        return clean if self.bounds is None else clean.clamp(*self.bounds)

    @cached_property
    def alphas(self) -> Tensor:
        """The weights of a mixing that is a weighted sum, (K,)."""
        alphas = weights_of(self.mixing, self.shape, self.mixture.device)
        if alphas is None:
            raise UsageError(
                f"bounded_variance, reorder and own noise levels need a weighted sum, got {type(self.mixing).__name__}",
                fix="leave them out",
            )
        return alphas.to(self.mixture)


def ordered(x: Tensor, r: Tensor, alphas: Tensor, kinds: Sequence[int]) -> Tensor:
    """Return sources x, (B, K, *S), with two of a kind exchanged where that brings their weighted sum nearest to m.

    Args:
        r: what x lacks to mix to m, (B, *S).
        alphas: weights, (K,).
        kinds: K numbers; sources of the same number may change places.

    Example:
        >>> ordered(torch.tensor([[[1.0], [0.0]]]), torch.tensor([[0.4]]), torch.tensor([0.3, 0.7]), [0, 0]).flatten()
        tensor([0., 1.])
    """
    orders, off = [list(range(len(alphas)))], [r.flatten(1).square().sum(1)]
    for j, k in combinations(range(len(alphas)), 2):
        if kinds[j] != kinds[k] or alphas[j] == alphas[k]:
            continue
        other = list(orders[0])
        other[j], other[k] = k, j
        orders.append(other)
        off.append((r - (alphas[j] - alphas[k]) * (x[:, k] - x[:, j])).flatten(1).square().sum(1))
    best = torch.tensor(orders, device=x.device)[torch.stack(off, 1).argmin(1)]
    return x[torch.arange(len(x), device=x.device)[:, None], best]


def isotropic_gain(mixing: Mixing, x: Tensor) -> float | None:
    """Return a where ``J(x) J(x)ᵀ = a I`` at one example x, (K, *S); None where it is no multiple of the identity."""
    gain = mixing.gain(x)
    r = torch.randn(mixing(x[None]).shape, generator=torch.Generator().manual_seed(1)).to(x)
    # a is the largest eigenvalue; only if it is the only one does every r have ‖Jᵀ r‖² = a ‖r‖².
    wanted = gain * r.square().sum()
    return gain if (mixing.adjoint(x[None], r).square().sum() - wanted).abs() <= ISOTROPIC * wanted else None
