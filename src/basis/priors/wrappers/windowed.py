"""Large images from a prior of small ones: overlapping windows that agree where they meet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from basis.core.errors import UsageError
from basis.core.prior import Prior, Wrapper


class Windowed(Wrapper):
    """A prior over images of any size made of one over windows (MultiDiffusion, Bar-Tal et al. 2023, equation 5).

    Windows w at evenly spread places that overlap cover the image; R_w x is the part of x in one of them. Where several
    meet, their denoised estimates are averaged:

    ``D(x, σ) = Σ_w R_wᵀ (h ⊙ D_w(R_w x, σ)) / Σ_w R_wᵀ h``, D_w the denoiser of the window's prior.

    The weights h fall to nothing towards a window's border, ``sin²`` along each side: there its prior sees the least of
    what surrounds a pixel, and no window begins or ends with a step. (Samples of smooth Gaussian processes have 1 to
    4 % more gradient across the borders of windows than elsewhere; with equal weights 26 to 63 %.) For images whose
    pixels are independent the score is exact. For others, what is further apart than a window is taken as independent:
    textures and edges go through, colours may drift from one end of a large image to the other.

    Memory is that of ``at_once`` windows, whatever the image, in backward passes too; the time grows with
    ``len(corners)``, with half overlap about four times the image's pixels over the window's.

    Args:
        prior: over windows, (C, h, w).
        size: height and width (H, W) of the images, each at least the window's.
        overlap: part of a window that the next one shares with it, at least 0 and below 1.
        at_once: windows in one call of the prior.

    Raises:
        UsageError: an image smaller than the window, or another argument out of its range.

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
        if len(prior.shape) != 3 or len(size) != 2 or any(a < b for a, b in zip(size, prior.shape[1:], strict=True)):
            raise UsageError(
                f"expected an image (H, W) at least as large as a window, got {tuple(size)} for a prior over "
                f"{tuple(prior.shape)}",
                fix="enlarge the image, or choose a prior of smaller images",
            )
        if not 0 <= overlap < 1 or at_once < 1:
            raise UsageError(
                f"expected 0 <= overlap < 1 and at_once >= 1, got {overlap} and {at_once}",
                fix="for instance overlap=0.5 and at_once=32",
            )
        super().__init__(prior, shape=(prior.shape[0], *size))
        self.at_once = at_once
        (tall, wide), (h, w) = size, prior.shape[1:]
        self.corners = [(top, left) for top in starts(tall, h, overlap) for left in starts(wide, w, overlap)]
        weight = hann(h)[:, None] * hann(w)
        cover = torch.zeros(tall, wide)
        for top, left in self.corners:
            cover[top : top + h, left : left + w] += weight
        self.register_buffer("weight", weight.to(prior.device))
        self.register_buffer("cover", cover.to(prior.device))

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        if x.shape[1:] != self.shape:
            raise UsageError(
                f"expected images of shape {self.shape}, got {tuple(x.shape[1:])}",
                fix="make a Windowed for images of this size",
            )
        if self.shape == self.prior.shape:
            return self.prior.denoise(x, sigma)
        h, w = self.prior.shape[1:]
        total = torch.zeros_like(x)
        rows = min(len(x), self.at_once)
        for first in range(0, len(x), rows):
            part, sums = x[first : first + rows], total[first : first + rows]
            own = sigma[first : first + rows] if isinstance(sigma, Tensor) and sigma.dim() else None
            for start in range(0, len(self.corners), self.at_once // rows):
                corners = self.corners[start : start + self.at_once // rows]
                windows = torch.cat([part[..., top : top + h, left : left + w] for top, left in corners])
                estimates = self._denoised(windows, sigma if own is None else own.repeat(len(corners)))
                for (top, left), D in zip(corners, estimates.split(len(part)), strict=True):
                    sums[..., top : top + h, left : left + w] += self.weight * D
        return total / self.cover

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
