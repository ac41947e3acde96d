"""The mark of a result folder, `.basis.json`: what made the result, and the list of its files with their hashes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from basis.core.errors import DataError, UsageError
from basis.io.durable import sha256_of

MARK = ".basis.json"
FORMAT = 1


@dataclass(frozen=True)
class Mark:
    """What a result folder says of itself.

    Attributes:
        kind: what the folder holds, for instance "separation".
        request: what the result depends on, JSON values.
        files: its files by relative path with "/", with their sha256.
    """

    kind: str
    request: dict
    files: dict[str, str]

    def missing(self, folder: Path) -> list[str]:
        """Return the names of files that are not there."""
        return [name for name in self.files if not (folder / name).is_file()]

    def changed(self, folder: Path) -> list[str]:
        """Return the names of files that are not as they were written: somebody else's by now."""
        there = [name for name in self.files if os.path.lexists(folder / name)]
        return [name for name in there if not _same(folder / name, self.files[name])]

    def check(self, folder: Path) -> None:
        """Raise `UsageError` where a file was changed: it is never replaced."""
        if changed := self.changed(folder):
            raise UsageError(
                f"{folder / changed[0]} was changed after basis wrote it", fix="move it away, or choose another --out"
            )


def read_mark(folder: str | Path) -> Mark | None:
    """Return the mark of a result folder, None where there is none; raises `DataError` for one that is damaged."""
    path = Path(folder) / MARK
    try:
        found = json.loads(path.read_text())
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}")
        mark = Mark(str(found["kind"]), dict(found["request"]), dict(found["files"]))
        if outside := [name for name in mark.files if PurePosixPath(name).is_absolute() or ".." in name.split("/")]:
            raise ValueError(f"it lists {outside[0]}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error})", fix="move its folder away, or choose another --out") from error
    return mark


def write_mark(folder: Path, mark: Mark) -> None:
    """Write the mark of a result folder."""
    content = {"format": FORMAT, "kind": mark.kind, "request": mark.request, "files": mark.files}
    (folder / MARK).write_text(json.dumps(content, indent=2) + "\n")


def _same(path: Path, sha256: str) -> bool:
    return path.is_file() and not path.is_symlink() and sha256_of(path) == sha256
