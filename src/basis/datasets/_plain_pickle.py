"""Pickles of arrays of bytes in plain containers, and of nothing else."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

ADMITTED = {("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct")}


def plain(content: bytes) -> Any:
    """Return what a pickle holds: texts (as bytes), numbers, lists, tuples, dictionaries and `Bytes` for arrays.

    Nothing that the pickle names is imported or called; numpy's own names are read as `Bytes`.

    Raises:
        pickle.UnpicklingError: it names anything else; other errors where it is damaged.

    Example:
        >>> plain(pickle.dumps({b"labels": [6, 9]}, protocol=3))[b"labels"]
        [6, 9]
        >>> plain(pickle.dumps(print))
        Traceback (most recent call last):
        _pickle.UnpicklingError: it asks for builtins.print, which is not loaded
    """
    return Reader(io.BytesIO(content), encoding="bytes").load()


class Bytes:
    """Stands for numpy's arrays and types while a pickle is read; ``value`` is the array, of bytes in rows."""

    value: np.ndarray

    def __init__(self, kind: object, *_: object) -> None:
        self.kind = kind

    def __setstate__(self, state: tuple) -> None:
        if isinstance(self.kind, bytes):  # a type: what else there is to say of bytes is their order in a number
            return
        _, shape, kind, columns, content = state
        if not isinstance(kind, Bytes) or kind.kind != b"u1" or columns:
            raise pickle.UnpicklingError("it holds an array that is not of bytes in rows")
        self.value = np.frombuffer(content, np.uint8).reshape(shape)


class Reader(pickle.Unpickler):
    """Reads what `plain` says."""

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not loaded")
        return Bytes
