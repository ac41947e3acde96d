"""A small convolutional network that names what a colour picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 10
MEAN, STD = 0.4734, 0.2517  # of CIFAR-10's training images, over all channels


class PictureClassifier(nn.Module):
    """Two 3×3 convolutions a stage with batch normalisation, each stage at half the resolution of the one before.

    The first layer takes patches of 2×2 pixels; the features are the largest values over the pixels that are left.

    Args:
        first: channels of the first layer.
        widths: channels of each stage; the last is the number D of features.

    Example:
        >>> PictureClassifier().eval()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, first: int = 24, widths: Sequence[int] = (64, 128, 256)) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, first, 2)
        self.stages = nn.Sequential(*(stage(below, above) for below, above in pairwise((first, *widths))))
        self.head = nn.Linear(widths[-1], CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Return the features, (N, D), of images in [0, 1], (N, 3, 32, 32)."""
        return self.stages(self._entered(x)).amax((2, 3))

    def textures(self, x: Tensor) -> Tensor:
        """Return the means over the picture of what the first stage sees: colours and textures, not yet objects.

        Takes images in [0, 1], (N, 3, 32, 32); returns (N, channels of the first stage).
        """
        return self.stages[0](self._entered(x)).mean((2, 3))

    def _entered(self, x: Tensor) -> Tensor:
        return F.gelu(self.enter(((x - MEAN) / STD).contiguous(memory_format=torch.channels_last)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of CIFAR-10's ten classes, (N, 10), of images in [0, 1], (N, 3, 32, 32)."""
        return self.head(self.features(x))


def stage(below: int, above: int) -> nn.Sequential:
    """Return layers that halve the resolution, from one number of channels to another."""
    return nn.Sequential(
        nn.Conv2d(below, above, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(above),
        nn.GELU(),
        nn.Conv2d(above, above, 3, padding=1, bias=False),
        nn.BatchNorm2d(above),
        nn.GELU(),
    )
