"""Generator and critic of a small DCGAN (Radford et al. 2016), in the sizes of Kong et al. 2019."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

CHANNELS = 128  # of the finest feature maps at width 1; they double with each halving of the resolution
START = 4  # side of the coarsest feature map
SLOPE = 0.2


def _channels(shape: Sequence[int], width: float) -> list[int]:
    """Return the channels of each resolution from fine to coarse."""
    depth = max(1, math.ceil(math.log2(max(shape[1:]) / START)))
    return [max(1, round(width * CHANNELS * 2**i)) for i in range(depth)]


class Generator(nn.Module):
    """Images from latent codes: z to 4×4, then transposed 4×4 convolutions of stride 2, batch norm and ReLU, sigmoid.

    For 28×28 and width 1: 512 (4²), 256 (8²), 128 (16²), C (32², of which the middle 28² are the image). No biases.

    Args:
        shape: (C, H, W) of the images.
        latent: length of a code.
        width: factor on the numbers of channels.
    """

    def __init__(self, shape: Sequence[int], latent: int = 100, width: float = 1.0) -> None:
        super().__init__()
        self.shape = tuple(shape)
        sizes = _channels(shape, width)[::-1]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, sizes[0], START, bias=False)]
        for a, b in pairwise([*sizes, shape[0]]):
            layers += [nn.BatchNorm2d(a), nn.ReLU(), nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        """Return images (B, C, H, W) in (0, 1) of codes (B, latent)."""
        x = self.layers(z[:, :, None, None])
        top, left = ((have - want) // 2 for have, want in zip(x.shape[2:], self.shape[1:], strict=True))
        return x[:, :, top : top + self.shape[1], left : left + self.shape[2]]


class Critic(nn.Module):
    """A number for each image: 4×4 convolutions of stride 2 with LeakyReLU 0.2, then a linear map.

    For 28×28 and width 1: 128, 256, 512 channels. Without the batch norm of the original, which a gradient penalty does
    not go with (Gulrajani et al. 2017, section 4).

    Args:
        shape: (C, H, W) of the images.
        width: factor on the numbers of channels.
    """

    def __init__(self, shape: Sequence[int], width: float = 1.0) -> None:
        super().__init__()
        sizes = _channels(shape, width)
        layers: list[nn.Module] = []
        for a, b in pairwise([shape[0], *sizes]):
            layers += [nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        side = [max(1, side // 2 ** len(sizes)) for side in shape[1:]]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(sizes[-1] * math.prod(side), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the critic thinks, (B,), of images (B, C, H, W)."""
        return self.layers(x).squeeze(1)
