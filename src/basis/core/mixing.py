"""Mixings: how K sources become one signal. One `forward` is enough; adjoint, gain and projection are derived."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from basis.core.registry import Registry

CONSTANT, RANDOM = 8, 16  # sources that are tried at all combinations of their bounds; random stacks
LEAST = 0.05  # of the largest weight: smaller ones count as this much, so that levels differ by 20 at most
EQUAL = 1e-4  # relative difference up to which weights count as equal
GAIN_ITERATIONS = 30
PROJECTION_ITERATIONS = 200


class Mixing(ABC):
    """The map ``m = g(x)`` from K sources to one signal (equation 1), linear or not.

    Attributes:
        sources: number K of sources that are mixed.

    Example:
        >>> class Halves(Mixing):
        ...     sources = 2
        ...     def forward(self, x):
        ...         return (x[:, 0] + x[:, 1]) / 2
        >>> Halves().adjoint(torch.zeros(1, 2, 1), torch.ones(1, 1))
        tensor([[[0.5000],
                 [0.5000]]])
    """

    sources: int

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the mixtures g(x), (B, *M), of sources x, (B, K, *S); each example by itself."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def residual(self, x: Tensor, m: Tensor) -> Tensor:
        """Return what is missing from the sources x to mix to m, (B, *M): ``m - g(x)`` where g does not say better."""
        return m - self.forward(x)

    def adjoint(self, x: Tensor, r: Tensor) -> Tensor:
        """Return ``J(x)ᵀ r``, (B, K, *S), J the derivative of g at x, r of shape (B, *M); ``Aᵀ r`` if g is linear."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.forward(x), x, r)[0]

    def correction(self, x: Tensor, m: Tensor) -> Tensor:
        """Return ``J(x)ᵀ (m - g(x))``, (B, K, *S): the way in which x comes to mix to m. One pass for both factors."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            r = self.residual(x, m)
            return -torch.autograd.grad(r, x, r.detach())[0]

    def gain(self, x: Tensor) -> float:
        """Return the largest eigenvalue of ``J(x) J(x)ᵀ`` at one example x, (K, *S), by power iteration.

        It is ``‖α‖²`` for a weighted sum.
        """
        x = x[None]
        r = torch.randn(self.forward(x).shape, generator=torch.Generator().manual_seed(0)).to(x)
        size = 0.0
        for _ in range(GAIN_ITERATIONS):
            r = r / r.norm().clamp_min(torch.finfo(r.dtype).tiny)
            r = self._derivative(x, self.adjoint(x, r))
            size, last = r.norm().item(), size
            if abs(size - last) <= 1e-6 * size:
                break
        return size

    def project(
        self, x: Tensor, m: Tensor, data_range: tuple[float, float] | None = None, variance: Tensor | None = None
    ) -> Tensor:
        """Return sources close to x, (B, K, *S), that mix to m, (B, *M): ``x + Jᵀ (m - g(x)) / gain``.

        One step is exact, and gives the nearest such sources, where ``J Jᵀ`` is a multiple of the identity as for a
        weighted sum. It is repeated where not, and in turn with clamping where the sources have bounds. With variances
        v, (B, K, *S), values move in proportion to them, ``x + v Jᵀ (m - g(x)) / (gain max v)``: the most where least
        is known.
        """
        pace = 1.0 if variance is None else variance / variance.flatten(1).amax(1).reshape(-1, *[1] * (x.dim() - 1))
        gain = self.gain(torch.full_like(x[0], 0.5))
        for _ in range(PROJECTION_ITERATIONS):
            r = self.residual(x, m)
            inside = data_range is None or bool(((x >= data_range[0]) & (x <= data_range[1])).all())
            if gain == 0 or (inside and r.abs().max() <= 1e-6):
                break
            x = x + pace * self.adjoint(x, r) / gain
            x = x if data_range is None else x.clamp(*data_range)
        return x

    def _derivative(self, x: Tensor, v: Tensor) -> Tensor:
        """Return J(x) v by differentiating the adjoint: far cheaper to set up than forward-mode differentiation."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self.forward(x)
            u = torch.zeros_like(y, requires_grad=True)
            back = torch.autograd.grad(y, x, u, create_graph=True)[0]
            return torch.autograd.grad(back, u, v)[0]


def range_of(
    mixing: Mixing, shape: Sequence[int], data_range: tuple[float, float], device: torch.device | str = "cpu"
) -> tuple[float, float]:
    """Return the smallest and the largest value of mixtures g(x) of sources (K, *S) within bounds.

    Of a weighted sum, ``Σ α⁺ low + Σ α⁻ high`` and the other way round, whatever K. Of other mixings, the extremes of
    the `corners` that are tried: the true ones where g rises or falls with each source as a whole.

    Example:
        >>> from basis import WeightedSum
        >>> range_of(WeightedSum([1.0, -0.5]), (2, 1, 4, 4), (0.0, 1.0))
        (-0.5, 1.0)
    """
    low, high = data_range
    alphas = weights_of(mixing, shape, device)
    if alphas is not None:
        up, down = alphas.clamp_min(0).sum().item(), alphas.clamp_max(0).sum().item()
        return up * low + down * high, up * high + down * low
    stacks = (torch.where(up.to(device), high, low)[None] for up in corners(mixing, shape, data_range, device))
    ends = [mixing(x).aminmax() for x in stacks]
    return min(end.min.item() for end in ends), max(end.max.item() for end in ends)


def corners(
    mixing: Mixing, shape: Sequence[int], data_range: tuple[float, float], device: torch.device | str
) -> Iterator[Tensor]:
    """Yield which values of sources (K, *S) are at their upper bound, the others at their lower.

    First as the mixture's derivative says half-way between the bounds, and its opposite; then whole sources, the first
    `CONSTANT` in all combinations with the others all at one bound; then `RANDOM` draws for each value by itself, for
    mixings that have differences of neighbours in them.
    """
    x = torch.full((1, *shape), sum(data_range) / 2, device=device)
    rises = mixing.adjoint(x, torch.ones_like(mixing(x)))[0] > 0
    yield from (rises, ~rises)
    whole = [1] * (len(shape) - 1)
    for first in itertools.product((False, True), repeat=min(shape[0], CONSTANT)):
        for rest in {False, True} if shape[0] > CONSTANT else {False}:
            places = torch.tensor([*first, *[rest] * (shape[0] - len(first))])
            yield places.reshape(-1, *whole).expand(*shape)
    generator = torch.Generator().manual_seed(0)
    yield from (torch.rand(*shape, generator=generator) < 0.5 for _ in range(RANDOM))


def weights_of(mixing: Mixing, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor | None:
    """Return the weights α of a mixing ``g(x) = Σ α_k x_k`` of sources (K, *S), (K,), float64; None for any other g.

    Found by mixing, so that it works for a mixing of any class.

    Example:
        >>> from basis import WeightedSum
        >>> weights_of(WeightedSum([0.5, 2.0]), (2, 1, 4, 4))
        tensor([0.5000, 2.0000], dtype=torch.float64)
    """
    kind = torch.float32 if torch.device(device).type == "mps" else torch.float64
    x = 10 * torch.randn(1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device, kind)
    m, found = mixing(x), []
    if m.shape[1:] != x.shape[2:]:
        return None
    for k in range(shape[0]):
        alone = torch.zeros_like(x)
        alone[:, k] = x[:, k]
        found.append((mixing(alone)[0] * x[0, k]).sum() / x[0, k].square().sum())
    alphas = torch.stack(found)
    return alphas if torch.allclose(m[0], torch.tensordot(alphas, x[0], 1)) else None


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


MIXINGS = Registry("mixing", "basis.mixings", Mixing)
