"""Metrics compare estimated sources with the true ones, whatever order they came out in."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.registry import Registry

EXACT = 1e-10  # mean squared error below which an image counts as exact: 100 dB


class Figure(ABC):
    """What separations are worth, as a number with a unit."""

    unit: str


class Metric(Figure):
    """A figure of merit, computed for each mixture so that means, medians and intervals can follow."""

    @abstractmethod
    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return one figure per mixture, (B,), of aligned sources (B, K, *S)."""


class SetMetric(Figure):
    """A figure of a set of images, fed part by part in any order; memory does not grow with their number.

    Attributes:
        name: what to print beside the figure; holds the name of what saw the images.
    """

    name: str

    @abstractmethod
    def update(self, images: Tensor, real: bool = False) -> None:
        """Take in images in [0, 1], (N, C, H, W): separated ones, or real ones to compare them with."""

    @abstractmethod
    def compute(self) -> tuple[float, float | None]:
        """Return the figure and its standard deviation over parts of the set, where it has one."""


METRICS = Registry("metric", "basis.metrics", Figure)


def pairwise_psnr(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the PSNR in dB of each estimated source i against each true source j, (B, K, K).

    Data in [0, 1]; estimates are clamped to it.
    """
    if estimate.shape != target.shape or estimate.dim() < 3 or not estimate.numel():
        raise UsageError(
            f"expected two stacks of sources of one shape (B, K, ...), got {tuple(estimate.shape)} and "
            f"{tuple(target.shape)}"
        )
    if not torch.isfinite(estimate).all() or not torch.isfinite(target).all():
        raise UsageError("the sources have NaN or infinite values", fix="leave such mixtures out, and count them")
    a, b = estimate.clamp(0, 1).flatten(2).double(), target.flatten(2).double()
    error = (a[:, :, None] - b[:, None, :]).square().mean(-1)
    return -10 * torch.log10(error.clamp_min(EXACT))


def align(estimate: Tensor, target: Tensor) -> Tensor:
    """Return which estimated source belongs to each true one.

    The assignment with the largest sum of PSNR over the sources, for each mixture (the evaluation of Table 2).

    Args:
        estimate: estimated sources in [0, 1], (B, K, *S).
        target: true sources in [0, 1], (B, K, *S).

    Returns:
        Indices (B, K), int64: ``estimate[b, order[b, k]]`` goes with ``target[b, k]``; see `reorder`.

    Raises:
        UsageError: the shapes differ or are not (B, K, ...).

    Example:
        >>> target = torch.tensor([[[0.0, 0.1], [0.8, 0.9]]])
        >>> align(target.flip(1), target)
        tensor([[1, 0]])
    """
    return best_order(pairwise_psnr(estimate, target))


def best_order(table: Tensor) -> Tensor:
    """Return the assignment with the largest sum, as `align`, for figures of source i against truth k, (B, K, K).

    Example:
        >>> best_order(torch.tensor([[[0.1, 0.9], [0.3, 0.8]]]))
        tensor([[1, 0]])
    """
    orders = [linear_sum_assignment(rows, maximize=True)[1] for rows in table.transpose(1, 2).cpu().numpy()]
    return torch.as_tensor(np.array(orders), dtype=torch.int64, device=table.device).reshape(table.shape[:2])


def reorder(estimate: Tensor, order: Tensor) -> Tensor:
    """Return the sources (B, K, *S) in the order (B, K) that `align` found.

    Example:
        >>> target = torch.tensor([[[0.0], [0.8]]])
        >>> mixed_up = target.flip(1)
        >>> torch.equal(reorder(mixed_up, align(mixed_up, target)), target)
        True
    """
    return torch.stack([sources[index] for sources, index in zip(estimate, order, strict=True)])
