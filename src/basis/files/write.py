"""A separation as a folder, whole or not at all."""

from __future__ import annotations

import json
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
from basis.files.pictures import animation, panel


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    python = platform.python_version()
    return {"basis": basis.__version__, "torch": torch.__version__, "numpy": np.__version__, "python": python}


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into that takes the place of ``folder`` at the end; after an error nothing has changed."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise UsageError(f"cannot write into {folder.parent} ({error.strerror})", fix="choose another --out") from error
    try:
        yield partial
        partial.chmod(0o755)
        if folder.exists():
            old = folder.rename(partial.with_name(f"{partial.name}.old"))
            partial.rename(folder)
            shutil.rmtree(old)
        else:
            partial.rename(folder)
    except OSError as error:
        raise DataError(
            f"cannot write {folder} ({error.strerror or error})", fix="make room, or choose --out"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_separation(
    folder: Path, mixture: Tensor, samples: Tensor, choice: int, mixing: Mixing, frames: list[Image.Image], facts: dict
) -> None:
    """Write `source_K.png`, `sources.npy`, `panel.png`, `anneal.gif` and `result.json`; `samples.npy` where n > 1.

    Args:
        folder: folder to write.
        mixture: (C, H, W).
        samples: (n, K, C, H, W) in [0, 1].
        choice: the sample that stands for the mixture.
        mixing: how the sources mix.
        frames: frames of the animation; none leaves it out.
        facts: what `result.json` holds.
    """
    sources, remixes = samples[choice], mixing(samples)
    total = mixing(torch.ones_like(samples[:1])).max().item() or 1.0
    with whole_folder(folder) as partial:
        for k, source in enumerate(sources, 1):
            array = (source.cpu().numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
            Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(partial / f"source_{k}.png")
        np.save(partial / "sources.npy", sources.cpu().numpy())
        if len(samples) > 1:
            np.save(partial / "samples.npy", samples.cpu().numpy())
        panel(mixture, samples, remixes, total).save(partial / "panel.png")
        if frames:
            first, options = animation(frames)
            first.save(partial / "anneal.gif", **options)
        (partial / "result.json").write_text(json.dumps(facts, indent=2) + "\n")
