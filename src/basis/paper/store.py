"""Results on disk: whatever was finished is there for good, and is never computed twice."""

from __future__ import annotations

import io
import itertools
import json
import re
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from basis.api import stream
from basis.core.errors import DataError
from basis.core.metric import align, reorder
from basis.core.sampler import State
from basis.core.separator import Separation
from basis.evaluate.evaluation import digit_labels, figures
from basis.evaluate.mixtures import Mixtures
from basis.io.claim import cannot_write
from basis.io.durable import sweep, write_atomically
from basis.paper.job import Job, digest
from basis.paper.setup import Setup

PART = re.compile(r"(\d+)-(\d+)\.npz")


@dataclass(frozen=True)
class Progress:
    """Where a reproduction stands: ``done`` of ``total`` steps of what ``title`` names.

    Example:
        >>> Progress("BASIS, agnostic", 3, 10).done
        3
    """

    title: str
    done: int
    total: int


class Store:
    """A folder of finished parts: separations of some mixtures each, and single figures.

    Args:
        folder: `FOLDER/JOB/00000-00049.npz` holds mixtures 0 to 49 of a job, `FOLDER/values/NAME.json` a figure.
        setup: the request.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp(), Setup(n=3))
        >>> store.keep({"figure": "answer", "seed": 0}, 42), store.recall({"seed": 0, "figure": "answer"})
        (42, 42)
    """

    def __init__(self, folder: str | Path, setup: Setup) -> None:
        self.folder, self.setup = Path(folder), setup

    def place(self, job: Job) -> Path:
        """Return the folder of a job: its name follows from all that the separations depend on."""
        facts = self.setup.facts(job)
        name = re.sub(r"[^\w.-]+", "-", f"{Path(job.method).stem}-{job.data}-{job.task}")
        return self.folder / f"{name}-{digest(facts)}"

    def parts(self, job: Job) -> dict[range, Path]:
        """Return the finished parts of a job with the numbers of their mixtures, in order."""
        found = {}
        for path in sorted(self.place(job).glob("*.npz")):
            if match := PART.fullmatch(path.name):
                found[range(int(match[1]), int(match[2]) + 1)] = path
        return found

    def missing(self, job: Job, n: int) -> list[range]:
        """Return the numbers below n of mixtures that are not separated yet, a batch at a time."""
        done = set(itertools.chain.from_iterable(self.parts(job)))
        todo, found = [i for i in range(n) if i not in done], []
        for _, group in itertools.groupby(enumerate(todo), key=lambda entry: entry[1] - entry[0]):
            run = [i for _, i in group]  # consecutive numbers
            for start in range(0, len(run), self.setup.batch_size):
                part = run[start : start + self.setup.batch_size]
                found.append(range(part[0], part[-1] + 1))
        return found

    def once(self, wanted: Sequence[tuple[Job, int]]) -> list[tuple[Job, int]]:
        """Return each job once, with the largest number of mixtures that is wanted of it."""
        merged: dict[Path, tuple[Job, int]] = {}
        for job, n in wanted:
            place = self.place(job)
            merged[place] = (job, max(n, merged[place][1] if place in merged else 0))
        return list(merged.values())

    def compute(self, job: Job, n: int, title: str = "") -> Iterator[Progress]:
        """Separate the mixtures below n that are not there yet, part by part, and yield the progress."""
        todo = self.missing(job, n)
        for number, part in enumerate(todo):
            for state in self.separate(job, part):
                yield Progress(title or job.where, number * state.steps + state.step, len(todo) * state.steps)

    def separate(self, job: Job, part: range) -> Iterator[State]:
        """Separate the mixtures of these numbers, yielding the states, and keep what is found."""
        drawn, start = job.draw(self.setup.data(job.data), self.setup.seed, part), time.monotonic()
        run = stream(
            drawn.mixture.to(self.setup.device),
            self.setup.prior(job),
            job.mixing,
            self.setup.method(job),
            seed=self.setup.seed,
            samples=job.samples,
            index=part,
            assess=False,
        )
        yield from run
        arrays = measure(job, run.result, drawn)
        self._write(job, part, {**arrays, "seconds": np.float64(time.monotonic() - start)})

    def _write(self, job: Job, part: range, arrays: dict) -> None:
        place, buffer = self.place(job), io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        try:
            place.mkdir(parents=True, exist_ok=True)
            facts = json.dumps(self.setup.facts(job), indent=2)
            write_atomically(place / "job.json", facts.encode())
            write_atomically(place / f"{part[0]:05d}-{part[-1]:05d}.npz", buffer.getvalue())
        except OSError as error:
            raise cannot_write(place, error) from error

    def sweep(self) -> None:
        """Remove what workers that were killed left half-written; only who has claimed the folder may do so."""
        for place in self.folder.glob("*"):
            sweep(place)

    def figures(self, job: Job, n: int, name: str) -> Tensor | None:
        """Return a figure ("psnr", "ssim", "right", "residual") of the first n mixtures, (n,); None if it has none."""
        parts = list(self.arrays(job, n, name))
        return torch.cat(parts) if parts else None

    def sources(self, job: Job, n: int) -> Iterator[Tensor]:
        """Yield the separated sources of the first n mixtures in the truth's order, (b, K, *S) in units of the data."""
        yield from map(unpacked, self.arrays(job, n, "sources"))

    def arrays(self, job: Job, n: int, name: str) -> Iterator[Tensor]:
        """Yield an array of the first n mixtures part by part, in order."""
        for numbers, path in self.parts(job).items():
            if numbers[0] >= n:
                continue
            try:
                with np.load(path, allow_pickle=False) as file:
                    if name in file.files:
                        yield torch.from_numpy(file[name][: n - numbers[0]])
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                raise DataError(f"{path} cannot be read ({error})", fix="delete it and run again") from error

    def seconds(self, job: Job, n: int) -> float:
        """Return how long the parts that hold the first n mixtures took."""
        total = 0.0
        for numbers, path in self.parts(job).items():
            if numbers[0] < n:
                with np.load(path, allow_pickle=False) as file:
                    total += float(file["seconds"])
        return total

    def first(self, job: Job, n: int) -> Tensor:
        """Return the separated sources of the first n mixtures, (n, K, *S) in units of the data; for few of them."""
        return torch.cat(list(self.sources(job, n)))

    def recall(self, facts: dict) -> Any:
        """Return the JSON value that was kept under these facts, None if there is none."""
        path = self.folder / "values" / f"{digest(facts)}.json"
        try:
            return json.loads(path.read_text())["value"] if path.is_file() else None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} cannot be read ({error})", fix="delete it and run again") from error

    def keep(self, facts: dict, value: Any) -> Any:
        """Write a JSON value under what it depends on, and return it."""
        path = self.folder / "values" / f"{digest(facts)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"facts": facts, "value": value}, indent=2).encode())
        return value


def measure(job: Job, result: Separation, drawn: Mixtures) -> dict[str, np.ndarray]:
    """Return what a part holds: figures of each mixture, and its sources in the truth's order, see `packed`."""
    estimate, truth, data_range = result.sources.cpu(), drawn.sources, drawn.data_range
    found, _ = figures(estimate, truth, data_range, digit_labels(drawn.info), result.kinds)
    order = align(estimate, truth, data_range, result.kinds)
    found |= {"residual": result.residual.cpu(), "sources": packed(reorder(estimate, order), data_range)}
    if job.keep:
        found["samples"] = packed(result.samples.cpu(), data_range)
    return {name: value.numpy() for name, value in found.items()}


def packed(x: Tensor, data_range: tuple[float, float]) -> Tensor:
    """Return sources (…, K, *S) as a part stores them: those in [0, 1], as pictures are, in 8 bits, others as floats.

    Example:
        >>> unpacked(packed(torch.tensor([0.2, 1.1]), (0.0, 1.0))), unpacked(packed(torch.tensor([-0.3]), (-1.0, 1.0)))
        (tensor([0.2000, 1.0000]), tensor([-0.3000]))
    """
    return (x.clamp(0, 1) * 255).round().to(torch.uint8) if data_range == (0.0, 1.0) else x.float()


def unpacked(x: Tensor) -> Tensor:
    """Return what was `packed`, float32 in units of the data."""
    return x.float() / 255 if x.dtype == torch.uint8 else x
