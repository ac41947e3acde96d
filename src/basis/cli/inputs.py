"""The work of a command on each of its inputs: go on after one that fails, show progress, write the results."""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import typer
from PIL import Image
from torch import Tensor

from basis.cli import given
from basis.cli.voice import VOICE, Stopped, complain, tell
from basis.core.errors import DataError, DivergenceError, UsageError
from basis.core.mixing import Mixing
from basis.core.separator import Run
from basis.io.claim import claim
from basis.io.durable import sha256_of
from basis.io.limits import check_bytes, most_bytes
from basis.io.output import needed
from basis.runs.read import find
from basis.runs.view import KIND
from basis.signals._film import Film
from basis.signals._pictures import SEPARATED, Words

STDIN = Path("-")


def each(
    paths: list[Path],
    out: Path,
    request: dict,
    work: Callable[[Path, Path, dict], str],
    overwrite: bool,
    resume: bool,
) -> None:
    """Do the work of a command for each input, and go on after one that fails; exit with 1 if any did.

    Args:
        paths: files, or folders of them.
        out: where each has its folder.
        request: what the results depend on, beside the input.
        work: called with an input, its folder, and what its result depends on; returns what it is worth.
        overwrite, resume: what to do where there is a result already, see `basis.io.output.needed`.
    """
    failed, jobs = 0, []
    with received(paths) as found, claim(out):
        for path, name in zip(found, names(found), strict=True):
            own = {**request, "input_sha256": sha256_of(path) if path.is_file() else None}
            if needed(out / name, KIND, own, overwrite=overwrite, resume=resume):
                jobs.append((path, out / name, own))
            else:
                tell(f"{path}: there already, in {out / name}")
        for path, folder, own in jobs:
            try:
                words = work(path, folder, own)
            except (DataError, DivergenceError) as error:
                complain(error if str(path) in str(error) else f"{path}: {error}")
                failed += 1
            except KeyboardInterrupt:
                raise Stopped(f"stopped at {path}; what was finished before is whole in {out}") from None
            else:
                tell(f"{path}: {words}, in {folder}")
    if failed:
        complain(f"{failed} of {len(found)} inputs failed")
        raise typer.Exit(1)


@contextmanager
def received(paths: list[Path]) -> Iterator[list[Path]]:
    """Give the files that paths stand for, see `find`: for `-` one with what is on standard input.

    Raises:
        UsageError: `-` twice.
        DataError: nothing is on standard input, or more than may be read.
    """
    if paths.count(STDIN) > 1:
        raise UsageError("standard input can be read once, got - twice", fix="give - once")
    if STDIN not in paths:
        yield find(paths)
        return
    content = sys.stdin.buffer.read(most_bytes() + 1)
    if not content:
        raise DataError("standard input is empty", fix="send a picture or an array, for instance `… - < mixture.png`")
    check_bytes(Path("standard input"), len(content))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"stdin{_suffix(content)}"
        file.write_bytes(content)
        VOICE.names[str(file)] = "standard input"
        yield find([file if path == STDIN else path for path in paths])


def _suffix(content: bytes) -> str:
    """Return the ending of a file's name that says what it holds; readers find out the kind of a picture."""
    if content.startswith(b"\x93NUMPY"):
        return ".npy"
    if not content.startswith(b"PK"):
        return ".png"
    try:
        with zipfile.ZipFile(BytesIO(content)) as file:
            return ".pt" if any(name.endswith("data.pkl") for name in file.namelist()) else ".npz"
    except zipfile.BadZipFile:
        return ".npz"


def names(paths: list[Path]) -> list[str]:
    """Return a folder name for each input: its stem, with the ending where two would be the same, then a number."""
    stems = [path.stem for path in paths]
    full = [path.name if stems.count(path.stem) > 1 else path.stem for path in paths]
    return [name if full.count(name) == 1 else f"{name}-{full[:i].count(name) + 1}" for i, name in enumerate(full)]


def animate(
    run: Run,
    mixture: Tensor,
    mixing: Mixing,
    title: str,
    words: Words = SEPARATED,
    data_range: tuple[float, float] | None = (0.0, 1.0),
) -> list[list[Image.Image]]:
    """Run to the end behind a progress bar; return the frames of each mixture's first sample."""
    film = Film(len(mixture), data_range or (mixture.min().item(), mixture.max().item() + 1e-6))
    for state in given.watch(run, title):
        film.add(state)
    return film.frames(mixture, mixing, words)
