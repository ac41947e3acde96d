"""Structural similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from basis.core.errors import UsageError
from basis.core.metric import DataRange, Metric, Values, best_order, comparable, known
from basis.core.separator import Separation

WINDOW = 11  # pixels, a Gaussian of 1.5


class SSIM(Metric):
    """Mean over the sources of the structural similarity, at most 1 (Wang et al. 2004).

    ``(2 μ_x μ_y + c₁)(2 s_xy + c₂) / ((μ_x² + μ_y² + c₁)(s_x² + s_y² + c₂))`` averaged over windows of 11×11 pixels
    that lie inside the image, with Gaussian weights of 1.5 pixels; c₁ = (0.01 L)², c₂ = (0.03 L)², L the width of the
    data's range; channels are averaged. Computed by torchmetrics.

    Args:
        data_range: smallest and largest value of the data, or its width; see `basis.psnr`. There is no default.
    """

    unit = "SSIM"

    def __init__(self, data_range: DataRange) -> None:
        self.data_range = data_range

    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        x, y, width = images(estimate, target, self.data_range)
        return similarity(x.flatten(0, 1), y.flatten(0, 1), width).unflatten(0, x.shape[:2]).mean(1)


def ssim(
    estimate: Values | Separation,
    target: Values,
    data_range: DataRange | None = None,
    kinds: Sequence[int] | None = None,
) -> Tensor:
    """Return the structural similarity of separated sources, for each mixture, under the best assignment.

    Args:
        estimate: a separation, which knows its data range and kinds; or estimated sources, (B, K, C, H, W), in any
            order within a kind, torch or numpy.
        target: true sources, (B, K, C, H, W).
        data_range: smallest and largest value of the data, to which estimates are clamped; or its width, see
            `basis.psnr`. By default that of the separation's prior; arrays have none, and need it.
        kinds: K numbers; only sources of the same number may change places, see `basis.align`. All may by default.

    Returns:
        The mean over the sources for each mixture, (B,), float64, under the assignment with the largest sum.

    Raises:
        UsageError: the shapes differ, images are smaller than 11×11, values are of another range, or torchmetrics is
            not installed.

    Example:
        >>> import torch
        >>> target = torch.rand(1, 2, 1, 16, 16)
        >>> ssim(target.flip(1), target, data_range=(0.0, 1.0))
        tensor([1.], dtype=torch.float64)
    """
    values, data_range, kinds = known(estimate, data_range, kinds)
    x, y, width = images(values, target, data_range)
    (count, k), shape = x.shape[:2], x.shape[2:]
    every = (count, k, k, *shape)
    table = similarity(x[:, :, None].expand(every).flatten(0, 2), y[:, None].expand(every).flatten(0, 2), width)
    table = table.reshape(count, k, k)
    return table.gather(1, best_order(table, kinds)[:, None]).squeeze(1).mean(1)


def similarity(x: Tensor, y: Tensor, width: float = 1.0) -> Tensor:
    """Return the structural similarity of images x and y, (N, C, H, W) each, float64, (N,), L being ``width``."""
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        raise UsageError("SSIM needs torchmetrics", fix="pip install 'basis-separation[metrics]'") from error
    settings: Any = {"data_range": width, "reduction": "none", "return_full_image": True}
    *_, full = structural_similarity_index_measure(x, y, **settings)
    edge = WINDOW // 2  # windows that stick out of the image do not count
    return full[..., edge:-edge, edge:-edge].flatten(1).mean(1)


def defined(sources: Tensor) -> bool:
    """Whether sources (B, K, *S) are images that hold a window."""
    return sources.dim() == 5 and min(sources.shape[-2:]) >= WINDOW


def images(estimate: Values, target: Values, data_range: DataRange | None) -> tuple[Tensor, Tensor, float]:
    """Return what `comparable` does; raises `UsageError` for what has no structural similarity too."""
    x, y, width = comparable(estimate, target, data_range)
    if not defined(x):
        raise UsageError(
            f"structural similarity needs images (B, K, C, H, W) of at least {WINDOW}×{WINDOW} pixels, got "
            f"{tuple(x.shape)}",
            fix="take the PSNR for smaller ones",
        )
    return x, y, width
