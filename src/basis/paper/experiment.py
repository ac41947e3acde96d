"""Tables and figures of the paper: what they hold, published beside measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from basis.core.errors import BasisError
from basis.core.registry import Registry
from basis.evaluate.statistics import standard_error
from basis.paper.job import Job
from basis.paper.setup import Setup
from basis.paper.store import Progress, Store

NOT_THERE = "not in this task"


@dataclass(frozen=True)
class Cell:
    """One figure: published, measured, or missing with the reason.

    Attributes:
        row, column: where it stands.
        unit: of both figures, for instance "dB".
        published: the paper's figure, None where it has none.
        published_error: its deviation as printed.
        measured, error: ours, and its standard error or deviation; None of fewer than five, and of shares, whose
            uncertainty follows from n.
        n: mixtures (or images) that it is of.
        missing: what is not at hand where nothing was measured.
        facts: how it was measured, JSON values.
        values: the figure mixture by mixture.
    """

    row: str
    column: str
    unit: str
    published: float | None = None
    published_error: float | None = None
    measured: float | None = None
    error: float | None = None
    n: int = 0
    missing: str = ""
    facts: dict = field(default_factory=dict)
    values: Sequence[float] | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table: a method with its prior on each task.

    Attributes:
        name: as the paper prints it, or our own words.
        jobs: what its columns need, by column.
        published: the paper's figures by column.
        needs: what is not at hand; then nothing is measured.
        lacks: what is not at hand for single columns, which have no job.
        optional: whether it is measured only on demand, for its cost.
    """

    name: str
    jobs: Mapping[str, Job] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""
    lacks: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn: ``draw`` returns a matplotlib figure; called at the end, where matplotlib is there."""

    name: str
    caption: str
    draw: Callable[[], Any]


@dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Attributes:
        cells: its figures.
        pictures: what is drawn of them.
        notes: what a reader must know.
    """

    cells: Sequence[Cell] = ()
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()


class Experiment(ABC):
    """A table or figure of the paper.

    Attributes:
        title: what it shows.
        published_n: how many mixtures the paper's figures are of, in words.
    """

    title: str
    published_n: str

    @abstractmethod
    def jobs(self, setup: Setup) -> list[tuple[Job, int]]:
        """Return what has to be separated, with the number of mixtures; only what is at hand."""

    @abstractmethod
    def run(self, setup: Setup, store: Store) -> Generator[Progress, None, Outcome]:
        """Compute what is not in the store yet, yielding progress, and return what was found."""


EXPERIMENTS = Registry("experiment", "basis.paper.experiments", Experiment)


class RowsExperiment(Experiment):
    """An experiment whose figures are rows of separations; subclasses say which rows, and what to measure of them."""

    @abstractmethod
    def rows(self, setup: Setup) -> list[Row]:
        """Return the rows in order, those included that lack something."""

    @abstractmethod
    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        """Return what was found, once everything that is at hand is separated; may take time, and yield progress."""

    def count(self, setup: Setup) -> int:
        """Return the number of mixtures of each figure."""
        return setup.n

    def jobs(self, setup: Setup) -> list[tuple[Job, int]]:
        rows = self.rows(setup)
        return [(job, self.count(setup)) for row in rows for job in row.jobs.values() if not skip(setup, row, job)]

    def run(self, setup: Setup, store: Store) -> Generator[Progress, None, Outcome]:
        rows = self.rows(setup)
        for row in rows:
            for column, job in row.jobs.items():
                if not skip(setup, row, job):
                    try:
                        yield from store.compute(job, self.count(setup), f"{row.name} · {column or job.where}")
                    except BasisError as error:  # the table says so, and goes on
                        setup.fail(job, error)
        return (yield from self.outcome(setup, store, rows))


def skip(setup: Setup, row: Row, job: Job | None, column: str = "") -> str:
    """Return why a job of a row, that of the column, is not run; empty where it is."""
    if setup.only and row.name not in setup.only:
        return "not asked for: --only names other rows"
    if row.optional and not setup.more:
        return "left out for its cost: give --more"
    return row.needs or (setup.lacking(job) if job else row.lacks.get(column, NOT_THERE))


def facts(setup: Setup, store: Store, job: Job, n: int) -> dict:
    """Return how a figure was measured, JSON values."""
    return {
        "method": job.method,
        "settings": job.settings,
        "samples": job.samples,
        "prior": job.prior,
        "hashes": setup.hashes(job),
        "seed": setup.seed,
        "device": setup.device,
        "precision": setup.precision,
        "compile": setup.compile,
        "seconds": round(store.seconds(job, n), 1),
        "mixtures": job.mixtures(setup.seed),
    }


def measured(setup: Setup, store: Store, row: Row, column: str, figure: str, unit: str, n: int) -> Cell:
    """Return the cell of a figure that each mixture has by itself ("psnr", "ssim", "right", "residual")."""
    published, job = row.published.get(column), row.jobs.get(column)
    if reason := skip(setup, row, job, column):
        return Cell(row.name, column, unit, published, missing=reason)
    assert job
    values = store.figures(job, n, figure)
    if values is None:
        return Cell(row.name, column, unit, published, missing=f"no {figure} for such images")
    numbers = values.double()
    mean, error = numbers.mean().item(), None if unit == "share" else standard_error(numbers.numpy())
    own = facts(setup, store, job, n)
    return Cell(row.name, column, unit, published, None, mean, error, len(values), "", own, values.tolist())
