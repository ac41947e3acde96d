"""Colour to grey as a mixing: separation of one source becomes colorization."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.checks import weights_of
from basis.core.errors import UsageError
from basis.core.mixing import Mixing
from basis.mixings.weighted_sum import WeightedSum


class Grayscale(Mixing):
    """Grey image of one colour image, ``g(x) = Σ_c w_c x_c`` (equation 14): (B, 1, 3, H, W) to (B, 1, H, W).

    Args:
        weights: weight of each channel; the paper's are 1/3 each.

    Raises:
        UsageError: weights that are not finite or all zero; images with another number of channels.

    Example:
        >>> Grayscale()(torch.tensor([0.0, 0.3, 0.6]).reshape(1, 1, 3, 1, 1)).item()
        0.30000001192092896
    """

    sources = 1

    def __init__(self, weights: Sequence[float] = (1 / 3, 1 / 3, 1 / 3)) -> None:
        self.weights = weights_of(weights, fix="give one a channel, for instance [0.299, 0.587, 0.114]")

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 3 or x.shape[2] != len(self.weights):
            raise UsageError(
                f"expected images of {len(self.weights)} channels, got {tuple(x.shape)}",
                fix="use a prior of colour images, or one weight for each channel",
            )
        return torch.tensordot(x.movedim(2, -1), x.new_tensor(self.weights), 1)

    def project(
        self, x: Tensor, m: Tensor, data_range: tuple[float, float] | None = None, variance: Tensor | None = None
    ) -> Tensor:
        """Return colours close to x, (B, 1, 3, H, W), whose grey is m, (B, 1, H, W), as `WeightedSum.project`."""
        own = None if variance is None else variance[:, 0]
        return WeightedSum(self.weights).project(x[:, 0], m[:, 0], data_range, own)[:, None]
