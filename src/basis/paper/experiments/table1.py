"""Table 1: how likely separated images are under the prior."""

from __future__ import annotations

from collections.abc import Generator

from basis.core.prior import DensityPrior
from basis.io.checkpoint import pretrained
from basis.metrics.log_likelihood import likelihoods
from basis.paper.experiment import Cell, Outcome, Row, RowsExperiment, facts, skip
from basis.paper.job import RELEASED_GLOW, Job
from basis.paper.setup import Setup, wanted
from basis.paper.store import Progress, Store

COLUMNS = {"p(x_test)": "test", "p_σL(x_test)": "noisy", "p_σL(x_BASIS)": "separated"}
PUBLISHED = {  # bits a dimension, of 100 separations
    "MNIST": (0.5, 3.6, 3.6),
    "CIFAR-10": (3.4, 4.5, 4.7),
    "LSUN (bed)": (2.4, 4.2, 4.4),
    "LSUN (crh)": (2.7, 4.4, 4.4),
}
ROWS: dict[str, tuple[str, str, dict]] = {  # prior, data set, settings
    "MNIST": ("mnist-glow", "mnist", RELEASED_GLOW),
    "MNIST (small Glow, ours)": ("glow-mnist", "mnist", {"bounded": True}),
    "CIFAR-10": ("cifar10-glow", "cifar10", RELEASED_GLOW),
    "LSUN (bed)": ("lsun-bedroom", "lsun:bedroom", RELEASED_GLOW),
    "LSUN (crh)": ("lsun-church", "lsun:church_outdoor", RELEASED_GLOW),
}
TEST = 1000  # test images
UNIT = "bits/dim"


class Table1(RowsExperiment):
    """Log-likelihood of test images and of separated images under Glow priors, in bits a dimension."""

    title = "Table 1: log-likelihood of separated images under the prior"
    published_n = "the test set, and 100 separations"

    def rows(self, setup: Setup) -> list[Row]:
        rows = []
        for name, (key, data, settings) in ROWS.items():
            prior = setup.priors.get(key, key if key in pretrained() else None)
            jobs = {} if prior is None else {"": Job(data, settings=settings, prior=prior)}
            published = dict(zip(COLUMNS, PUBLISHED.get(name, ()), strict=False))
            rows.append(Row(name, jobs, published, wanted(key) if prior is None else "", optional=prior == key))
        return rows

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        cells = []
        for row in rows:
            job = row.jobs.get("")
            reason = skip(setup, row, job)
            if not reason and job and not isinstance(setup.prior(job)[0], DensityPrior):
                reason = f"a prior with a density; {job.prior} has none"
            if reason or not job:
                cells += [Cell(row.name, column, UNIT, row.published.get(column), missing=reason) for column in COLUMNS]
                continue
            yield Progress(f"{row.name}: likelihoods", 0, 1)
            found = bits(setup, store, job)
            own = {**facts(setup, store, job, setup.n), "test_images": found["test_images"]}
            for column, kind in COLUMNS.items():
                counts = setup.n if kind == "separated" else found["test_images"]
                missing = "" if found[kind] is not None else "no density at σ = 0 in this prior"
                cells.append(
                    Cell(
                        row.name, column, UNIT, row.published.get(column), None, found[kind], None, counts, missing, own
                    )
                )
        return Outcome(cells, notes=NOTES)


def bits(setup: Setup, store: Store, job: Job) -> dict:
    """Return the three columns for one data set, and the number of test images."""
    key = {"table1": setup.facts(job), "n": setup.n}
    if (found := store.recall(key)) is not None:
        return found
    data = setup.data(job.data)
    test = data.values(data.images(job.split)[0][:TEST])
    separated = store.first(job, setup.n).flatten(0, 1)
    prior = setup.prior(job)[0]
    assert isinstance(prior, DensityPrior)
    return store.keep(key, {**likelihoods(prior, test, separated, setup.seed).bits(), "test_images": len(test)})


NOTES = [
    f"Of the first {TEST} test images. Separated sources are kept in 8 bits and taken as they are, without noise.",
]
