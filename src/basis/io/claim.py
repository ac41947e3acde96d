"""One writer at a time: a lock on an output, which says whose it is and ends with its process."""

from __future__ import annotations

import datetime
import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from basis.core.errors import BasisError, DataError, UsageError
from basis.io.durable import PREFIX, lock_of, sweep, unbroken
from basis.io.output import READY, settle

LOCK = ".basis.lock"
PATIENCE = 5.0  # seconds; a replacement takes far less, only a run lasts
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def claim(place: str | Path, *, file: bool = False, wait: float = 0) -> Iterator[None]:
    """Be the only process that writes to an output, from before the work begins until it is written.

    Makes the folder. Finishes or removes what a killed process left in it and in the folders in it. The lock is the
    operating system's (flock), so that it ends with its process, however that ends; its file is removed at the end.

    Args:
        place: the output folder, or one output file.
        file: whether it is a file.
        wait: seconds to wait for another process to end, -1 for as long as it takes.

    Raises:
        UsageError: another process is writing there (says which), or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "out"
        >>> with claim(folder):
        ...     sorted(path.name for path in folder.iterdir())
        ['.basis.lock']
        >>> folder.exists()  # nothing was written
        False
    """
    place = Path(place)
    folder = place.parent if file else place
    path = lock_of(place) if file else folder / LOCK
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    lock = FileLock(path, timeout=wait)
    try:
        with unbroken():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lock.acquire()
                _sign(path)
            except Timeout as error:
                busy = f"{place} is being written by {_owner(path)}"
                raise UsageError(busy, fix="wait for it, or choose another --out") from error
            except OSError as error:
                raise cannot_write(place, error, "choose another file" if file else "choose another --out") from error
        _clean(place, file)
        yield
    finally:
        with unbroken():
            if lock.is_locked:
                path.unlink(missing_ok=True)  # before the release: who waits for this file sees that it is gone
                lock.release()
            for made in missing:
                if made.is_dir() and not any(made.iterdir()):
                    made.rmdir()


def whole(folder: str | Path) -> None:
    """Call before reading a result: where its writer was killed half-way through replacing it, finish that."""
    if (Path(folder) / READY).is_dir():
        with claim(folder, wait=PATIENCE):
            pass


def cannot_write(place: Path, error: OSError, fix: str = "choose another --out") -> BasisError:
    """Return the error for an output that cannot be written: a full disk, or a folder that does not allow it."""
    kind = DataError if error.errno in FULL else UsageError
    fix = f"make room, or {fix}" if error.errno in FULL else fix
    return kind(f"cannot write into {place} ({error.strerror or error})", fix=fix)


def _sign(path: Path) -> None:
    """Write into the lock's file whose it is."""
    since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))


def _owner(path: Path) -> str:
    try:
        found = json.loads(path.read_text())
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun
        return "another process"


def _clean(place: Path, file: bool) -> None:
    """Finish or remove what killed processes left, but in folders that other processes have claimed."""
    if file:
        sweep(place.parent, place.name)
        return
    inside = {path.parent for path in place.glob(f"*/{PREFIX}*")}
    for folder in (place, *(one for one in inside if not (one / LOCK).exists())):
        sweep(folder)
        settle(folder)
