"""Table 3: Inception Score and FID of separated pairs of CIFAR-10 images."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from basis.io.presets import table
from basis.paper.experiment import Outcome, Row, RowsExperiment, facts, skip
from basis.paper.job import RELEASED_CIFAR10, RELEASED_GLOW, WHOSE, Job
from basis.paper.scores import cells, lacking, scores
from basis.paper.setup import FLAT, Setup, kept, wanted
from basis.paper.store import Progress, Store

PUBLISHED = {  # Inception Score ± deviation and FID, of 25,000 pairs
    "NES": {"split": {"IS": (5.29, 0.08), "FID": (51.39, None)}},
    "BASIS (Glow)": {
        "split": {"IS": (5.74, 0.05), "FID": (40.21, None)},
        "agnostic": {"IS": (6.10, 0.07), "FID": (37.09, None)},
    },
    "Average": {
        "split": {"IS": (6.14, 0.11), "FID": (39.49, None)},
        "agnostic": {"IS": (7.18, 0.08), "FID": (28.02, None)},
    },
    "BASIS (NCSN)": {
        "split": {"IS": (7.83, 0.15), "FID": (29.92, None)},
        "agnostic": {"IS": (8.29, 0.16), "FID": (22.12, None)},
    },
}
TASKS = ("split", "agnostic")
PRIORS = {"BASIS (Glow)": "cifar10-glow", "BASIS (NCSN)": "cifar10-ncsn"}
SETTINGS = {"BASIS (Glow)": RELEASED_GLOW, "BASIS (NCSN)": RELEASED_CIFAR10}
DATA = "cifar10"
PRIOR = "cifar10"  # the bundled one
DEAR = "BASIS, the paper's text (compact prior)"
GROUPS = "Preset fast (compact priors of animals and of machines)"
FINE = "Preset quality (compact prior)"
COMPACT = {
    "Preset fast (compact prior)": table("photographs").preset("fast", 2),
    FINE: table("photographs").preset("quality", 2),
    DEAR: ("basis", {}),
}
NES = "NES (CIFAR-10)"  # the name under which --method gives it: Table 2 has another


class Table3(RowsExperiment):
    """Inception Score and FID of separated pairs of CIFAR-10 images: animals and machines, and any classes."""

    title = "Table 3: Inception Score and FID of separated pairs of CIFAR-10 images"
    published_n = "25,000 pairs"

    def rows(self, setup: Setup) -> list[Row]:
        rows = [self._row(setup, name) for name in PUBLISHED]
        for name, (method, settings) in COMPACT.items():
            jobs = {task: Job(DATA, task=task, method=method, settings=settings, prior=PRIOR) for task in TASKS}
            rows.append(Row(name, jobs, optional=name in (FINE, DEAR)))
        return [*rows, self._groups()]

    def _groups(self) -> Row:
        """Return the row with a prior for each group, from which section 5 hopes for better results."""
        priors, needs = kept(["cifar10-animals", "cifar10-machines"])
        method, settings = table("photographs").preset("fast", 2)
        job = Job(DATA, task="split", method=method, settings=settings, prior=priors)
        return Row(GROUPS, {} if needs else {"split": job}, needs=needs)

    def _row(self, setup: Setup, name: str) -> Row:
        published = PUBLISHED[name]
        if name == "Average":
            return Row(name, {task: Job(DATA, task=task, method="average", prior=FLAT) for task in TASKS}, published)
        if name in PRIORS:
            prior = setup.priors.get(PRIORS[name])
            if prior is None:
                return Row(name, {}, published, wanted(PRIORS[name]))
            jobs = {task: Job(DATA, task=task, settings=SETTINGS[name], prior=prior) for task in TASKS}
            return Row(name, jobs, published)
        method = setup.method_for(NES, "split")
        if method is None:
            return Row(name, {}, published, f"`basis fit neural_egg --data cifar10 …`; then --method '{NES}=FOLDER'")
        return Row(name, {"split": Job(DATA, task="split", method=method, prior=FLAT)}, published)

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        found, extractor = [], Path(setup.features).name
        for task in TASKS:
            for row in rows:
                published, job = row.published.get(task, {}), row.jobs.get(task)
                reason = skip(setup, row, job) or setup.lacking_features()
                if reason or not job:
                    found += lacking(row.name, task, extractor, published, reason)
                    continue
                own = facts(setup, store, job, setup.n)
                what = {"images": job.facts(setup.seed, setup.hashes(job)), "n": setup.n}
                images = (part.flatten(0, 1) for part in store.sources(job, setup.n))
                result = yield from scores(setup, store, what, images, f"{row.name} · {task}")
                found += cells(row.name, task, result, extractor, published, own)
        return Outcome(found, notes=NOTES)


NOTES = [
    WHOSE,
    "FID and KID compare with the training images; the paper does not say with which it compares. FID falls with n: "
    "figures of few images lie far above those of 50,000. Published figures are of the Inception network; figures of "
    "another extractor carry its name and do not compare with them.",
]
