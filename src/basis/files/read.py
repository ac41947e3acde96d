"""Mixtures from image and array files, with an error that helps for every file that is not one."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from basis.core.errors import DataError, UsageError

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
ARRAYS = {".npy", ".npz", ".pt"}
LARGEST_ARRAY = 2**31  # bytes that an array file may unpack to
KEY = "mixture"


def find(paths: Iterable[Path]) -> list[Path]:
    """Return the files named, and for a folder the images and arrays in it, sorted."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES | ARRAYS)
            if not inside:
                raise UsageError(f"{path} holds no image and no array", fix="give files, or a folder that holds some")
            found.extend(inside)
        else:
            found.append(path)
    return found


def read_mixture(path: Path, shape: tuple[int, ...], sources: int, *, mean: bool, resize: bool = False) -> Tensor:
    """Return the mixtures in a file, (B, C, H, W), for priors of the given shape.

    Args:
        path: an image (one mixture, grey levels in [0, 1]), or `.npy`, `.npz` (array "mixture", or the only one) or
            `.pt` (loaded with weights_only) with exact values, (H, W), (C, H, W) or (B, C, H, W).
        shape: (C, H, W) of a source.
        sources: number K of sources.
        mean: whether an image is the mean of its sources: its values are then multiplied by K, to be a plain sum.
        resize: whether to resize an image to the prior's size.

    Raises:
        DataError: the file is missing, damaged, not of these kinds, or does not fit the shape.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist", fix="check the path")
    if path.suffix.lower() in ARRAYS:
        return _fit(path, _array(path), shape)
    image = _image(path, shape, resize)
    return image * sources if mean else image


def _image(path: Path, shape: tuple[int, ...], resize: bool) -> Tensor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                file.load()
                deep = file.mode.startswith(("I", "F"))
                image = file.copy() if deep else file.convert("L" if file.mode in ("1", "L", "LA") else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} unpacks to too many pixels ({error})", fix="shrink it first") from error
    except UnidentifiedImageError as error:
        kinds = ", ".join(sorted(IMAGES | ARRAYS))
        raise DataError(f"{path} is not an image that can be read", fix=f"give one of {kinds}") from error
    except Exception as error:  # each image format has its own kinds of error
        raise DataError(f"{path} is damaged or cannot be read ({error})", fix="fetch or export it anew") from error
    channels, height, width = shape
    if resize:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    array = np.asarray(image, dtype=np.float32) / (65535 if deep else 255)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    if channels == 1 and len(array) == 3 and (array == array[:1]).all():
        array = array[:1]
    if len(array) != channels:
        names = {1: "grey", 3: "colour"}
        raise DataError(
            f"{path} is a {names[len(array)]} image, the prior takes {names.get(channels, channels)} ones",
            fix=f"convert it to {names.get(channels, f'{channels} channels')}, or choose another prior",
        )
    if array.shape[1:] != (height, width):
        raise DataError(
            f"{path} is {array.shape[2]}×{array.shape[1]} pixels, the prior takes {width}×{height}",
            fix=f"pass --resize, or crop it to {width}×{height} yourself",
        )
    return torch.from_numpy(array)[None]


def _array(path: Path) -> Tensor:
    try:
        if path.suffix.lower() == ".pt":
            value = torch.load(path, map_location="cpu", weights_only=True)
            value = value[KEY] if isinstance(value, dict) else value
            if not isinstance(value, Tensor):
                raise ValueError(f"it holds a {type(value).__name__}, not a tensor")
            return value.float()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > LARGEST_ARRAY:
                    raise ValueError(f"it unpacks to more than {LARGEST_ARRAY / 2**30:.0f} GiB")
        value = np.load(path, allow_pickle=False)
        if isinstance(value, np.lib.npyio.NpzFile):
            with value:
                names = value.files
                value = value[KEY if KEY in names or len(names) != 1 else names[0]]
        with np.errstate(over="ignore"):  # becomes infinite, which separate refuses
            return torch.from_numpy(value.astype(np.float32))
    except pickle.UnpicklingError as error:
        raise DataError(f"{path} holds more than tensors, which is not loaded", fix="save a plain tensor") from error
    except Exception as error:  # damaged files raise anything, from zlib.error to tokenize.TokenError
        raise DataError(
            f"{path} cannot be read as an array ({str(error).partition(chr(10))[0]})",
            fix=f"save one numeric array, in an .npz or a dictionary under the name '{KEY}'",
        ) from error


def _fit(path: Path, array: Tensor, shape: tuple[int, ...]) -> Tensor:
    if array.dim() == 2 and shape[0] == 1:
        array = array[None]
    if array.dim() == 3:
        array = array[None]
    if tuple(array.shape[1:]) != shape or not len(array):
        expected = "×".join(map(str, shape))
        raise DataError(
            f"{path} has shape {tuple(array.shape)}, the prior takes {expected} (channels × height × width)",
            fix="save an array of that shape or a batch of them, or choose another prior",
        )
    return array
