"""Figure 5: several samples of one mixture."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch

from basis.core.metric import align, reorder
from basis.paper.drawing import panel
from basis.paper.experiment import Outcome, Row
from basis.paper.experiments.table2 import pairs
from basis.paper.job import RELEASED, WHOSE_PICTURES, Job
from basis.paper.panels import PanelExperiment, cifar
from basis.paper.setup import Setup
from basis.paper.store import Progress, Store, unpacked

SAMPLES = 4


class Figure5(PanelExperiment):
    """Repeated sampling: several samples of p(x | m) for each of a few mixtures."""

    title = "Figure 5: repeated samples of the same mixtures"
    published_n = "uncurated examples of CIFAR-10"
    shown = 4

    def rows(self, setup: Setup) -> list[Row]:
        rows = [
            *cifar(setup, "CIFAR-10"),
            Row("MNIST (compact prior)", {"": pairs(RELEASED)["agnostic"]}),
        ]
        return [
            replace(row, jobs={key: replace(job, samples=SAMPLES, keep=True) for key, job in row.jobs.items()})
            for row in rows
        ]

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        yield from ()
        pictures = self.pictures(setup, store, rows, "figure5", repeated)
        return Outcome(self.cells(setup, store, rows), pictures, NOTES)


def repeated(setup: Setup, store: Store, job: Job, n: int) -> Any:
    """Draw each mixture, its samples side by side, and the truth."""
    drawn = job.draw(setup.data(job.data), setup.seed, range(n))
    samples = unpacked(torch.cat(list(store.arrays(job, n, "samples"))))
    samples = torch.stack([reorder(x, align(x, drawn.sources, drawn.data_range)) for x in samples.unbind(1)], 1)
    columns = [("mixture", drawn.mixture / job.sources)]
    for j in range(job.samples):
        columns += [(f"sample {j + 1}", samples[:, j, 0]), ("", samples[:, j, 1])]
    columns += [("original", drawn.sources[:, 0]), ("", drawn.sources[:, 1])]
    return panel(columns, groups=tuple(1 + 2 * j for j in range(job.samples + 1)))


NOTES = ["The first mixtures of the list, not chosen; the PSNR is that of the first sample.", WHOSE_PICTURES]
