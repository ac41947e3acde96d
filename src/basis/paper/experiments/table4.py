"""Table 4: Inception Score and FID of colorized CIFAR-10 images."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from basis.io.presets import table
from basis.paper.experiment import Outcome, Row, RowsExperiment, facts, skip
from basis.paper.job import COLOUR, RELEASED_COLOUR, WHOSE, Job
from basis.paper.scores import cells, lacking, scores
from basis.paper.setup import FLAT, Setup, wanted
from basis.paper.store import Progress, Store

PUBLISHED = {  # Inception Score ± deviation and FID, of 50,000 images
    "Input Grayscale": {"IS": (8.01, 0.10), "FID": (68.52, None)},
    "BASIS (Glow)": {"IS": (8.69, 0.15), "FID": (28.70, None)},
    "BASIS (NCSN)": {"IS": (10.53, 0.17), "FID": (11.58, None)},
    "CIFAR-10 Original": {"IS": (11.24, 0.12), "FID": (0.00, None)},
}
DEAR = "BASIS, the paper's text (compact prior)"
COMPACT = {"Preset fast (compact prior)": table("photographs").preset("fast", 1), DEAR: ("basis", {})}
SHOWN = {
    f"Preset {name} (compact prior, shown the grey)": table("photographs").preset(name, 1)
    for name in ("fast", "quality")
}
PRIORS = {"BASIS (Glow)": "cifar10-glow", "BASIS (NCSN)": "cifar10-ncsn"}
GIVEN = ("Input Grayscale", "CIFAR-10 Original")  # rows of images that nothing was done to
DATA, PART = "cifar10", 500
COLUMNS = {"": "train", "test": "test"}  # the split whose images are colorized; the paper's figures are in the first
TESTS = 10_000  # images of the test split


def colour(prior: str, method: str = "basis", settings: Mapping = RELEASED_COLOUR, column: str = "") -> Job:
    """Return the job that colorizes training images, of which the paper's originals have FID 0, or others."""
    return Job(DATA, COLUMNS[column], COLOUR, method=method, settings=dict(settings), prior=prior)


def compact(columns: Iterable[str] = ("",)) -> list[Row]:
    """Return our rows, with the bundled priors: that of CIFAR-10, and the one that was trained for colorization."""
    return [
        Row(name, {column: colour(prior, *preset, column) for column in columns}, optional=name == DEAR)
        for prior, presets in (("cifar10", COMPACT), ("cifar10-colour", SHOWN))
        for name, preset in presets.items()
    ]


class Table4(RowsExperiment):
    """Inception Score and FID of colorized CIFAR-10 images, of their grey inputs and of the originals."""

    title = "Table 4: Inception Score and FID of colorized CIFAR-10 images"
    published_n = "50,000 images"

    def rows(self, setup: Setup) -> list[Row]:
        rows = []
        for name, published in PUBLISHED.items():
            key = PRIORS.get(name)
            given = setup.priors.get(key) if key else None
            rows.append(
                Row(name, {"": colour(given)} if given else {}, published, wanted(key) if key and not given else "")
            )
        return rows + compact(columns(setup))

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        found, extractor = [], Path(setup.features).name
        for column, row in itertools.product(columns(setup), rows):
            published = {} if column else row.published
            job = colour(FLAT, column=column) if row.name in GIVEN else row.jobs.get(column)
            reason = skip(setup, row, job) or setup.lacking_features()
            if reason or not job:
                found += lacking(row.name, column, extractor, published, reason)
                continue
            if row.jobs:
                images: Iterator[Tensor] = (part[:, 0] for part in store.sources(job, setup.n))
                own = facts(setup, store, job, setup.n)
            else:
                images = given(setup, job, grey="Grayscale" in row.name)
                own = {"mixtures": job.mixtures(setup.seed), "seed": setup.seed}
            what = {"images": [row.name, setup.facts(job)], "n": setup.n}
            result = yield from scores(setup, store, what, images, f"{row.name} · {job.split}")
            found += cells(row.name, column, result, extractor, published, own)
        return Outcome(found, notes=NOTES)


def columns(setup: Setup) -> list[str]:
    """Return the columns for which there are images enough."""
    return [column for column in COLUMNS if not column or setup.n <= TESTS]


def given(setup: Setup, job: Job, grey: bool) -> Iterator[Tensor]:
    """Yield the originals, or their grey versions in three equal channels, (b, 3, H, W)."""
    for start in range(0, setup.n, PART):
        drawn = job.draw(setup.data(DATA), setup.seed, range(start, min(start + PART, setup.n)))
        yield drawn.mixture.expand(-1, 3, -1, -1) if grey else drawn.sources[:, 0]


NOTES = [
    WHOSE,
    "Images of the training split in a random order, so that the originals of all of them have FID 0 against it; the "
    "held-out 5,000 of the published training set are not among them. FID falls with n.",
    "Under test, for n up to 10,000: images that no bundled prior or extractor was trained on, compared with those of "
    "training likewise.",
]
