"""Structural similarity."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from basis.core.errors import UsageError
from basis.core.metric import Metric, best_order, pairwise_psnr, reorder

WINDOW = 11  # pixels, a Gaussian of 1.5


class SSIM(Metric):
    """Mean over the sources of the structural similarity, at most 1, data in [0, 1] (Wang et al. 2004).

    ``(2 μ_x μ_y + c₁)(2 s_xy + c₂) / ((μ_x² + μ_y² + c₁)(s_x² + s_y² + c₂))`` averaged over windows of 11×11 pixels
    that lie inside the image, with Gaussian weights of 1.5 pixels; c₁ = 0.01², c₂ = 0.03²; channels are averaged.
    Computed by torchmetrics.
    """

    unit = "SSIM"

    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        check(estimate, target)
        found = similarity(estimate.flatten(0, 1), target.flatten(0, 1))
        return found.unflatten(0, estimate.shape[:2]).mean(1)


def ssim(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the structural similarity of separated sources, for each mixture, under the best assignment.

    Args:
        estimate: estimated sources, (B, K, C, H, W), in any order; clamped to [0, 1].
        target: true sources in [0, 1], (B, K, C, H, W).

    Returns:
        The mean over the sources for each mixture, (B,), float64, under the assignment with the largest sum.

    Raises:
        UsageError: the shapes differ, images are smaller than 11×11, or torchmetrics is not installed.

    Example:
        >>> import torch
        >>> target = torch.rand(1, 2, 1, 16, 16)
        >>> ssim(target.flip(1), target)
        tensor([1.], dtype=torch.float64)
    """
    check(estimate, target)
    (count, k), shape = estimate.shape[:2], estimate.shape[2:]
    x = estimate[:, :, None].expand(count, k, k, *shape).flatten(0, 2)
    y = target[:, None].expand(count, k, k, *shape).flatten(0, 2)
    order = best_order(similarity(x, y).reshape(count, k, k))
    return SSIM()(reorder(estimate, order), target)


def similarity(x: Tensor, y: Tensor) -> Tensor:
    """Return the structural similarity of images x and y in [0, 1], (N, C, H, W) each, (N,), float64."""
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        raise UsageError("SSIM needs torchmetrics", fix="pip install 'basis-separation[metrics]'") from error
    x, y = x.clamp(0, 1).double(), y.double()
    settings: Any = {"data_range": 1.0, "reduction": "none", "return_full_image": True}
    *_, full = structural_similarity_index_measure(x, y, **settings)
    edge = WINDOW // 2  # windows that stick out of the image do not count
    return full[..., edge:-edge, edge:-edge].flatten(1).mean(1)


def defined(sources: Tensor) -> bool:
    """Whether sources (B, K, *S) are images that hold a window."""
    return sources.dim() == 5 and min(sources.shape[-2:]) >= WINDOW


def check(estimate: Tensor, target: Tensor) -> None:
    """Raise `UsageError` for what has no structural similarity."""
    pairwise_psnr(estimate, target)  # shapes and finite values
    if not defined(estimate):
        raise UsageError(
            f"structural similarity needs images (B, K, C, H, W) of at least {WINDOW}×{WINDOW} pixels, got "
            f"{tuple(estimate.shape)}",
            fix="take the PSNR for smaller ones",
        )
