"""Figure 1: four MNIST digits, and two CIFAR-10 images, separated."""

from __future__ import annotations

from collections.abc import Generator

from basis.paper.experiment import Outcome, Row
from basis.paper.job import Job
from basis.paper.panels import PanelExperiment, cifar, separated_beside_truth
from basis.paper.setup import Setup
from basis.paper.store import Progress, Store


class Figure1(PanelExperiment):
    """Panels: mixtures of four MNIST digits, and of two CIFAR-10 images, beside the truth."""

    title = "Figure 1: mixtures of four MNIST digits and of two CIFAR-10 images"
    published_n = "9 mixtures of each"
    shown = 9

    def rows(self, setup: Setup) -> list[Row]:
        return [
            Row("MNIST, four digits (compact prior)", {"": Job(sources=4)}),
            *cifar(setup, "CIFAR-10, two images"),
        ]

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        yield from ()
        pictures = self.pictures(setup, store, rows, "figure1", separated_beside_truth)
        return Outcome(self.cells(setup, store, rows), pictures, NOTES)


NOTES = [
    "The first mixtures of the list, not chosen. Four digits: the paper's text, our ending. Two images with the "
    "compact prior: our preset fast.",
]
