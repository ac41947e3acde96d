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
ERROR_SCALE, SPREAD_SCALE = 10, 2
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
    picture = eight_bits(image).convert("RGB")
    if largest and picture.height > largest:
        return _shrink(picture, largest)
    factor = max(TILE // picture.height, 1)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def eight_bits(image: Tensor) -> Image.Image:
    """Return an image (C, H, W) in [0, 1] as a picture of 8 bits, in grey or in colour."""
    array = (image.detach().cpu().clamp(0, 1).numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def _shrink(picture: Image.Image, height: int) -> Image.Image:
    return picture.resize((round(picture.width * height / picture.height), height), Image.Resampling.BOX)


def shrunk(images: Tensor) -> Tensor:
    """Return images (C, H, W) or (K, C, H, W) in [0, 1] as an animation shows them: in 8 bits, at most 256 high."""
    if images.dim() == 4:
        return torch.stack([shrunk(image) for image in images])
    picture = eight_bits(images)
    if picture.height > LARGEST_FRAME:
        picture = _shrink(picture, LARGEST_FRAME)
    array = np.array(picture)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))


def white(mixing: Mixing, sources: Tensor) -> float:
    """Return the largest value of a mixture of white sources (K, C, H, W), which pictures show white."""
    return mixing(torch.ones(1, *sources.shape)).max().item() or 1.0


def grid(
    rows: Sequence[Sequence[Tensor | str | None]],
    labels: Sequence[str],
    largest: int | None = None,
    notes: Sequence[str] = (),
) -> Image.Image:
    """Return rows of images (C, H, W) in [0, 1] as one picture; text in place of an image stands in its middle.

    Args:
        rows: images, texts, or None for an empty place.
        labels: one over each column, if any.
        largest: height to which larger images are shrunk.
        notes: lines under the images.
    """
    tiles = [[tile(entry, largest) if isinstance(entry, Tensor) else entry for entry in row] for row in rows]
    width, height = next(t for row in tiles for t in row if isinstance(t, Image.Image)).size
    columns = max(len(row) for row in rows)
    top = LABEL + GAP if labels else GAP
    bottom = top + len(rows) * (height + GAP)
    picture = Image.new("RGB", (GAP + columns * (width + GAP), bottom + LABEL * len(notes)), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    for c, label in enumerate(labels):
        draw.text((GAP + c * (width + GAP) + width // 2, LABEL), label, INK, font=font, anchor="ms")
    for r, row in enumerate(tiles):
        for c, entry in enumerate(row):
            left, upper = GAP + c * (width + GAP), top + r * (height + GAP)
            if isinstance(entry, str):
                draw.text((left + width // 2, upper + height // 2), entry, INK, font=font, anchor="mm", align="center")
            elif entry is not None:
                picture.paste(entry, (left, upper))
    for line, note in enumerate(notes):
        draw.text((GAP, bottom + line * LABEL), note, INK, font=font)
    return picture


def panel(
    mixture: Tensor,
    samples: Tensor,
    remixes: Tensor,
    total: float,
    words: Words = SEPARATED,
    spread: Tensor | None = None,
    notes: Sequence[str] = (),
) -> Image.Image:
    """Return "mixture | sources | re-mix | error", one row a sample, and under the sources their spread, if any.

    Args:
        mixture: an image, (C, H, W).
        samples: (n, K, C, H, W) in [0, 1].
        remixes: the samples mixed again, (n, C, H, W).
        total: value of the mixture that is shown white, for instance Σ α.
        words: what the parts are called.
        spread: standard deviation among candidates or samples in each pixel, (K, C, H, W), see `Assessment`.
        notes: lines under the images, what the separation is worth.
    """
    errors = (mixture - remixes).abs() / total * ERROR_SCALE
    spread = None if spread is None else SPREAD_SCALE * spread
    return table(mixture / total, samples, remixes / total, errors, words, spread, notes)


def table(
    mixture: Tensor,
    samples: Tensor,
    remixes: Tensor,
    errors: Tensor,
    words: Words = SEPARATED,
    spread: Tensor | None = None,
    notes: Sequence[str] = (),
) -> Image.Image:
    """Return the `panel` of pictures that are as they are shown, in [0, 1], errors (n, C, H, W) and spread too."""
    labels = [words.mixture, *words.sources(samples.shape[1]), "re-mix", f"error x {ERROR_SCALE}"]
    rows: list[list[Tensor | str | None]] = [
        [mixture, *x, remix, error] for x, remix, error in zip(samples, remixes, errors, strict=True)
    ]
    if spread is not None:
        rows.append([f"spread of\ncandidates x {SPREAD_SCALE}", *spread])
    return grid(rows, labels, notes=notes)


def frame(mixture: Tensor, x: Tensor, total: float, sigma: float, words: Words = SEPARATED) -> Image.Image:
    """Return one frame of the animation: the mixture and the sources x (K, C, H, W) as they stand at noise level σ."""
    return grid([[mixture / total, *x]], [f"sigma {sigma:.3f}", *words.sources(len(x))], LARGEST_FRAME)


def animation(frames: Sequence[Image.Image]) -> tuple[Image.Image, dict]:
    """Return the first frame and the arguments of its ``save`` that write the frames as a looping GIF."""
    first, *rest = [image.quantize(64) for image in frames]
    durations = [80] * len(rest) + [2000]
    return first, {"format": "GIF", "save_all": True, "append_images": rest, "duration": durations, "loop": 0}
