"""The masking network of Neural Egg Separation: an encoder and a decoder without skips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = (64, 128, 256, 512)  # of the encoder at width 1, from fine to coarse
SLOPE = 0.2


class Masker(nn.Module):
    """A mask in (0, 1) for each pixel of an image (Halperin et al. 2019, and their release).

    Convolutions 4×4 of stride 2 to 64, 128, 256 and 512 channels with LeakyReLU 0.2, batch norm but on the first; then
    transposed ones to 256, 128, 64 and C with batch norm and ReLU, and a sigmoid. Only the last layer has a bias.
    Images smaller than 16 pixels have fewer layers.

    Args:
        shape: (C, H, W) of the images; they are padded with zeros to a multiple of the smallest feature map inside.
        width: factor on the numbers of channels.
    """

    def __init__(self, shape: Sequence[int], width: float = 1.0) -> None:
        super().__init__()
        channels, *size = shape
        depth = min(len(CHANNELS), max(1, math.ceil(math.log2(max(size))) - 1))
        sizes = [channels, *(max(1, round(width * size)) for size in CHANNELS[:depth])]
        tall, wide = (math.ceil(side / 2**depth) * 2**depth for side in size)
        top, left = (tall - size[0]) // 2, (wide - size[1]) // 2
        self.margin = (left, wide - size[1] - left, top, tall - size[0] - top)
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(sizes)):
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), *([nn.BatchNorm2d(b)] if i else []), nn.LeakyReLU(SLOPE)]
        for a, b in pairwise(sizes[:0:-1]):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        layers += [nn.ConvTranspose2d(sizes[1], channels, 4, 2, 1), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mask, (B, C, H, W), of images (B, C, H, W)."""
        return F.pad(self.layers(F.pad(x, self.margin)), [-side for side in self.margin])
