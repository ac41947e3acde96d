"""The files of a separation, and single files that say what made them."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from basis.core.errors import DataError, UsageError
from basis.core.mixing import Mixing
from basis.core.signal import signal_of
from basis.core.version import VERSION
from basis.io.durable import write_atomically
from basis.io.output import decide
from basis.signals._pictures import COLORIZED, ERROR_SCALE, SEPARATED, SPREAD_SCALE, Words, animation, table
from basis.signals._view import View, view

RESULT = "result.json"
DESCRIPTION, SOFTWARE = 0x010E, 0x0131  # EXIF tags


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    python = platform.python_version()
    return {"basis": VERSION, "torch": torch.__version__, "numpy": np.__version__, "python": python}


def to_json(facts: dict) -> str:
    """Return strict JSON; numbers that it has no word for become text."""
    finite = {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in facts.get("settings", {}).items()
    }
    facts = {**facts, "settings": finite} if "settings" in facts else facts
    return json.dumps(facts, indent=2, allow_nan=False) + "\n"


def plain(facts: dict) -> dict:
    """Return what `to_json` and back makes of facts."""
    return json.loads(to_json(facts))


def write_picture(path: Path, picture: Image.Image, request: dict) -> None:
    """Write a picture whole or not at all; it says that it is ours, and what it depends on (see `read_request`)."""
    exif = Image.Exif()
    exif[SOFTWARE], exif[DESCRIPTION] = f"basis {VERSION}", json.dumps(request)
    kind = Image.registered_extensions()[path.suffix.lower()]
    try:
        write_atomically(path, lambda file: picture.save(file, kind, exif=exif))
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror or error})", fix="choose another --out") from error


def read_request(path: Path) -> dict | None:
    """Return what a picture or JSON file of ours depends on; None for any other file.

    A JSON file depends on the values in it.
    """
    try:
        if path.suffix.lower() in Image.registered_extensions():
            with Image.open(path) as picture:
                exif = picture.getexif()
            return json.loads(exif[DESCRIPTION]) if str(exif.get(SOFTWARE)).startswith("basis ") else None
        found = json.loads(path.read_text())
        return found if "basis" in found["versions"] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def needed_file(path: Path, request: dict, *, overwrite: bool, resume: bool) -> bool:
    """Say whether a file has yet to be written, as `basis.io.output.needed` does for a folder."""
    if not os.path.lexists(path):
        return True
    found = read_request(path)
    if found is None:
        raise UsageError(f"{path} is there, and basis did not write it", fix="choose another name")
    return decide(path, found, request, overwrite, resume)


def file_names(
    mixtures: int, sources: int, samples: int, words: Words = SEPARATED, shape: Sequence[int] | None = None
) -> list[str]:
    """Return the files that a result may have, so that a place that is taken is seen before work is done.

    Args:
        mixtures, sources, samples: numbers of them.
        words: what the parts are called.
        shape: of a source; that of a picture by default.
    """
    parts, ending = samples if words is COLORIZED else sources, ".png" if shape is None else signal_of(shape).ending
    files = [
        *(f"{words.source}_{k}{ending}" for k in range(1, parts + 1)),
        "sources.npy",
        "panel.png",
        "anneal.gif",
        RESULT,
    ]
    files += ["samples.npy"] if samples > 1 else []
    return files if mixtures == 1 else [f"{i:05d}/{name}" for i in range(mixtures) for name in files]


def fill(
    folder: Path,
    mixture: Tensor,
    samples: Tensor,
    choice: int,
    mixing: Mixing,
    frames: list[Image.Image],
    facts: dict,
    words: Words = SEPARATED,
    spread: Tensor | None = None,
    notes: Sequence[str] = (),
    data_range: Sequence[float] | None = (0.0, 1.0),
) -> None:
    """Write `source_K.png`, `sources.npy`, `panel.png`, `anneal.gif` and `result.json`; `samples.npy` where n > 1.

    Sources are in files of their own kind of signal: `source_K.npy` where they are no pictures. Of a colorization they
    are `colour_J.png`, one for each sample.

    Args:
        folder: folder to write into.
        mixture: (*M).
        samples: (n, K, *S).
        choice: the sample that stands for the mixture.
        mixing: how the sources mix.
        frames: frames of the animation; none leaves it out.
        facts: what `result.json` holds.
        words: what the parts are called.
        spread, notes: what the panel says of the separation's worth, see `panel`.
        data_range: smallest and largest value of the sources, see `Separation.data_range`.
    """
    sources = samples[choice]
    look, signal = view(mixture, mixing, sources.shape, data_range), signal_of(sources.shape[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for k, source in enumerate(samples[:, 0] if words is COLORIZED else sources, 1):
        signal.write(folder / f"{words.source}_{k}{signal.ending}", source, look.sources)
    np.save(folder / "sources.npy", sources.cpu().numpy())
    if len(samples) > 1:
        np.save(folder / "samples.npy", samples.cpu().numpy())
    drawn(look, mixture, samples, mixing(samples), words, spread, notes).save(folder / "panel.png")
    if frames:
        first, options = animation(frames)
        first.save(folder / "anneal.gif", **options)
    (folder / RESULT).write_text(to_json(facts))


def drawn(
    look: View,
    mixture: Tensor,
    samples: Tensor,
    remixes: Tensor,
    words: Words = SEPARATED,
    spread: Tensor | None = None,
    notes: Sequence[str] = (),
) -> Image.Image:
    """Return "mixture | sources | re-mix | error" as a picture, one row a sample.

    Args:
        look: how values are shown.
        mixture: (*M).
        samples, remixes: (n, K, *S), and mixed again, (n, *M).
        words: what the parts are called.
        spread: standard deviation among candidates or samples, (K, *S), see `Assessment`.
        notes: lines under the pictures.
    """
    shown = look.source(samples.flatten(0, 1)).unflatten(0, samples.shape[:2])
    parts = (look.mixture(mixture[None])[0], shown, look.mixture(remixes), look.error(mixture, remixes, ERROR_SCALE))
    return table(*parts, words, None if spread is None else look.spread(spread, SPREAD_SCALE), notes)
