"""Results as folders: marked as ours, replaced whole, and never anybody else's file touched.

A result folder has a mark, `.basis.json`: what made the result, and the list of its files with their hashes. Files that
are not on the list are somebody else's. A new result is staged in `.basis-new` inside the folder, and decided on by
renaming that to `.basis-ready`. From then on its files are moved to their places, and the mark last. A process that is
killed before the decision leaves the old result. One that is killed after it leaves the rest of the moves to `settle`,
which the next writer calls, or the next reader through `basis.io.claim.whole`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from basis.core.errors import DataError, UsageError
from basis.io.durable import sha256_of, sync, unbroken
from basis.io.mark import MARK, Mark, read_mark, write_mark

NEW, READY = ".basis-new", ".basis-ready"
OURS = ".basis"  # how the names of our own hidden files begin
LONG = 80  # characters of two settings from which an error names them alone
KEEP = "pass --overwrite to replace it, --resume to keep it and do only what is missing, or choose another --out"


def needed(folder: str | Path, kind: str, request: dict, *, overwrite: bool = False, resume: bool = False) -> bool:
    """Say whether a result has yet to be made; ask before any work is done.

    Args:
        folder: where it will be.
        kind: what it is.
        request: what it depends on, JSON values.
        overwrite: whether a result that is there is replaced.
        resume: whether one of the same request is kept, and the work for it skipped.

    Returns:
        False where it is there and is kept, else True.

    Raises:
        UsageError: a result is there and neither is set, or the request of one to resume is another (says in what), or
            what is there is not ours.
    """
    folder = Path(folder)
    settle(folder)
    mark = read_mark(folder)
    if mark is None:
        if strangers := _strangers(folder):
            raise UsageError(
                f"{folder} holds what basis did not write ({strangers}), which is never replaced",
                fix="move it away, or choose another --out",
            )
        return True
    if mark.kind != kind:
        raise UsageError(f"{folder} holds a {mark.kind}, not a {kind}", fix="choose another --out")
    if not decide(folder, mark.request, request, overwrite, resume) and not mark.missing(folder):
        return False
    mark.check(folder)
    return True


def decide(place: Path, found: dict, wanted: dict, overwrite: bool, resume: bool) -> bool:
    """Say whether a result of ours that is there is to be made anew; see `needed`.

    Args:
        place: the result.
        found: what it depended on.
        wanted: what the new one will depend on.
        overwrite, resume: as in `needed`.
    """
    wanted = json.loads(json.dumps(wanted))
    other = [name for name in wanted if name not in found or found[name] != wanted[name]]
    if resume and not other:
        return False
    if overwrite:
        return True
    if resume:
        raise UsageError(
            f"{place} is there, made with {_difference(other, found, wanted)}",
            fix="pass --overwrite as well to make it anew, or choose another --out",
        )
    raise UsageError(f"{place} is there already", fix=KEEP)


def _difference(names: list[str], found: dict, wanted: dict) -> str:
    """Return in words what a result depended on, where that is not what is wanted."""
    pairs = [(name, json.dumps(found.get(name)), json.dumps(wanted[name])) for name in names]
    return ", ".join(
        f"{name} {old}, not {new}" if len(old + new) < LONG else f"another {name}" for name, old, new in pairs
    )


def current(folder: Path, name: str) -> Path:
    """Return where a file of a result lies, for a reader who changes nothing: in its place, or staged there still."""
    staged = folder / READY / name
    return staged if staged.is_file() else folder / name


@contextmanager
def replacing(folder: str | Path, kind: str, request: dict, *, keep: bool = False) -> Iterator[Path]:
    """Give an empty folder to write a result into; at the end its files take the place of the old result's.

    After an error nothing has changed. Nobody else's file is touched: a new file whose place one has is an error.
    Only who has claimed the folder may call this.

    Args:
        folder: the result folder; made where it is missing.
        kind: what the result is.
        request: what it depends on, JSON values.
        keep: whether files of the old result that the new one lacks stay, as files of the new one.

    Raises:
        DataError: somebody else's file is in the way; or the disk is full, or does not allow it.
    """
    folder = Path(folder)
    settle(folder)
    made, new = not folder.exists(), folder / NEW
    try:
        new.mkdir(parents=True)
        yield new
        with unbroken():
            _decide_on(folder, new, kind, request, keep)
    except BaseException as error:
        with unbroken():
            shutil.rmtree(new, ignore_errors=True)
            if made and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise DataError(f"cannot write {folder} ({reason})", fix="make room, or choose another --out") from error
        raise


def unmark(folder: Path) -> None:
    """Remove the mark of a result that came to nothing: it has no files, and neither has anybody else."""
    mark = read_mark(folder)
    if mark and not mark.files and all(path.name.startswith(OURS) for path in folder.iterdir()):
        (folder / MARK).unlink()


def settle(folder: str | Path) -> None:
    """Finish what a killed process had decided on, and remove what it had not; only who has claimed it may do so."""
    folder = Path(folder)
    with unbroken():
        if (folder / NEW).is_dir():
            shutil.rmtree(folder / NEW)
            if not any(folder.iterdir()):
                folder.rmdir()
        if (folder / READY).is_dir():
            _move(folder)


def _decide_on(folder: Path, new: Path, kind: str, request: dict, keep: bool) -> None:
    old = read_mark(folder)
    files = {path.relative_to(new).as_posix(): path for path in sorted(new.rglob("*")) if path.is_file()}
    check_free(folder, files)
    hashes = {name: sha256_of(path) for name, path in files.items()}
    write_mark(new, Mark(kind, request, {**old.files, **hashes} if keep and old else hashes))
    sync([new / MARK, *files.values(), *(path for path in new.rglob("*") if path.is_dir()), new])
    os.rename(new, folder / READY)  # the decision
    sync([folder])
    _move(folder)


def _move(folder: Path) -> None:
    """Move a result that was decided on to its place; begun anew, it goes on where it was stopped."""
    ready, old = folder / READY, read_mark(folder)
    if mark := read_mark(ready):
        staged = [name for name in mark.files if (ready / name).is_file()]
        check_free(folder, staged)
        for name in old.files if old else ():
            if name not in mark.files:
                (folder / name).unlink(missing_ok=True)
                _remove_empty(folder, name)
        for parent in {(folder / name).parent for name in staged}:
            parent.mkdir(parents=True, exist_ok=True)
        for name in staged:
            os.replace(ready / name, folder / name)
        sync({(folder / name).parent for name in mark.files})
        os.replace(ready / MARK, folder / MARK)
    shutil.rmtree(ready)
    sync([folder])


def _remove_empty(folder: Path, name: str) -> None:
    """Remove the folders of a file that was removed, where nothing is left in them."""
    for parent in (folder / name).parents:
        if parent == folder or not parent.is_dir() or any(parent.iterdir()):
            return
        parent.rmdir()


def check_free(folder: Path, names: Iterable[str]) -> None:
    """Raise `DataError` where a file that is not the old result's has the place of a new one."""
    old = read_mark(folder)
    for name in names:
        path = folder / name
        parents = [parent for parent in path.parents if folder in parent.parents]
        taken = [parent for parent in parents if os.path.lexists(parent) and not parent.is_dir()]
        if os.path.lexists(path) and name not in (old.files if old else ()):
            taken.append(path)
        if taken:
            raise DataError(
                f"{taken[0]} is in the way, and basis did not write it", fix="move it away, or choose another --out"
            )


def _strangers(folder: Path) -> str:
    """Return in words what an unmarked folder holds, empty where it is free."""
    if not os.path.lexists(folder):
        return ""
    if not folder.is_dir():
        return "a file"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(OURS))
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
