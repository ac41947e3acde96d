"""Figure 4: separations that look right and are not the truth."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from basis.paper.drawing import panel
from basis.paper.experiment import Outcome, Row
from basis.paper.experiments.table2 import pairs
from basis.paper.job import RELEASED, WHOSE_PICTURES, Job
from basis.paper.panels import PanelExperiment, cifar
from basis.paper.setup import Setup
from basis.paper.store import Progress, Store

SHOWN = 6


class Figure4(PanelExperiment):
    """Ambiguities: of all separations those farthest from the truth, which mix to the same images."""

    title = "Figure 4: ambiguous mixtures"
    published_n = "curated examples of CIFAR-10"

    def count(self, setup: Setup) -> int:
        return setup.n

    def rows(self, setup: Setup) -> list[Row]:
        return [*cifar(setup, "CIFAR-10"), Row("MNIST (compact prior)", {"": pairs(RELEASED)["agnostic"]})]

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        yield from ()
        pictures = self.pictures(setup, store, rows, "figure4", ambiguous)
        return Outcome(self.cells(setup, store, rows), pictures, NOTES)


def ambiguous(setup: Setup, store: Store, job: Job, n: int) -> Any:
    """Draw the mixtures with the lowest PSNR: mixture, separated, original."""
    values = store.figures(job, n, "psnr")
    assert values is not None
    worst = values.argsort()[:SHOWN]
    drawn, found = job.draw(setup.data(job.data), setup.seed, range(n)), store.first(job, n)
    columns = [("mixture", (drawn.mixture / job.sources)[worst])]
    for label, stack in (("separated", found[worst]), ("original", drawn.sources[worst])):
        columns += [(label, stack[:, 0]), ("", stack[:, 1])]
    return panel(columns, groups=(1, 3))


NOTES = [
    "Chosen by a rule, not by hand: of all n mixtures those whose separation is farthest from the truth. On MNIST some "
    "are ambiguous, others are wrong.",
    WHOSE_PICTURES,
]
