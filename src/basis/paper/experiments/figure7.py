"""Figure 7: colorized CIFAR-10 images."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from basis.paper.drawing import panel
from basis.paper.experiment import Outcome, Row
from basis.paper.experiments.table4 import colour, compact
from basis.paper.job import Job
from basis.paper.panels import PanelExperiment
from basis.paper.setup import Setup, wanted
from basis.paper.store import Progress, Store

KEY = "cifar10-ncsn"


class Figure7(PanelExperiment):
    """Colorization: originals, their grey versions, and the colours that were found."""

    title = "Figure 7: colorized CIFAR-10 images"
    published_n = "examples"
    shown = 10

    def rows(self, setup: Setup) -> list[Row]:
        prior = setup.priors.get(KEY)
        jobs = {"": colour(prior)} if prior else {}
        return [Row("CIFAR-10 (NCSN)", jobs, needs="" if prior else wanted(KEY)), *compact()]

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        yield from ()
        pictures = self.pictures(setup, store, rows, "figure7", coloured)
        return Outcome(self.cells(setup, store, rows), pictures, ["The first images of the list, not chosen."])


def coloured(setup: Setup, store: Store, job: Job, n: int) -> Any:
    """Draw originals, grey versions and what was found."""
    drawn = job.draw(setup.data(job.data), setup.seed, range(n))
    grey = drawn.mixture.expand(-1, 3, -1, -1)
    return panel([("original", drawn.sources[:, 0]), ("grey", grey), ("colorized", store.first(job, n)[:, 0])])
