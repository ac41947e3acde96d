"""Table 2: PSNR of separated pairs of MNIST digits."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from basis.core.presets import NAMES
from basis.io.presets import table
from basis.paper.experiment import Outcome, Row, RowsExperiment, measured
from basis.paper.fitted import PLACES, Fitted
from basis.paper.job import OUR_ENDING, RELEASED, RELEASED_GLOW, RELEASED_MNIST, WHOSE, Job
from basis.paper.setup import FLAT, Setup, wanted
from basis.paper.store import Progress, Store

PUBLISHED = {  # dB, of 6,000 pairs
    "Average": {"split": 14.8, "agnostic": 14.9},
    "NMF": {"split": 16.0, "agnostic": 9.4},
    "S-D": {"agnostic": 18.5},
    "BASIS (Glow)": {"split": 22.9, "agnostic": 22.7},
    "NES": {"split": 24.3},
    "BASIS (Glow, 10x)": {"split": 27.7, "agnostic": 27.1},
    "BASIS (NCSN)": {"split": 29.5, "agnostic": 29.3},
}
COLUMNS = ("split", "agnostic")
DATA = "mnist"
PRIORS = {"BASIS (Glow)": "mnist-glow", "BASIS (Glow, 10x)": "mnist-glow", "BASIS (NCSN)": "mnist-ncsn"}
SMALL_GLOW = {"bounded": True}  # without, one chain in some hundreds runs away
LEARNED = {  # rows of methods that learn first
    "NMF": Fitted("nmf", COLUMNS),
    "S-D": Fitted("adversarial", ["agnostic"]),
    "NES": Fitted("neural_egg", ["split"], supervised=True),
    "Supervised U-Net (ours)": Fitted("supervised", COLUMNS),
    "Neural Egg, one group never seen (ours)": Fitted("neural_egg", ["split"]),
}
FIGURES = {"psnr": ("PSNR", "dB"), "ssim": ("SSIM", ""), "right": ("digits right", "share")}


def pairs(
    settings: dict | None = None, prior: str = "mnist", method: str = "basis", samples: int = 1
) -> dict[str, Job]:
    """Return the jobs of a row: both tasks, test pairs of MNIST."""
    return {
        task: Job(DATA, task=task, method=method, settings=settings or {}, samples=samples, prior=prior)
        for task in COLUMNS
    }


class Table2(RowsExperiment):
    """PSNR of separated MNIST pairs, class split and class agnostic: the paper's methods, and ours."""

    title = "Table 2: PSNR of separated pairs of MNIST digits"
    published_n = "6,000 pairs"

    def rows(self, setup: Setup) -> list[Row]:
        rows = [self._published(setup, Row(name, published=figures)) for name, figures in PUBLISHED.items()]
        rows += [self._learned(setup, Row(name)) for name in LEARNED if name not in PUBLISHED]
        rows += [
            Row("Blind NMF, no training (ours)", pairs(prior=FLAT, method="blind")),
            Row(f"BASIS, {OUR_ENDING} (compact prior)", pairs(RELEASED)),
            Row("BASIS, the paper's text (compact prior)", pairs(), optional=True),
            Row(f"BASIS, {OUR_ENDING} (small NCSN)", pairs(RELEASED, "ncsn-mnist"), optional=True),
            Row("BASIS (small Glow)", pairs(SMALL_GLOW, "glow-mnist"), optional=True),
            Row("BASIS (small Glow, 10x)", pairs(SMALL_GLOW, "glow-mnist", "best_of", samples=10), optional=True),
        ]
        presets = {name: table().preset(name, 2) for name in NAMES}
        rows += [
            Row(f"Preset {name} (compact prior)", pairs(settings, method=method))
            for name, (method, settings) in presets.items()
        ]
        known = {row.name for row in rows}
        names = dict.fromkeys(name.removesuffix("/split").removesuffix("/agnostic") for name in setup.methods)
        return rows + [Row(name, own(setup, name)) for name in names if name not in known]

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        yield from ()
        cells = []
        for figure, (label, unit) in FIGURES.items():
            for column in COLUMNS:
                for row in rows:
                    cell = measured(setup, store, row, column, figure, unit, setup.n)
                    cell = replace(cell, column=f"{column}, {label}")
                    if figure == "psnr":
                        cells.append(cell)
                    elif cell.measured is not None:
                        cells.append(replace(cell, published=None))  # the paper prints the PSNR alone
        return Outcome(cells, notes=NOTES)

    def _published(self, setup: Setup, row: Row) -> Row:
        """Return one of the paper's rows with its jobs, or with what it needs."""
        if row.name == "Average":
            return replace(row, jobs=pairs(prior=FLAT, method="average"))
        if row.name in PRIORS:
            prior = setup.priors.get(PRIORS[row.name])
            if prior is None:
                return replace(row, needs=wanted(PRIORS[row.name]))
            if "10x" in row.name:
                return replace(row, jobs=pairs({**RELEASED_GLOW, "inner": "basis"}, prior, "best_of", samples=10))
            return replace(row, jobs=pairs(RELEASED_GLOW if "Glow" in row.name else RELEASED_MNIST, prior))
        return self._learned(setup, row)

    def _learned(self, setup: Setup, row: Row) -> Row:
        """Return the row of a method that learns first: from the folders given, or those where they are looked for."""
        fitted, given = LEARNED[row.name], own(setup, row.name, FLAT)
        jobs, lacks = {}, {}
        for task in fitted.tasks:
            folder = fitted.find(task)
            if task in given:
                jobs[task] = given[task]
            elif folder and not (fault := fitted.wrong(folder, task)):
                jobs[task] = Job(DATA, task=task, method=str(folder), prior=FLAT)
            else:
                reason = fault if folder else f"no folder {fitted.name(task)} in {' or '.join(PLACES)}"
                lacks[task] = f"{reason}; `{fitted.command(task)}`, or --method '{row.name}/{task}=FOLDER'"
        return replace(row, jobs=jobs, lacks=lacks)


def own(setup: Setup, name: str, prior: str = "mnist") -> dict[str, Job]:
    """Return the jobs of the methods that were given for a row."""
    found = {task: setup.method_for(name, task) for task in COLUMNS}
    return {task: Job(DATA, task=task, method=method, prior=prior) for task, method in found.items() if method}


NOTES = [
    "PSNR of each source in dB, data in [0, 1], estimates clamped, best assignment by the sum; mean over sources, then "
    "mixtures; ± is the standard error over mixtures. SSIM: the same mean, best assignment by its own sum. Digits "
    "right: the share of mixtures whose digits the bundled classifier (mnist-digits) reads as the true labels.",
    "The compact prior is the bundled `mnist`, a network of 109 MFLOP; the paper's NCSN costs 35 times as much. It did "
    "not see the test images.",
    WHOSE,
    "Methods that learn from pairs (`supervised`, the published NES) have to be trained anew for each number of "
    "sources and each set of weights; those that stand on a prior do not.",
]
