"""What the figures that show images share."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from functools import partial
from typing import Any

from basis.io.presets import table
from basis.paper.drawing import panel
from basis.paper.experiment import Cell, Picture, Row, RowsExperiment, measured, skip
from basis.paper.job import RELEASED_CIFAR10, Job
from basis.paper.setup import Setup, wanted
from basis.paper.store import Store

Draw = Callable[[Setup, Store, Job, int], Any]
NCSN = "cifar10-ncsn"


class PanelExperiment(RowsExperiment, ABC):
    """Rows of one job each, of which a panel is drawn, and the PSNR given as a figure.

    Attributes:
        shown: how many mixtures a panel shows at most.
    """

    shown = 6

    def count(self, setup: Setup) -> int:
        return min(setup.n, self.shown)

    def cells(self, setup: Setup, store: Store, rows: list[Row]) -> list[Cell]:
        """Return the PSNR of each row, or what it lacks."""
        cells = []
        for row in rows:
            job = row.jobs.get("")
            if reason := skip(setup, row, job):
                cells.append(Cell(row.name, "PSNR", "dB", missing=reason))
                continue
            cell = measured(setup, store, row, "", "psnr", "dB", self.count(setup))
            cells.append(
                Cell(row.name, "PSNR", "dB", None, None, cell.measured, cell.error, cell.n, "", cell.facts, cell.values)
            )
        return cells

    def pictures(self, setup: Setup, store: Store, rows: list[Row], name: str, draw: Draw) -> list[Picture]:
        """Return a panel of each row whose images are there; the first has the figure's name, others a number."""
        there = [row for row in rows if not skip(setup, row, row.jobs.get(""))]
        return [
            Picture(
                name if number == 0 else f"{name}-{number + 1}",
                f"{row.name}.",
                partial(draw, setup, store, row.jobs[""], self.count(setup)),
            )
            for number, row in enumerate(there)
        ]


def cifar(setup: Setup, name: str) -> list[Row]:
    """Return the rows of CIFAR-10 pairs: with the NCSN, or what it needs, and with the bundled prior."""
    prior = setup.priors.get(NCSN)
    if prior is None:
        published = Row(f"{name} (NCSN)", needs=wanted(NCSN))
    else:
        published = Row(f"{name} (NCSN)", {"": Job("cifar10", settings=RELEASED_CIFAR10, prior=prior)})
    method, settings = table("photographs").preset("fast", 2)
    return [
        published,
        Row(f"{name} (compact prior)", {"": Job("cifar10", method=method, settings=settings, prior="cifar10")}),
    ]


def separated_beside_truth(setup: Setup, store: Store, job: Job, n: int) -> Any:
    """Draw mixture, separated sources and true ones, one mixture a row."""
    drawn, found = job.draw(setup.data(job.data), setup.seed, range(n)), store.first(job, n)
    columns = [("mixture", drawn.mixture / job.sources)]
    for kind, stack in (("separated", found), ("truth", drawn.sources)):
        columns += [(kind if k == 0 else "", stack[:, k]) for k in range(job.sources)]
    return panel(columns, groups=(1, 1 + job.sources))
