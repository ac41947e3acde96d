"""What reading a file of weights takes, whatever its format: sizes are looked at before memory is taken."""

from __future__ import annotations

import json
import math
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from basis.core.errors import BasisError, DataError
from basis.io.limits import check_file

POINTER = b"version https://git-lfs.github.com/spec/"
LARGEST_JSON = 2**24  # bytes
WRAPPERS = re.compile(r"^(?:module\.)+|(?:(?<=\.)|^)_orig_mod\.")  # of DataParallel and torch.compile
SPARE = 64  # tensors and values more than a file's that a network may make on its way
SHOWN, LONGEST = 5, 160  # names and characters in a message
MAKERS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange}
M = TypeVar("M", bound=nn.Module)


def refuse_pointer(path: Path) -> None:
    """Raise `DataError` where a file is what Git leaves in the place of one that Git LFS stores."""
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise DataError(f"{path} is a Git LFS pointer, not the file", fix="git lfs pull")


def read_object(path: Path, fix: str = "fetch or write it anew") -> dict:
    """Return the JSON object in a file; raises `DataError` where it is none, or of more than 16 MiB."""
    check_file(path)
    if (size := path.stat().st_size) > LARGEST_JSON:
        raise DataError(f"{path} has {size:,} bytes, expected a JSON object of at most {LARGEST_JSON:,}", fix=fix)
    refuse_pointer(path)
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a JSON object ({brief(error)})", fix=fix) from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is not a JSON object (it holds a {type(found).__name__})", fix=fix)
    return found


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under the names that the network has by itself, not compiled and not in a DataParallel.

    Example:
        >>> list(plain_names({"module._orig_mod.enter.weight": torch.zeros(1), "net._orig_mod.b": torch.zeros(1)}))
        ['enter.weight', 'net.b']
    """
    return {WRAPPERS.sub("", WRAPPERS.sub("", str(name))): value for name, value in tensors.items()}


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise `DataError` with the names of tensors that hold NaN or infinite values."""
    floating = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if wrong := sorted(name for name, value in floating.items() if not torch.isfinite(value).all()):
        raise DataError(
            f"{path}: {len(wrong)} of {len(tensors)} tensors hold NaN or infinite values: {listed(wrong)}",
            fix="take an earlier checkpoint: a training that diverged leaves such weights",
        )


def mismatches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Return what is missing, left over, misshapen or of another kind of number, sorted; one entry a tensor."""
    both = expected.keys() & found.keys()
    return sorted(
        [f"{name} is missing" for name in expected.keys() - both]
        + [f"{name} is left over" for name in found.keys() - both]
        + [
            f"{name} has shape {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
            for name in both
            if found[name].shape != expected[name].shape
        ]
        + [
            f"{name} is {_kind(found[name])}, expected {_kind(expected[name])}"
            for name in both
            if found[name].shape == expected[name].shape and not _suits(found[name], expected[name])
        ]
    )


def _suits(found: Tensor, expected: Tensor) -> bool:
    return found.is_floating_point() == expected.is_floating_point() and found.is_complex() == expected.is_complex()


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def build(path: Path, make: Callable[[], M], sizes: Sequence[int]) -> M:
    """Return the module that a file describes, with initial weights; no random state changes.

    Args:
        path: named in errors.
        make: builds the module.
        sizes: number of values of each tensor that the file holds. The module may ask for few more: a file of a few
            bytes that describes a huge network is refused before memory is taken.

    Raises:
        DataError: the description asks for more than the file holds, or does not build a module.
        BasisError: an error of the module's own class, with the file's name.
    """
    try:
        with untouched(), within(sizes):
            return make()
    except BasisError as error:
        raise type(error)(f"{path}: {error}") from error
    except Exception as error:  # whatever a layer makes of a wrong argument
        raise DataError(
            f"{path} does not describe a prior or method ({brief(error)})", fix="fetch or write it anew"
        ) from error


def within(sizes: Sequence[int]) -> Within:
    """Return what stops a module that asks for many more tensors, or values, than a file holds."""
    error = DataError(
        f"a larger network is described than the {len(sizes)} tensors of {sum(sizes):,} values that are there",
        fix="fetch or write it anew: the description was damaged or changed",
    )
    return Within(2 * len(sizes) + SPARE, 2 * sum(sizes) + SPARE**3, error)


class Within(TorchFunctionMode):
    """Stops what makes more tensors in a module than ``count``, or more values, with an error, before they are made."""

    def __init__(self, count: int, values: float, error: BasisError) -> None:
        super().__init__()
        self.count, self.values, self.error = count, values, error
        self.made = self.made_values = 0

    def __enter__(self) -> Self:
        self.thread = threading.get_ident()
        hooks = register_module_parameter_registration_hook, register_module_buffer_registration_hook
        self.handles = [register(self._registered) for register in hooks]
        return super().__enter__()

    def __exit__(self, *error) -> None:
        for handle in self.handles:
            handle.remove()
        super().__exit__(*error)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in MAKERS:
            self._check(0, _values(args, kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _registered(self, module: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is not None and threading.get_ident() == self.thread:
            self.made, self.made_values = self.made + 1, self.made_values + tensor.numel()
            self._check(self.made, self.made_values)

    def _check(self, count: int, values: int) -> None:
        if count > self.count or values > self.values:
            raise self.error


def _values(args: tuple, kwargs: dict) -> int:
    """Return how many values a call such as ``torch.zeros(2, 3)`` or ``torch.zeros((2, 3))`` makes."""
    size = kwargs.get("size", args)
    size = size[0] if len(size) and isinstance(size[0], Sequence) else size
    return math.prod(side for side in size if isinstance(side, int))


@contextmanager
def untouched() -> Iterator[None]:
    """Leave the global random states of torch's CPU, numpy and Python after the block as they were before it.

    Example:
        >>> before = torch.get_rng_state()
        >>> with untouched():
        ...     drawn = torch.rand(3)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    theirs, own = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(theirs)  # noqa: NPY002
        random.setstate(own)


def listed(names: list[str], separator: str = ", ") -> str:
    """Return the first five of some names and how many more there are."""
    more = f"{separator}and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return separator.join(names[:SHOWN]) + more


def brief(error: BaseException) -> str:
    """Return what an error of another library says in one line of whole words, without colours.

    Example:
        >>> brief(ValueError("\\x1b[1mno such\\x1b[0m file\\nand so on"))
        'no such file'
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    line = next((" ".join(part.split()) for part in text.splitlines() if part.strip()), type(error).__name__)
    return line if len(line) <= LONGEST else line[:LONGEST].rpartition(" ")[0] + " …"
