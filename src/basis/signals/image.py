"""Pictures: the one reader of the library. It knows depth, palette, alpha, orientation and modes of colour."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from basis.core.errors import BasisError, DataError, DataWarning, UsageError
from basis.core.signal import Signal
from basis.io.limits import GIB, VARIABLE, check_file, most_bytes
from basis.signals._pictures import eight_bits

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
BACKGROUND = "black"
PIXEL = 12  # bytes that a pixel takes as three numbers
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF
Source = str | Path | IO[bytes] | Image.Image
_opening = threading.Lock()


def warn(message: str) -> None:
    """Say what a reader did to a picture that its owner should know, as a `DataWarning`."""
    warnings.warn(message, DataWarning, stacklevel=3)


def read(source: Source, size: tuple[int, int] | None = None, background: str = BACKGROUND) -> Tensor:
    """Return a picture as float32 in [0, 1], (1, H, W) of a grey or (3, H, W) of a colour one.

    Args:
        source: path, open file or picture of PIL. Orientation tags are followed. 8 and 16 bits are scaled by their
            largest value; float values are taken as they are where they lie in [0, 1].
        size: height and width to resize to (Lanczos, kept within [0, 1]).
        background: colour that transparent parts show: a name, or "#rrggbb".

    Raises:
        DataError: there is no such picture, or it is damaged, too large, of several frames, of float values outside
            [0, 1], or of whole numbers of 32 bits, which do not say what white is.
        UsageError: no such colour.

    Warns:
        DataWarning: transparent parts were composed on the background; 16-bit colour was read with 8 bits.

    Example:
        >>> read(Image.new("L", (3, 2), 51))
        tensor([[[0.2000, 0.2000, 0.2000],
                 [0.2000, 0.2000, 0.2000]]])
    """
    picture = open_picture(source, background=background)
    return to_tensor(resized(picture, size) if size else picture)


def open_picture(
    source: Source,
    name: str = "",
    mode: str | None = None,
    background: str = BACKGROUND,
    tell: Callable[[str], None] = warn,
) -> Image.Image:
    """Return a picture, upright and without transparency, as PIL's "L" or "RGB", or as "F" with values in [0, 1].

    Args:
        source, background: see `read`.
        name: what errors call it; by default its path.
        mode: "L" or "RGB" for what is not deeper than 8 bits; by default what the picture is.
        tell: called with each warning.

    Raises:
        DataError, UsageError: see `read`.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "the picture")
    colour = _colour(background)
    if isinstance(source, str | Path):
        check_file(Path(source))
    try:
        if isinstance(source, str | Path):
            _check_end(Path(source))
        with nullcontext(source) if isinstance(source, Image.Image) else _opened(source) as file:
            _check(file, name)
            deep = file.mode.startswith(("I", "F"))
            if not deep and _loses_depth(file):
                tell(f"{name} has 16 bits a colour, of which 8 are read; save exact colours as a .npy in [0, 1]")
            upright = ImageOps.exif_transpose(file)
            if deep:
                return Image.fromarray(_deep(file, np.asarray(upright), name, colour, tell))
            if upright.has_transparency_data:
                upright = _composed(upright, name, colour, background, tell)
            grey = upright.mode in ("1", "L", "LA")
            # PIL has no way from "LAB" to "L" but by way of "RGB".
            upright = upright.convert("RGB") if upright.mode == "LAB" else upright
            return upright.convert(mode or ("L" if grey else "RGB"))
    except BasisError:
        raise
    except UnidentifiedImageError as error:
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{name} is not an image that can be read", fix=f"give one of {kinds}") from error
    except Exception as error:  # each image format has its own kinds of error
        reason = str(error).partition("\n")[0]
        raise DataError(f"{name} is damaged or cannot be read ({reason})", fix="fetch or export it anew") from error


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a picture of `open_picture` with another height and width (Lanczos), its values kept within [0, 1]."""
    if (picture.height, picture.width) == tuple(size):
        return picture
    found = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    # Bytes are clipped by PIL; numbers overshoot beside edges.
    return Image.fromarray(np.asarray(found).clip(0, 1)) if picture.mode == "F" else found


def to_tensor(picture: Image.Image) -> Tensor:
    """Return a picture of `open_picture` as float32 in [0, 1], (C, H, W)."""
    array = np.asarray(picture)
    array = np.array(array[None] if array.ndim == 2 else array.transpose(2, 0, 1), np.float32, order="C")
    if picture.mode != "F":
        array /= 255
    return torch.from_numpy(array)


def to_bytes(picture: Image.Image, channels: int) -> np.ndarray:
    """Return a picture of `open_picture` in 8 bits, uint8 (channels, H, W), 1 or 3 of them."""
    if picture.mode == "F":
        picture = Image.fromarray((np.asarray(picture) * 255).round().astype(np.uint8))
    array = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _colour(background: str) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(background)[:3]
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(
            f"expected the name of a colour or #rrggbb as background, got '{background}'", fix="for instance white"
        ) from error


def _opened(source: str | Path | IO[bytes]) -> Image.Image:
    """Open a picture without reading its pixels, and without PIL's own limit on them: `_check` has one."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_end(path: Path) -> None:
    """Raise an error of Pillow's for a PNG file without its end, which Pillow reads where no pixel is missing."""
    with _opened(path) as file:
        if file.format == "PNG":
            file.verify()


def _check(file: Image.Image, name: str) -> None:
    """Raise `DataError` for a picture of too many pixels, or of several frames."""
    pixels, limit = file.width * file.height, most_bytes() // PIXEL  # the same number as PIL's, at first
    if VARIABLE not in os.environ:
        limit = Image.MAX_IMAGE_PIXELS or pixels
    if pixels > limit:
        raise DataError(
            f"{name} unpacks to too many pixels: {file.width}×{file.height}, at most {limit:,} are read",
            fix=f"shrink it first, or raise the limit: set {VARIABLE}={math.ceil(pixels * PIXEL / GIB)}",
        )
    frames = getattr(file, "n_frames", 1)
    if frames > 1 and file.format != "MPO":  # photographs of cameras: the first is the picture, others its previews
        raise DataError(f"{name} holds {frames} frames or pages, expected one picture", fix="save the one you mean")


def _deep(
    file: Image.Image, array: np.ndarray, name: str, colour: tuple[int, ...], tell: Callable[[str], None]
) -> np.ndarray:
    """Return the upright pixels of a grey picture of more than 8 bits, as its file says, as float32 in [0, 1]."""
    tags = getattr(file, "tag_v2", {})
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if file.mode == "F":
        if not (low >= 0 and high <= 1):  # NaN neither
            raise DataError(
                f"{name} has float values from {low:g} to {high:g}, expected them in [0, 1]",
                fix="scale them, or save exact values as a .npy",
            )
        top = 1.0
    elif file.mode.startswith("I;16") or file.format in ("PNG", "PPM"):
        top = float(2 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1)
    else:
        raise DataError(
            f"{name} has whole numbers of 32 bits, from {low:g} to {high:g}, and does not say which of them is white",
            fix="save it in 8 or 16 bits, or as a .npy in [0, 1]",
        )
    values = array.astype(np.float32) / np.float32(top)
    values = 1 - values if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else values
    if (hidden := file.info.get("transparency")) is not None:
        tell(f"{name} has transparent parts, composed on grey level {colour[0]}")
        values = np.where(array == hidden, np.float32(colour[0] / 255), values)
    return values


def _loses_depth(file: Image.Image) -> bool:
    """Whether PIL reads 8 of the 16 bits that each colour has in the file."""
    for tile in getattr(file, "tile", ()):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(isinstance(word, str) and ";16" in word for word in args):
            return True
        if file.format == "PPM" and isinstance(args[-1], int) and args[-1] > 255:
            return True
    return False


def _composed(
    picture: Image.Image, name: str, colour: tuple[int, ...], background: str, tell: Callable[[str], None]
) -> Image.Image:
    """Return a picture on a background, where it has any part that is not opaque."""
    whole = picture.convert("RGBA")
    if whole.getchannel("A").getextrema()[0] == 255:
        return picture
    tell(f"{name} has transparent parts, composed on {background}")
    flat = Image.alpha_composite(Image.new("RGBA", whole.size, (*colour, 255)), whole).convert("RGB")
    grey = picture.mode in ("LA", "La", "L") and len(set(colour)) == 1
    return flat.convert("L") if grey else flat


class Picture(Signal):
    """Images in grey or in colour, (1, H, W) or (3, H, W)."""

    suffixes = frozenset(SUFFIXES)
    ending = ".png"
    metrics = ("psnr", "ssim")

    def suits(self, shape: Sequence[int]) -> bool:
        return len(shape) == 3 and shape[0] in (1, 3)

    def read(self, path: Path, shape: Sequence[int], **options) -> Tensor:
        """Return the picture in a file, (1, C, H, W) in [0, 1]; options are ``resize`` and ``background``."""
        size = (shape[1], shape[2]) if options.get("resize") else None
        found = read(path, size, options.get("background", BACKGROUND))
        if found.numel() and found.min() == found.max():
            warn(
                f"{path} has one value, {found.min():.3g}, in every pixel; if it is transparent, try --background white"
            )
        return found[None]

    def write(self, path: Path, x: Tensor, data_range: Sequence[float]) -> None:
        low, high = data_range
        eight_bits((x - low) / (high - low)).save(path)

    def picture(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)
