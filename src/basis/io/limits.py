"""Sizes before memory: what a file would take is known before it is taken."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path

from basis.core.errors import DataError, UsageError

GIB = 2**30
MOST, VARIABLE = 1.0, "BASIS_MAX_GIB"  # GiB that one file may unpack to, and what raises it


def most_bytes() -> int:
    """Return how many bytes one file may unpack to: 1 GiB, or what the environment variable BASIS_MAX_GIB says.

    Raises:
        UsageError: the variable is not a positive number.
    """
    text = os.environ.get(VARIABLE, str(MOST))
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise UsageError(f"expected a number of GiB in {VARIABLE}, got '{text}'", fix=f"for instance {VARIABLE}=4")
    return int(limit * GIB)


def check_bytes(what: object, size: float) -> None:
    """Raise `DataError` where something would take more memory than `most_bytes`.

    Example:
        >>> check_bytes("a.npy", 5e9)
        Traceback (most recent call last):
        basis.core.errors.DataError: a.npy unpacks to 4.66 GiB, more than the limit of 1 GiB. To fix: ...
    """
    limit = most_bytes()
    if size > limit:
        raise DataError(
            f"{what} unpacks to {size / GIB:.3g} GiB, more than the limit of {limit / GIB:.3g} GiB",
            fix=f"make it smaller, or raise the limit: set {VARIABLE}={math.ceil(size / GIB)}",
        )


def check_archive(path: Path) -> None:
    """Raise `DataError` where the files of a zip archive take more than `most_bytes`, by what it says of them."""
    with zipfile.ZipFile(path) as archive:
        check_bytes(path, sum(entry.file_size for entry in archive.infolist()))


def memory() -> int:
    """Return how many bytes of memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_request(what: str, size: float, fix: str) -> None:
    """Raise `UsageError` where a request would take more memory than the machine has; sizes are in bytes.

    Example:
        >>> check_request("samples=1000000000", 1e18, fix="ask for fewer")
        Traceback (most recent call last):
        basis.core.errors.UsageError: samples=1000000000 would take 931,322,575 GiB, ... To fix: ask for fewer
    """
    limit = memory()
    if size > limit:
        raise UsageError(f"{what} would take {size / GIB:,.0f} GiB, this machine has {limit / GIB:,.0f}", fix=fix)


def check_file(path: Path) -> None:
    """Raise `DataError` unless a path is a regular file: a pipe or a device may never end."""
    if not path.exists():
        raise DataError(f"{path} does not exist", fix="check the path")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise DataError(f"{path} is {kind}, expected a file", fix="save what it gives to a file, and give that")


def read_file(path: Path) -> bytes:
    """Return what a file holds; raises `DataError` where it is no regular file, or larger than `most_bytes`."""
    check_file(path)
    check_bytes(path, path.stat().st_size)
    return path.read_bytes()
