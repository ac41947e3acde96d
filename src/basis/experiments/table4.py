"""Table 4: Inception Score and FID of colorized CIFAR-10 images."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from basis.presets import ONE_COLOUR_PRESETS, PAPER
from basis.reproduction.experiment import Outcome, Row, RowsExperiment, facts, skip
from basis.reproduction.job import COLOUR, RELEASED_COLOUR, Job
from basis.reproduction.scores import cells, lacking, scores
from basis.reproduction.setup import FLAT, Setup, wanted
from basis.reproduction.store import Progress, Store

PUBLISHED = {  # Inception Score ± deviation and FID, of 50,000 images
    "Input Grayscale": {"IS": (8.01, 0.10), "FID": (68.52, None)},
    "BASIS (Glow)": {"IS": (8.69, 0.15), "FID": (28.70, None)},
    "BASIS (NCSN)": {"IS": (10.53, 0.17), "FID": (11.58, None)},
    "CIFAR-10 Original": {"IS": (11.24, 0.12), "FID": (0.00, None)},
}
DEAR = "BASIS, the paper's text (compact prior)"
COMPACT = {"Preset fast (compact prior)": ONE_COLOUR_PRESETS["fast"], DEAR: ONE_COLOUR_PRESETS[PAPER]}
SHOWN = {f"Preset {name} (compact prior, shown the grey)": ONE_COLOUR_PRESETS[name] for name in ("fast", "quality")}
PRIORS = {"BASIS (Glow)": "cifar10-glow", "BASIS (NCSN)": "cifar10-ncsn"}
DATA, SPLIT, PART = "cifar10", "train", 500


def colour(prior: str, method: str = "basis", settings: Mapping = RELEASED_COLOUR) -> Job:
    """Return the job that colorizes training images, of which the paper's originals have FID 0."""
    return Job(DATA, SPLIT, COLOUR, method=method, settings=dict(settings), prior=prior)


def compact() -> list[Row]:
    """Return our rows, with the bundled priors: that of CIFAR-10, and the one that was trained for colorization."""
    rows = [Row(name, {"": colour("cifar10", *preset)}, optional=name == DEAR) for name, preset in COMPACT.items()]
    return rows + [Row(name, {"": colour("cifar10-colour", *preset)}) for name, preset in SHOWN.items()]


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
        return rows + compact()

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        found, extractor, plain = [], Path(setup.features).name, colour(FLAT)
        for row in rows:
            job = row.jobs.get("", plain)
            reason = skip(setup, row, job) or setup.lacking_features()
            if reason:
                found += lacking(row.name, "", extractor, row.published, reason)
                continue
            if row.jobs:
                images: Iterator[Tensor] = (part[:, 0] for part in store.sources(job, setup.n))
                own = facts(setup, store, job, setup.n)
            else:
                images = given(setup, plain, grey="Grayscale" in row.name)
                own = {"mixtures": plain.mixtures(setup.seed), "seed": setup.seed}
            what = {"images": [row.name, setup.facts(job)], "n": setup.n}
            result = yield from scores(setup, store, what, images, row.name)
            found += cells(row.name, "", result, extractor, row.published, own)
        return Outcome(found, notes=NOTES)


def given(setup: Setup, job: Job, grey: bool) -> Iterator[Tensor]:
    """Yield the originals, or their grey versions in three equal channels, (b, 3, H, W)."""
    for start in range(0, setup.n, PART):
        drawn = job.draw(setup.data(DATA), setup.seed, range(start, min(start + PART, setup.n)))
        yield drawn.mixture.expand(-1, 3, -1, -1) if grey else drawn.sources[:, 0]


NOTES = [
    "Images of the training split in a random order, so that the originals of all of them have FID 0 against it; the "
    "held-out 5,000 of the published training set are not among them. FID falls with n.",
]
