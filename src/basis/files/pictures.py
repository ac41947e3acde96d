"""Panels and animations of separations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from basis.core.mixing import Mixing

TILE = 112  # pixels that a tile has at least
GAP = 8
LABEL = 20
INK, PAPER = (40, 40, 40), (255, 255, 255)
ERROR_SCALE = 10
LARGEST_FRAME = 256  # pixels that a tile of an animation has at most


class Words(NamedTuple):
    """What a picture calls its parts: of a separation, or of a colorization."""

    mixture: str
    source: str

    def sources(self, count: int) -> list[str]:
        """Return a label for each of K sources."""
        return [f"{self.source} {k + 1}" for k in range(count)] if count > 1 else [self.source]


SEPARATED, COLORIZED = Words("mixture", "source"), Words("grey", "colour")


def tile(image: Tensor, largest: int | None = None) -> Image.Image:
    """Return an image (C, H, W) in [0, 1] as a picture, enlarged by a whole factor, or shrunk to a largest height."""
    picture = _eight_bits(image).convert("RGB")
    if largest and picture.height > largest:
        return _shrink(picture, largest)
    factor = max(TILE // picture.height, 1)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _eight_bits(image: Tensor) -> Image.Image:
    array = (image.detach().cpu().clamp(0, 1).numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def _shrink(picture: Image.Image, height: int) -> Image.Image:
    return picture.resize((round(picture.width * height / picture.height), height), Image.Resampling.BOX)


def shrunk(images: Tensor) -> Tensor:
    """Return images (C, H, W) or (K, C, H, W) in [0, 1] as an animation shows them: in 8 bits, at most 256 high."""
    if images.dim() == 4:
        return torch.stack([shrunk(image) for image in images])
    picture = _eight_bits(images)
    if picture.height > LARGEST_FRAME:
        picture = _shrink(picture, LARGEST_FRAME)
    array = np.array(picture)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))


def white(mixing: Mixing, sources: Tensor) -> float:
    """Return the largest value of a mixture of white sources (K, C, H, W), which pictures show white."""
    return mixing(torch.ones(1, *sources.shape)).max().item() or 1.0


def grid(rows: Sequence[Sequence[Tensor | None]], labels: Sequence[str], largest: int | None = None) -> Image.Image:
    """Return rows of images (C, H, W) in [0, 1] as one picture, with a label over each column, if any."""
    tiles = [[None if image is None else tile(image, largest) for image in row] for row in rows]
    width, height = next(t for row in tiles for t in row if t is not None).size
    columns = max(len(row) for row in rows)
    top = LABEL + GAP if labels else GAP
    size = (GAP + columns * (width + GAP), top + len(rows) * (height + GAP))
    picture = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    for c, label in enumerate(labels):
        draw.text((GAP + c * (width + GAP) + width // 2, LABEL), label, INK, font=font, anchor="ms")
    for r, row in enumerate(tiles):
        for c, picture_tile in enumerate(row):
            if picture_tile is not None:
                picture.paste(picture_tile, (GAP + c * (width + GAP), top + r * (height + GAP)))
    return picture


def panel(mixture: Tensor, samples: Tensor, remixes: Tensor, total: float, words: Words = SEPARATED) -> Image.Image:
    """Return "mixture | sources | re-mix | error", one row a sample.

    Args:
        mixture: (C, H, W).
        samples: (n, K, C, H, W) in [0, 1].
        remixes: the samples mixed again, (n, C, H, W).
        total: value of the mixture that is shown white, for instance Σ α.
        words: what the parts are called.
    """
    labels = [words.mixture, *words.sources(samples.shape[1]), "re-mix", f"error x {ERROR_SCALE}"]
    rows = [
        [mixture / total, *x, remix / total, (mixture - remix).abs() / total * ERROR_SCALE]
        for x, remix in zip(samples, remixes, strict=True)
    ]
    return grid(rows, labels)


def frame(mixture: Tensor, x: Tensor, total: float, sigma: float, words: Words = SEPARATED) -> Image.Image:
    """Return one frame of the animation: the mixture and the sources x (K, C, H, W) as they stand at noise level σ."""
    return grid([[mixture / total, *x]], [f"sigma {sigma:.3f}", *words.sources(len(x))], LARGEST_FRAME)


def animation(frames: Sequence[Image.Image]) -> tuple[Image.Image, dict]:
    """Return the first frame and the arguments of its ``save`` that write the frames as a looping GIF."""
    first, *rest = [image.quantize(64) for image in frames]
    durations = [80] * len(rest) + [2000]
    return first, {"format": "GIF", "save_all": True, "append_images": rest, "duration": durations, "loop": 0}
