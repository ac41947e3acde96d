"""A separation as a folder, whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import basis
from basis.core.errors import DataError, UsageError
from basis.core.mixing import Mixing
from basis.files.pictures import COLORIZED, SEPARATED, Words, animation, panel

RESULT = "result.json"
FULL = (errno.ENOSPC, errno.EDQUOT)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    python = platform.python_version()
    return {"basis": basis.__version__, "torch": torch.__version__, "numpy": np.__version__, "python": python}


def to_json(facts: dict) -> str:
    """Return strict JSON; numbers that it has no word for become text."""
    finite = {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in facts.get("settings", {}).items()
    }
    facts = {**facts, "settings": finite} if "settings" in facts else facts
    return json.dumps(facts, indent=2, allow_nan=False) + "\n"


def check_writable(folder: Path) -> None:
    """Raise `UsageError` where a folder cannot be made or written into, before work is spent on it."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write into {folder}: {nearest} does not allow it", fix="choose another --out")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into that takes the place of ``folder`` at the end; after an error nothing has changed.

    Only a folder of results is replaced, never one that holds something else.
    """
    if folder.exists() and not _replaceable(folder):
        raise UsageError(f"{folder} exists and holds no results", fix="move it away, or choose another --out")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        kind = DataError if error.errno in FULL else UsageError
        raise kind(f"cannot write into {folder.parent} ({error.strerror})", fix="choose another --out") from error
    old = partial.with_name(f"{partial.name}.old")
    try:
        yield partial
        partial.chmod(0o755)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    except OSError as error:
        raise DataError(
            f"cannot write {folder} ({error.strerror or error})", fix="make room, or choose --out"
        ) from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for rest in (partial, old):
            shutil.rmtree(rest, ignore_errors=True)


def _replaceable(folder: Path) -> bool:
    """Whether there is nothing in the folder but results."""
    if not folder.is_dir():
        return False
    return (folder / RESULT).is_file() or all((entry / RESULT).is_file() for entry in folder.iterdir())


def write_separation(
    folder: Path, mixture: Tensor, samples: Tensor, choice: int, mixing: Mixing, frames: list[Image.Image], facts: dict
) -> None:
    """Write the files of `fill` into a folder of their own, whole or not at all."""
    with whole_folder(folder) as partial:
        fill(partial, mixture, samples, choice, mixing, frames, facts)


def fill(
    folder: Path,
    mixture: Tensor,
    samples: Tensor,
    choice: int,
    mixing: Mixing,
    frames: list[Image.Image],
    facts: dict,
    words: Words = SEPARATED,
) -> None:
    """Write `source_K.png`, `sources.npy`, `panel.png`, `anneal.gif` and `result.json`; `samples.npy` where n > 1.

    Of a colorization the pictures are `colour_J.png`, one for each sample.

    Args:
        folder: folder to write into.
        mixture: (C, H, W).
        samples: (n, K, C, H, W) in [0, 1].
        choice: the sample that stands for the mixture.
        mixing: how the sources mix.
        frames: frames of the animation; none leaves it out.
        facts: what `result.json` holds.
        words: what the parts are called.
    """
    sources, remixes = samples[choice], mixing(samples)
    total = mixing(torch.ones_like(samples[:1])).max().item() or 1.0
    folder.mkdir(parents=True, exist_ok=True)
    for k, source in enumerate(samples[:, 0] if words is COLORIZED else sources, 1):
        array = (source.clamp(0, 1).cpu().numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
        Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(folder / f"{words.source}_{k}.png")
    np.save(folder / "sources.npy", sources.cpu().numpy())
    if len(samples) > 1:
        np.save(folder / "samples.npy", samples.cpu().numpy())
    panel(mixture, samples, remixes, total, words).save(folder / "panel.png")
    if frames:
        first, options = animation(frames)
        first.save(folder / "anneal.gif", **options)
    (folder / RESULT).write_text(to_json(facts))
