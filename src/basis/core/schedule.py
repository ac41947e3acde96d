"""Noise schedules: plain tensors of decreasing levels σ, in units of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.settings import Count, checked, takes

MOST = 1_000_000  # levels


@checked
def geometric(sigma_max: float = 1.0, sigma_min: float = 0.01, levels: int = 10) -> Tensor:
    """Return levels in geometric progression (section 3.4; the paper's are the defaults); one level is ``sigma_min``.

    Args, result and errors are those of `karras`.

    Example:
        >>> geometric(1.0, 0.01, 3)
        tensor([1.0000, 0.1000, 0.0100], dtype=torch.float64)
    """
    return karras(sigma_max, sigma_min, levels, rho=math.inf)


@checked
def karras(sigma_max: float = 3.0, sigma_min: float = 0.01, levels: int = 50, rho: float = 7.0) -> Tensor:
    """Return levels whose ρ-th roots are evenly spaced (Karras et al. 2022, equation 5); ρ = ∞ is geometric.

    Args:
        sigma_max, sigma_min: first and last level, positive, in units of the data.
        levels: number L of levels.
        rho: ρ > 0; larger puts more levels near the end.

    Returns:
        Levels, (L,), float64, decreasing.

    Raises:
        UsageError: levels that are not positive or not in order.

    Example:
        >>> karras(3.0, 0.01, 3, rho=1.0)
        tensor([3.0000, 1.5050, 0.0100], dtype=torch.float64)
    """
    if not (0 < sigma_min <= sigma_max < math.inf and rho > 0 and takes(Count, levels) and levels <= MOST):
        raise UsageError(
            f"expected 0 < sigma_min <= sigma_max, whole levels >= 1 (up to {MOST:,}) and rho > 0, got sigma_min "
            f"{sigma_min}, sigma_max {sigma_max}, levels {levels}, rho {rho}",
            fix="choose positive noise levels, for instance from 1.0 down to 0.01 in 10 levels",
        )
    if levels == 1:
        return torch.tensor([sigma_min], dtype=torch.float64)
    t = torch.linspace(0, 1, levels, dtype=torch.float64)
    if math.isinf(rho):
        return sigma_max * (sigma_min / sigma_max) ** t
    return (sigma_max ** (1 / rho) + t * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho


@checked
def overlapping(sigma_max: float, sigma_min: float, dimensions: int) -> Tensor:
    """Return as many geometric levels as make neighbours overlap (Song & Ermon 2020, technique 2).

    The ratio r of neighbours solves ``Φ(√(2 d) (r - 1) + 3 r) - Φ(√(2 d) (r - 1) - 3 r) = ½``: the noise of one level
    is a typical one of the next with probability one half.

    Args:
        sigma_max, sigma_min: first and last level, positive, in units of the data.
        dimensions: d, number of values of an example.

    Returns:
        Levels, (L,), float64, decreasing.

    Raises:
        UsageError: levels that are not positive and falling, or no dimensions.

    Example:
        >>> len(overlapping(50.0, 0.01, 3 * 32 * 32))  # for CIFAR-10; 232 as published, with an overlap of 0.57
        220
    """
    if not (0 < sigma_min < sigma_max < math.inf and dimensions >= 1):
        raise UsageError(
            f"expected 0 < sigma_min < sigma_max and dimensions >= 1, got {sigma_min}, {sigma_max} and {dimensions}",
            fix="for instance 50, 0.01 and 3072 for images of 3×32×32",
        )
    low, high = 1.0, 2.0
    for _ in range(60):  # the overlap falls with r
        r = (low + high) / 2
        middle = math.sqrt(2 * dimensions) * (r - 1)
        overlap = (math.erf((middle + 3 * r) / math.sqrt(2)) - math.erf((middle - 3 * r) / math.sqrt(2))) / 2
        low, high = (r, high) if overlap > 0.5 else (low, r)
    return geometric(sigma_max, sigma_min, 1 + math.ceil(math.log(sigma_max / sigma_min) / math.log(low)))


def widest(x: Tensor) -> float:
    """Return the largest distance between two examples, (N, *S), N >= 2: the σ_max that lets samples cross from any to
    any other (Song & Ermon 2020, technique 1). A mixture to be met needs less: for images in [0, 1] often 1 will do.

    Example:
        >>> widest(torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]))
        5.0
    """
    return torch.pdist(x.flatten(1).float()).max().item()


def matched_step(sigmas: Tensor, repeats: int) -> float:
    """Return the Langevin step δ at the smallest level that best keeps the noise at its level (NCSNv2).

    With ``γ = σ_{l-1} / σ_l`` and ``e = δ / σ_L²``, noise that comes with variance γ² has after T steps at a level the
    variance ``s² = (1 - e)^{2T} (γ² - v) + v``, ``v = 2 / (2 - e)``, in units of the level's; e is chosen for the s²
    nearest to 1 (Song & Ermon 2020, technique 4).

    Args:
        sigmas: geometric levels, (L,), decreasing.
        repeats: steps T at each level.

    Example:
        >>> round(matched_step(geometric(), 100) * 1e6, 2)  # the paper takes 20
        3.23
    """
    gamma2 = float(sigmas[0] / sigmas[-1]) ** (2 / max(len(sigmas) - 1, 1))
    e = torch.logspace(-6, 0, 6001, dtype=torch.float64)
    v = 2 / (2 - e)
    s2 = (1 - e) ** (2 * repeats) * (gamma2 - v) + v
    return (e[(s2 - 1).abs().argmin()] * sigmas[-1] ** 2).item()


def nearest(sigmas: Tensor, levels: Sequence[float] | None) -> Tensor:
    """Return those of ``levels`` that lie nearest to the given ones on a logarithmic scale, each once.

    Args:
        sigmas: wanted levels, (L,), decreasing.
        levels: levels that there are, decreasing, as in `Prior.levels`; None leaves the wanted ones as they are.

    Returns:
        Levels, at most (L,), float64, decreasing.

    Example:
        >>> nearest(geometric(1.0, 0.01, 3), [2.0, 0.9, 0.12, 0.07, 0.01])
        tensor([0.9000, 0.1200, 0.0100], dtype=torch.float64)
    """
    if levels is None:
        return sigmas
    there = torch.tensor(levels, dtype=torch.float64)
    index = (sigmas.double().log()[:, None] - there.log()).abs().argmin(1)
    return there[index.unique()]
