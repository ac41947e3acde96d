"""Large images and long signals from a prior of small ones: overlapping windows that agree where they meet."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from basis.core.errors import UsageError
from basis.core.prior import Prior, Wrapper


class Windowed(Wrapper):
    """A prior over examples of any size made of one over windows (MultiDiffusion, Bar-Tal et al. 2023, equation 5).

    Windows w at evenly spread places that overlap cover the example, of one dimension or more; R_w x is the part of x
    in one of them. Where several meet, their denoised estimates are averaged:

    ``D(x, σ) = Σ_w R_wᵀ (h ⊙ D_w(R_w x, σ)) / Σ_w R_wᵀ h``, D_w the denoiser of the window's prior.

    The weights h fall to nothing towards a window's border, ``sin²`` along each side: there its prior sees the least of
    what surrounds a place, and no window begins or ends with a step. (Samples of smooth Gaussian processes have 1 to
    4 % more gradient across the borders of windows than elsewhere; with equal weights 26 to 63 %.) For examples
    whose values are independent the score is exact. For others, what is further apart than a window is taken as
    independent: textures and edges go through, colours may drift from one end of a large image to the other.

    Memory is that of ``at_once`` windows, whatever the example, in backward passes too; the time grows with
    ``len(corners)``: with half overlap, in d dimensions, about 2^d times the example's values over the window's.

    Args:
        prior: over windows, (C, l) or (C, h, w).
        size: length (L,) or height and width (H, W) of the examples, each at least the window's.
        overlap: part of a window that the next one shares with it, at least 0 and below 1.
        at_once: windows in one call of the prior.

    Raises:
        UsageError: an example smaller than the window or of another number of dimensions, or another argument out of
            its range.

    Example:
        >>> from basis import load_prior
        >>> large = Windowed(load_prior("mnist"), size=(40, 64))
        >>> large.shape, len(large.corners)
        ((1, 40, 64), 8)
        >>> large.score(torch.zeros(1, 1, 40, 64), 0.5).shape
        torch.Size([1, 1, 40, 64])
    """

    weight: Tensor
    cover: Tensor

    def __init__(self, prior: Prior, size: Sequence[int], overlap: float = 0.5, at_once: int = 32) -> None:
        window = prior.shape[1:]
        if not window or len(size) != len(window) or any(a < b for a, b in zip(size, window, strict=True)):
            raise UsageError(
                f"expected a size at least as large as a window, got {tuple(size)} for a prior over "
                f"{tuple(prior.shape)}",
                fix="enlarge the example, or choose a prior of smaller ones",
            )
        if not 0 <= overlap < 1 or at_once < 1:
            raise UsageError(
                f"expected 0 <= overlap < 1 and at_once >= 1, got {overlap} and {at_once}",
                fix="for instance overlap=0.5 and at_once=32",
            )
        super().__init__(prior, shape=(prior.shape[0], *size))
        self.at_once = at_once
        sides = zip(size, window, strict=True)
        self.corners = list(itertools.product(*(starts(whole, part, overlap) for whole, part in sides)))
        weight = functools.reduce(lambda a, b: a[..., None] * b, map(hann, window))
        cover = torch.zeros(*size)
        for corner in self.corners:
            cover[self._at(corner)] += weight
        self.register_buffer("weight", weight.to(prior.device))
        self.register_buffer("cover", cover.to(prior.device))

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        if x.shape[1:] != self.shape:
            raise UsageError(
                f"expected examples of shape {self.shape}, got {tuple(x.shape[1:])}",
                fix="make a Windowed for examples of this size",
            )
        if self.shape == self.prior.shape:
            return self.prior.denoise(x, sigma)
        total = torch.zeros_like(x)
        rows = min(len(x), self.at_once)
        for first in range(0, len(x), rows):
            part, sums = x[first : first + rows], total[first : first + rows]
            own = sigma[first : first + rows] if isinstance(sigma, Tensor) and sigma.dim() else None
            for start in range(0, len(self.corners), self.at_once // rows):
                corners = self.corners[start : start + self.at_once // rows]
                windows = torch.cat([part[self._at(corner)] for corner in corners])
                estimates = self._denoised(windows, sigma if own is None else own.repeat(len(corners)))
                for corner, D in zip(corners, estimates.split(len(part)), strict=True):
                    sums[self._at(corner)] += self.weight * D
        return total / self.cover

    def _at(self, corner: tuple[int, ...]) -> tuple[Any, ...]:
        """Return the index of the window that begins at a corner."""
        sides = zip(corner, self.prior.shape[1:], strict=True)
        return (..., *(slice(start, start + side) for start, side in sides))

    def _denoised(self, windows: Tensor, sigma: float | Tensor) -> Tensor:
        """Return the denoised estimates of some windows; a backward pass computes them again to spare memory."""
        if torch.is_grad_enabled() and windows.requires_grad:
            return checkpoint(self.prior.denoise, windows, sigma, use_reentrant=False)
        return self.prior.denoise(windows, sigma)


def starts(length: int, window: int, overlap: float) -> list[int]:
    """Return where windows begin along one side: evenly spread from end to end, at least ``overlap`` shared.

    Example:
        >>> starts(length=20, window=8, overlap=0.5)
        [0, 4, 8, 12]
    """
    hop = max(math.floor(window * (1 - overlap)), 1)
    steps = math.ceil((length - window) / hop)
    return [round(i * (length - window) / steps) for i in range(steps + 1)] if steps else [0]


def hann(length: int) -> Tensor:
    """Return ``sin²(π (i + ½) / n)``, (n,): positive, and with half overlap a sum of one everywhere."""
    return torch.sin(torch.pi * (torch.arange(length) + 0.5) / length) ** 2
