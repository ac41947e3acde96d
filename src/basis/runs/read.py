"""Mixtures from files of any signal, with an error that helps for every file that is not one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from basis.assets.examples import find_example
from basis.core.errors import DataError, UsageError
from basis.core.signal import signal_of, signals
from basis.signals import image
from basis.signals.array import ARRAYS

IMAGES = image.SUFFIXES


def find(paths: Iterable[Path]) -> list[Path]:
    """Return the files named, for a folder the images and arrays in it, sorted; ``example:NAME`` is a bundled one."""
    found: list[Path] = []
    for path in map(find_example, paths):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES | ARRAYS)
            if not inside:
                raise UsageError(f"{path} holds no image and no array", fix="give files, or a folder that holds some")
            found.extend(inside)
        else:
            found.append(path)
    return found


def read_mixture(
    path: Path,
    shape: tuple[int, ...],
    sources: int,
    *,
    mean: bool,
    resize: bool = False,
    windows: bool = False,
    background: str = image.BACKGROUND,
) -> Tensor:
    """Return the mixtures in a file, (B, *S), for priors of the given shape.

    Args:
        path: an image (one mixture, grey levels in [0, 1]), or `.npy`, `.npz` (array "mixture", or the only one) or
            `.pt` (loaded with weights_only) with exact values: one example, with or without its channel, or a batch.
        shape: shape S of a source, (C, H, W) or another.
        sources: number K of sources.
        mean: whether an image is the mean of its sources: its values are then multiplied by K, to be a plain sum.
        resize: whether to resize an image to the prior's size.
        windows: whether it may be larger than that, to be separated by windows.
        background: colour that transparent parts of an image show, see `basis.signals.image.read`.

    Raises:
        DataError: the file is missing, damaged, not of these kinds, or does not fit the shape.
    """
    mixture, is_image = _read(path, shape, resize, background)
    channels = shape[0]
    if is_image and channels == 1 and _is_grey(mixture):
        mixture = mixture[:, :1]
    if is_image and mixture.shape[1] != channels:
        names = {1: "grey", 3: "colour"}
        raise DataError(
            f"{path} is a {names[mixture.shape[1]]} image, the prior takes {names.get(channels, channels)} ones",
            fix=f"convert it to {names.get(channels, f'{channels} channels')}, or choose another prior",
        )
    _check_size(path, mixture, shape, (channels,), is_image, windows)
    return mixture * sources if is_image and mean else mixture


def read_grey(
    path: Path,
    shape: tuple[int, ...],
    luma: Sequence[float],
    *,
    resize: bool = False,
    background: str = image.BACKGROUND,
) -> tuple[Tensor, bool]:
    """Return the grey images in a file, (B, 1, H, W) in [0, 1], at least of the prior's size, to be colorized.

    Args:
        path: an image, grey or in colour, or `.npy`, `.npz` or `.pt` with values in [0, 1], (H, W), (C, H, W) or
            (B, C, H, W) with C = 1 or 3.
        shape: (3, h, w) of the prior.
        luma: weights w of the channels: colour turns to grey by ``Σ_c w_c x_c``.
        resize: whether to resize an image to the prior's size.
        background: as in `read_mixture`.

    Returns:
        The images, and whether they were in colour.

    Raises:
        DataError: as `read_mixture`.
    """
    images, is_image = _read(path, shape, resize, background)
    _check_size(path, images, shape, (1, 3), is_image, windows=True)
    if images.shape[1] == 1 or (is_image and _is_grey(images)):
        return images[:, :1], False
    return torch.einsum("bchw,c->bhw", images, torch.tensor(luma, dtype=images.dtype))[:, None], True


def _read(path: Path, shape: Sequence[int], resize: bool, background: str) -> tuple[Tensor, bool]:
    """Return what a file holds, (B, *S), and whether it is a picture, with values in [0, 1]."""
    own = signal_of(shape)
    signal = next((each for each in signals() if path.suffix.lower() in each.suffixes), own)
    if not (signal.general or signal.suits(shape)):
        raise DataError(
            f"{path} is a picture, the prior takes signals of shape {tuple(shape)}",
            fix=f"save exact values as {own.ending}, or choose a prior of pictures",
        )
    return signal.read(path, shape, resize=resize, background=background), not signal.general


def _is_grey(image: Tensor) -> bool:
    return bool((image == image[:, :1]).all())


def _check_size(
    path: Path, found: Tensor, shape: Sequence[int], channels: Sequence[int], is_image: bool, windows: bool
) -> None:
    """Raise `DataError` unless there are examples (B, *S) of the prior's size, or larger ones where that may be."""
    size, wanted = tuple(found.shape[2:]), tuple(shape[1:])
    larger = len(size) == len(wanted) > 0 and all(a >= b for a, b in zip(size, wanted, strict=True))
    fits = found.dim() == len(shape) + 1 and len(found) and found.shape[1] in channels
    if fits and (size == wanted or (windows and larger)):
        return
    if is_image:
        height, width = wanted
        ways = "pass --windows to take it in parts, --resize" if larger else "pass --resize"
        raise DataError(
            f"{path} is {size[1]}×{size[0]} pixels, the prior takes {width}×{height}{' or more' if windows else ''}",
            fix=f"{ways}, or crop it to {width}×{height} yourself",
        )
    expected = "×".join(map(str, (" or ".join(map(str, channels)), *wanted)))
    axes = {2: " (channels × length)", 3: " (channels × height × width)"}.get(len(shape), "")
    raise DataError(
        f"{path} has shape {tuple(found.shape)}, the prior takes {expected}{axes}",
        fix=f"{'pass --windows, ' if larger else ''}save an array of that shape or a batch, or choose another prior",
    )
