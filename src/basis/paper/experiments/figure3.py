"""Figure 3: why ascent needs noisy priors, and noise of its own."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from basis.paper.drawing import panel
from basis.paper.experiment import Cell, Outcome, Picture, Row, RowsExperiment, measured, skip
from basis.paper.experiments.table2 import pairs
from basis.paper.job import RELEASED, WHOSE_PICTURES, Job
from basis.paper.setup import Setup
from basis.paper.store import Progress, Store

TASK = "agnostic"
SHOWN = 6
VARIANTS = {  # each takes 1,000 steps
    "Ascent, no noise conditioning": {"levels": 1, "steps": 1000, "temperature": 0.0},
    "Ascent, noise conditioning": {"temperature": 0.0},
    "Langevin dynamics": {},
}


class Figure3(RowsExperiment):
    """Three ways up: ascent at the smallest noise level alone, ascent through all levels, Langevin dynamics."""

    title = "Figure 3: ascent without noise conditioning, with it, and with Langevin noise"
    published_n = "examples"

    def rows(self, setup: Setup) -> list[Row]:
        return [Row(name, {TASK: pairs({**RELEASED, **own})[TASK]}) for name, own in VARIANTS.items()]

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        yield from ()
        cells = [measured(setup, store, row, TASK, "psnr", "dB", setup.n) for row in rows]
        if any(skip(setup, row, row.jobs[TASK]) for row in rows):
            return Outcome(cells)
        caption = "The same mixtures by three kinds of dynamics. Rows: the first mixtures of the list, not chosen."
        picture = Picture("figure3", caption, lambda: draw(setup, store, rows))
        return Outcome(cells, [picture], [order(cells), WHOSE_PICTURES])


def order(cells: list[Cell]) -> str:
    """Return whether the means are in the paper's order, in words."""
    means = [cell.measured for cell in cells if cell.measured is not None]
    words = " < ".join(f"{mean:.2f} dB" for mean in means)
    if means == sorted(means) and len(set(means)) == len(means):
        return f"The order of the paper, in numbers: {words}."
    return f"Not in the order of the paper: {', '.join(f'{mean:.2f}' for mean in means)} dB."


def draw(setup: Setup, store: Store, rows: list[Row]) -> Any:
    """Return mixtures, their sources by each variant, and the truth."""
    job: Job = rows[0].jobs[TASK]
    n = min(setup.n, SHOWN)
    drawn = job.draw(setup.data(job.data), setup.seed, range(n))
    columns = [("mixture", drawn.mixture / job.sources)]
    for row, short in zip(rows, ("ascent", "+ noise cond.", "+ Langevin"), strict=True):
        found = store.first(row.jobs[TASK], n)
        columns += [(short, found[:, 0]), ("", found[:, 1])]
    columns += [("truth", drawn.sources[:, 0]), ("", drawn.sources[:, 1])]
    return panel(columns, groups=(1, 3, 5, 7))
