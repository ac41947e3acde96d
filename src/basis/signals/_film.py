"""The states of a run that its animation shows: few, and small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from basis.core.mixing import Mixing
from basis.core.sampler import State
from basis.signals._pictures import SEPARATED, Words, frame, shrunk
from basis.signals._view import pictures, unit, view

SHOWN = 40  # frames of an animation
KEPT = 2 * SHOWN  # states that are kept at most: half of them go when it is reached, for a run may end at any time
ANIMATED = 16  # mixtures of one file that are animated


class Film:
    """Keeps states of a run at equal distances, whatever its length, as pictures of 8 bits that are shrunk.

    Args:
        count: number B of mixtures; of each, its first sample is shown.
        ends: values that are shown darkest and lightest, or lowest and highest: the data range of the sources.
    """

    def __init__(self, count: int, ends: Sequence[float] = (0.0, 1.0)) -> None:
        self.count, self.ends, self.seen, self.stride = count, ends, 0, 1
        self.kept: list[tuple[list[Tensor], float]] = []
        self.last: State | None = None

    def add(self, state: State) -> None:
        """Look at the next state (its ``x``: (B · n, K, *S))."""
        if self.seen % self.stride == 0:
            if len(self.kept) == KEPT:
                self.kept, self.stride = self.kept[::2], 2 * self.stride
            self.kept.append(self._develop(state))
        self.seen, self.last = self.seen + 1, state

    def _develop(self, state: State) -> tuple[list[Tensor], float]:
        first = state.x.unflatten(0, (self.count, -1))[:ANIMATED, 0]
        return [shrunk(pictures(unit(x, self.ends))) for x in first], state.sigma

    def frames(self, mixture: Tensor, mixing: Mixing, words: Words = SEPARATED) -> list[list[Image.Image]]:
        """Return the frames for each mixture (B, *M); none for those beyond the first 16."""
        frames: list[list[Image.Image]] = [[] for _ in range(self.count)]
        if self.last is None:
            return frames
        kept = list(self.kept)
        if (self.seen - 1) % self.stride:
            kept.append(self._develop(self.last))
        shown = [kept[i] for i in np.linspace(0, len(kept) - 1, min(SHOWN, len(kept))).round().astype(int)]
        for i, one in enumerate(mixture[:ANIMATED]):
            look = view(one, mixing, self.last.x.shape[1:], self.ends)
            small = shrunk(look.mixture(one[None])[0])
            frames[i] = [frame(small / 255, x[i] / 255, 1.0, sigma, words) for x, sigma in shown]
        return frames
