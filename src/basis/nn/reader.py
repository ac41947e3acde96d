"""A frozen network that says what a grey picture shows, for one that gives it colours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from basis.nn.picture_classifier import stage

FIRST = 16  # channels of the first layer


class Reader(nn.Module):
    """A classifier of grey pictures, whose features come at half, a quarter, an eighth … of the resolution.

    It is trained by itself (`scripts/grey_reader.py`) and stays as it is in what it is a part of: what a picture shows
    is learned far sooner from names than from noise. (Features of a classifier for colorization: Iizuka et al. 2016,
    "Let there be Color!"; Larsson et al. 2016, "Learning representations for automatic colorization".)

    Args:
        widths: feature channels of each resolution, from fine to coarse.
        classes: number of classes that it was trained to tell apart.
    """

    def __init__(self, widths: Sequence[int], classes: int = 10) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, FIRST, 3, padding=1)
        self.stages = nn.ModuleList(stage(below, above) for below, above in pairwise((FIRST, *widths)))
        self.head = nn.Linear(widths[-1], classes)
        self.frozen = False

    def forward(self, sums: Tensor) -> list[Tensor]:
        """Return features of each resolution, (B, width, H/2, W/2) and on, of the smoothest of the sums, (B, S, H, W).

        That is the one without noise, where there is one.
        """
        steps = sums.diff(dim=2).square().mean((2, 3)) + sums.diff(dim=3).square().mean((2, 3))
        grey = sums.gather(1, steps.argmin(1)[:, None, None, None].expand(-1, 1, *sums.shape[2:]))
        x, found = F.gelu(self.enter(grey)), []
        for part in self.stages:
            x = part(x)
            found.append(x)
        return found

    def logits(self, sums: Tensor) -> Tensor:
        """Return the logits of the classes, (B, classes), of what `forward` takes."""
        return self.head(self(sums)[-1].amax((2, 3)))

    def train(self, mode: bool = True) -> Self:
        """Set training mode, but for a frozen reader, whose batch normalisation stays as it is."""
        return super().train(mode and not self.frozen)

    def freeze(self) -> Self:
        """Return itself, whose weights change no more, whatever it is a part of."""
        self.frozen = True
        return self.requires_grad_(False).eval()
