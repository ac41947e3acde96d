"""From names of tables and figures to a folder with a report."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from basis.core.errors import BasisError, UsageError, unknown
from basis.io.claim import cannot_write, claim
from basis.io.mark import read_mark
from basis.io.output import needed, replacing, unmark
from basis.paper.drawing import render
from basis.paper.experiment import EXPERIMENTS, Cell, Experiment, Outcome
from basis.paper.plan import Cost, plan
from basis.paper.report import Section, Shot, page
from basis.paper.setup import Setup
from basis.paper.store import Progress, Store
from basis.paper.workers import compute
from basis.runs.write import versions

REPRODUCTION = "reproduction"  # kind of folder, see `basis.io.output.Mark`
PARTS, FIGURES = "parts", "figures"
RESULTS, TABLE, REPORT = "results.json", "results.csv", "report.html"
COLUMNS = [field.name for field in fields(Cell) if field.name not in ("facts", "values")]


@dataclass(frozen=True)
class Reproduction:
    """What a run wrote: cells of each experiment by name, and where the report lies."""

    outcomes: dict[str, Outcome]
    report: Path


def choose(names: Sequence[str]) -> list[str]:
    """Return the experiments of these names, each once; "all" is all of them.

    Example:
        >>> choose(["table2", "figure6", "table2"])
        ['table2', 'figure6']
    """
    known = sorted(EXPERIMENTS.names(), key=lambda name: (name.startswith("figure"), name))
    found = [each for name in names for each in (known if name == "all" else [name])]
    if strange := [name for name in found if name not in known]:
        raise unknown("table or figure", strange[0], [*known, "all"])
    return list(dict.fromkeys(found))


def costs(names: Sequence[str], setup: Setup, out: str | Path) -> list[Cost]:
    """Return what is left to separate and how long it will take; arguments as in `reproduce`."""
    store = Store(Path(out) / PARTS, setup)
    return plan(store, [entry for name in choose(names) for entry in _make(name).jobs(setup)])


def reproduce(
    names: Sequence[str], setup: Setup, out: str | Path, workers: int = 1
) -> Generator[Progress, None, Reproduction]:
    """Measure tables and draw figures of the paper; yield the progress, and write what was found.

    Args:
        names: "table1" to "table4", "figure1" to "figure8", or "all".
        setup: the request.
        out: folder. `parts/` in it keeps finished mixtures for the next run, `results.json`, `results.csv`,
            `figures/*.{png,pdf}` and `report.html` are written anew after each table or figure.
        workers: processes that separate at once, sharing the cores; with several, all that the tables and figures need
            is separated first, and a script that calls this needs ``if __name__ == "__main__":``.

    Raises:
        UsageError: no such table or figure; the folder cannot be written, is being written by another process, or holds
            what basis did not write; workers below 1.

    Example:
        >>> import tempfile
        >>> run = reproduce(["table1"], Setup(n=2), tempfile.mkdtemp())
        >>> *_, = run  # nothing of Table 1 is at hand, and the report says so
    """
    out, chosen, store = Path(out), choose(names), Store(Path(out) / PARTS, setup)
    if workers < 1:
        raise UsageError(f"expected at least 1 worker, got {workers}", fix="for instance --workers 1")
    with claimed(out):
        try:
            return (yield from _reproduce(chosen, store, out, workers))
        finally:
            store.sweep()


@contextmanager
def claimed(out: str | Path) -> Iterator[None]:
    """Claim and mark the folder of a reproduction, see `basis.io.claim` and `basis.io.output` for errors."""
    out = Path(out)
    with claim(out):
        needed(out, REPRODUCTION, {}, overwrite=True)
        if read_mark(out) is None:
            with replacing(out, REPRODUCTION, {}):
                pass
        try:
            yield
        finally:
            unmark(out)


def _reproduce(chosen: Sequence[str], store: Store, out: Path, workers: int) -> Generator[Progress, None, Reproduction]:
    """Do what `reproduce` says, in a folder that is claimed."""
    setup, start = store.setup, time.monotonic()
    if workers > 1:
        yield from compute(store, [entry for name in chosen for entry in _make(name).jobs(setup)], workers)
    outcomes: dict[str, Outcome] = {}
    sections: list[Section] = []
    for name in chosen:
        experiment = _make(name)
        outcomes[name] = yield from experiment.run(setup, store)
        yield Progress(f"{name}: figures", 1, 1)
        section, figures = _section(name, experiment, outcomes[name])
        sections.append(section)
        about = _about(setup, chosen, time.monotonic() - start)
        _write(out, {**figures, **_results(outcomes, sections, about)})
    return Reproduction(outcomes, out / REPORT)


def _make(name: str) -> Experiment:
    return EXPERIMENTS.get(name)()


def _section(name: str, experiment: Experiment, outcome: Outcome) -> tuple[Section, dict[str, bytes]]:
    """Draw the figures of an experiment; return its part of the report, and the figures' files."""
    shots, notes, files = [], list(outcome.notes), dict[str, bytes]()
    for picture in outcome.pictures:
        try:
            content = render(picture.draw)
        except BasisError as error:  # no matplotlib: the figures' numbers are worth having without
            notes.append(f"{picture.name} was not drawn: {error}")
            continue
        files |= {f"{FIGURES}/{picture.name}.{kind}": file for kind, file in content.items()}
        shots.append(Shot(picture.caption, content["png"]))
    return Section(name, experiment.title, experiment.published_n, outcome.cells, shots, notes), files


def _about(setup: Setup, names: Iterable[str], seconds: float) -> dict:
    """Return the conditions that all figures share, JSON values."""
    return {
        "command": setup.command or f"basis reproduce {' '.join(names)} --n {setup.n} --seed {setup.seed}",
        "n": setup.n,
        "seed": setup.seed,
        "device": setup.device,
        "processor": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "features": setup.features,
        "seconds of this run": round(seconds, 1),
        "versions": versions(),
    }


def _results(outcomes: dict[str, Outcome], sections: list[Section], about: dict) -> dict[str, bytes]:
    """Return results, table and report of what is finished so far, by file."""
    results = {
        "run": about,
        "experiments": {name: [asdict(cell) for cell in outcome.cells] for name, outcome in outcomes.items()},
    }
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["experiment", *COLUMNS, "prior", "method", "hashes"])
    for name, outcome in outcomes.items():
        for cell in outcome.cells:
            facts = [cell.facts.get("prior", ""), cell.facts.get("method", ""), _hashes(cell)]
            writer.writerow([name, *(_blank(getattr(cell, column)) for column in COLUMNS), *facts])
    return {
        RESULTS: (json.dumps(strict(results), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        TABLE: buffer.getvalue().encode(),
        REPORT: page(sections, about).encode(),
    }


def _write(out: Path, files: dict[str, bytes]) -> None:
    """Write files, all of them or none; what earlier runs wrote besides stays."""
    try:
        with replacing(out, REPRODUCTION, {}, keep=True) as new:
            for name, content in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(content)
    except OSError as error:
        raise cannot_write(out, error) from error


def _blank(value: Any) -> Any:
    return "" if value is None else value


def _hashes(cell: Cell) -> str:
    return " ".join(f"{name}:{sha}" for name, sha in cell.facts.get("hashes", {}).items() if sha)


def strict(value: Any) -> Any:
    """Return JSON values with numbers that JSON has no word for as text.

    Example:
        >>> strict({"stability": math.inf, "steps": [1, 2]})
        {'stability': 'inf', 'steps': [1, 2]}
    """
    if isinstance(value, dict):
        return {key: strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [strict(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
