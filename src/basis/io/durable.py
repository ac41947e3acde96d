"""Files that are whole whatever happens: an error, a signal, or the end of the process at any moment."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PREFIX, SUFFIX = ".basis-", ".tmp"  # of temporary files
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
MANY = 50  # files from which one sync of everything is faster than one of each


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all; an error or the end of the process leaves what was there.

    A process that is killed meanwhile leaves a hidden file `.basis-NAME-….tmp`, which `claim` of the folder removes.

    Args:
        path: the file.
        content: its bytes, or a function that writes them into an open file.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    with unbroken():
        handle, partial = tempfile.mkstemp(SUFFIX, f"{PREFIX}{path.name}-", path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                content(file) if callable(content) else file.write(content)
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(path, partial) if path.exists() else os.chmod(partial, 0o644)
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        sync([path.parent])


def sha256_of(path: Path) -> str:
    """Return the hash of a file, read in parts: a prior of ten flows has gigabytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(paths: Iterable[Path]) -> None:
    """Wait until files and folders are on the disk."""
    paths = list(paths)
    if len(paths) > MANY and hasattr(os, "sync"):
        os.sync()
        return
    for path in paths:
        if os.name == "nt" and path.is_dir():
            continue  # Windows cannot open a folder
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def unbroken() -> Iterator[None]:
    """Hold back SIGINT, SIGTERM and SIGHUP until the end of the block, where the first of them is raised."""
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread
        yield
        return
    held: list[int] = []
    before = {number: signal.signal(number, lambda got, _: held.append(got)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number in held[:1]:
            signal.raise_signal(number)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files that killed processes left in a folder; only who has claimed it may do so.

    Args:
        folder: the folder.
        name: the file that was claimed in it; by default the folder was, and files that others have claimed are left.
    """
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        target = path.name.removeprefix(PREFIX).rpartition("-")[0]
        if target == name or (name is None and not lock_of(folder / target).exists()):
            path.unlink(missing_ok=True)


def lock_of(file: Path) -> Path:
    """Return the lock of an output that is one file."""
    return file.with_name(f"{PREFIX}{file.name}.lock")
