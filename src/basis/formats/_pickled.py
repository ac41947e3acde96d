"""State dicts that torch.save wrote: tensors are read, everything else in the file stays unopened."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.serialization import safe_globals

from basis.core.errors import DataError
from basis.io.loading import brief, refuse_pointer

TORCH = ("torch.", "collections.OrderedDict")  # names that torch.load judges itself
LEGACY = 4  # pickles at the beginning of a file of torch before 1.6; the last one is the content
FIX = "give the file with the weights (not the config beside it), and fetch it anew if it is damaged"


def read_pickled(path: Path) -> Any:
    """Return what `torch.save` wrote, on the CPU, with tensors as they are and inert stand-ins for other objects.

    Nothing in the file is executed (``weights_only``). Numbers of numpy in an optimiser's state, for instance, are
    neither imported nor built.

    Raises:
        DataError: no such file, damaged, a whole network in place of its weights, or tensors larger than the file.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}", fix="give the file with the weights")
    refuse_pointer(path)
    _refuse_packed(path)
    try:
        with safe_globals([_stand_in(name) for name in _other_names(path)]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises anything for a damaged file
        raise DataError(f"{path} is not a checkpoint that torch.save wrote ({_reason(error)})", fix=FIX) from error
    return content


def state_of(path: Path, state: Any) -> dict[str, Tensor]:
    """Return a state dict after looking at its tensors: dense, and all in all no larger than the file."""
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        other = "other values" if isinstance(state, dict) else f"a {type(state).__name__}"
        raise DataError(
            f"{path} does not begin with a state dict but with {other}",
            fix="expected torch.save([network.state_dict(), …], path)",
        )
    if strange := sorted(str(name) for name, value in state.items() if value.layout != torch.strided or value.is_meta):
        raise DataError(f"{path}: {strange[0]} is a sparse or meta tensor, expected a dense one", fix="save it dense")
    described = sum(value.numel() * value.element_size() for value in state.values())
    if described > (size := path.stat().st_size):
        raise DataError(
            f"{path} describes tensors of {described:,} bytes and has {size:,} itself",
            fix="save them whole: {name: value.clone() for …}",
        )
    return {str(name): value for name, value in state.items()}


class _StandIn:
    """An object that is not opened: takes whatever a pickle gives it, and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _stand_in(name: str) -> type:
    """Return a class that torch.load takes for the one of that name."""
    module, _, own = name.rpartition(".")
    return type(own, (_StandIn,), {"__module__": module, "__qualname__": own})


def _other_names(path: Path) -> set[str]:
    """Return the names of classes and functions in a file that are not torch's."""
    names: set[str] = set()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith("/data.pkl"):
                        with archive.open(name) as file:
                            names |= _names(file)  # type: ignore[arg-type]
        else:
            with path.open("rb") as file:
                for _ in range(LEGACY):
                    names |= _names(file)
    except Exception:  # pickletools raises anything for a damaged file; torch.load says what is wrong
        return set()
    return {name for name in names if not name.startswith(TORCH)}


def _names(file: BinaryIO) -> set[str]:
    """Return the names that a pickle asks for, without loading it."""
    return {str(value).replace(" ", ".") for code, value, _ in pickletools.genops(file) if code.name == "GLOBAL"}


def _refuse_packed(path: Path) -> None:
    """Raise `DataError` for an archive that unpacks to more than it is: torch.save packs nothing."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise DataError(f"{path} is damaged ({brief(error)})", fix=FIX) from error
    if unpacked > path.stat().st_size:
        raise DataError(f"{path} unpacks to {unpacked:,} bytes, more than it has; torch.save packs nothing", fix=FIX)


def _reason(error: Exception) -> str:
    """Return what torch.load says is wrong, without its advice to load the file in another way."""
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    return brief(ValueError(text)) if text.strip() else type(error).__name__
