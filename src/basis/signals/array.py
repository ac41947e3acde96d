"""Array files: exact values in `.npy`, `.npz` and `.pt`, after a look at how large they are."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from basis.core.arrays import as_tensor
from basis.core.errors import BasisError, DataError
from basis.io.limits import check_archive, check_bytes, check_file

ARRAYS = {".npy", ".npz", ".pt"}
KEY = "mixture"
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
