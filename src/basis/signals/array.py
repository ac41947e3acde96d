"""Arrays: exact values of any shape in `.npy`, `.npz` and `.pt`, after a look at how large they are."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from basis.core.arrays import as_tensor
from basis.core.errors import BasisError, DataError
from basis.core.signal import Signal
from basis.io.limits import check_archive, check_bytes, check_file

ARRAYS = {".npy", ".npz", ".pt"}
KEY = "mixture"
HEIGHT, WIDTH = 112, 224  # pixels of the picture of lines
NUMBER = 4  # bytes of a float32


def read_array(path: Path) -> Tensor:
    """Return the array of a file as float32, on the CPU.

    Args:
        path: `.npy`, `.npz` (array "mixture", or the only one) or `.pt` (a tensor, or a dictionary with "mixture";
            loaded with weights_only).

    Raises:
        DataError: no such file, no such array, more than `basis.io.limits.most_bytes`, or values that are not real
            numbers.
    """
    check_file(path)
    try:
        value = _torch(path) if path.suffix.lower() == ".pt" else _numpy(path)
        if isinstance(value, np.ndarray | Tensor):
            size = np.prod(value.shape, dtype=float)
            check_bytes(path, size * NUMBER)
        return as_tensor(value, str(path))
    except BasisError:
        raise
    except pickle.UnpicklingError as error:
        raise DataError(f"{path} holds more than tensors, which is not loaded", fix="save a plain tensor") from error
    except Exception as error:  # damaged files raise anything, from zlib.error to tokenize.TokenError
        raise DataError(
            f"{path} cannot be read as an array ({str(error).partition(chr(10))[0]})",
            fix=f"save one numeric array, in an .npz or a dictionary under the name '{KEY}'",
        ) from error


def _torch(path: Path) -> Tensor:
    if zipfile.is_zipfile(path):
        check_archive(path)
    value = torch.load(path, map_location="cpu", weights_only=True)
    value = value[KEY] if isinstance(value, dict) else value
    if not isinstance(value, Tensor):
        raise ValueError(f"it holds a {type(value).__name__}, not a tensor")
    return value


def _numpy(path: Path) -> np.ndarray:
    if not zipfile.is_zipfile(path):
        return np.load(path, allow_pickle=False, mmap_mode="r")  # compares the header with the file's size
    with np.load(path, allow_pickle=False) as file:
        names = file.files
        name = KEY if KEY in names or len(names) != 1 else names[0]
        sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in file.zip.infolist()}
        check_bytes(path, sizes.get(name, 0))
        return file[name]


class Array(Signal):
    """Values of any shape: lines in one dimension, pictures in two."""

    suffixes = frozenset(ARRAYS)
    ending = ".npy"
    general = True

    def suits(self, shape: Sequence[int]) -> bool:
        return True

    def read(self, path: Path, shape: Sequence[int], **options) -> Tensor:
        """Return the examples in a file, (B, …): one example, with or without its channel, or a batch of them."""
        array = read_array(path)
        if array.dim() == len(shape) - 1:
            array = array[None]
        return array[None] if array.dim() == len(shape) else array

    def write(self, path: Path, x: Tensor, data_range: Sequence[float]) -> None:
        np.save(path, x.cpu().numpy())

    def picture(self, x: Tensor) -> Tensor:
        """Return the lines of a signal (C, L) or (L,); of more dimensions, the channels (H, W) side by side."""
        if x.dim() <= 2:
            return lines(x.reshape(-1, x.shape[-1]))
        return x.clamp(0, 1).reshape(-1, *x.shape[-2:]).movedim(0, 1).flatten(1)[None]


def lines(x: Tensor) -> Tensor:
    """Return lines (C, L) with values in [0, 1] as a picture, (1, HEIGHT, WIDTH), dark on light."""
    picture = Image.new("L", (WIDTH, HEIGHT), 255)
    draw = ImageDraw.Draw(picture)
    across = np.linspace(0, WIDTH - 1, x.shape[1]) if x.shape[1] > 1 else np.array([0.0])
    for c, line in enumerate(x.detach().cpu().clamp(0, 1).numpy()):
        down = (1 - line) * (HEIGHT - 1)
        points = [*zip(across.tolist(), down.tolist(), strict=True)]
        points += [(WIDTH - 1.0, points[-1][1])] if len(points) == 1 else []
        draw.line(points, fill=int(160 * c / len(x)))
    return torch.from_numpy(np.array(picture)).float()[None] / 255
