"""Figure 8: a church and a bedroom of 64×64 pixels, separated with two priors."""

from __future__ import annotations

from collections.abc import Generator

from basis.io.presets import table
from basis.paper.experiment import Outcome, Row
from basis.paper.job import RELEASED_GLOW, Job
from basis.paper.panels import PanelExperiment, separated_beside_truth
from basis.paper.setup import Setup, kept, wanted
from basis.paper.store import Progress, Store

DATA = "lsun:church_outdoor+bedroom"
KEYS = ("lsun-church", "lsun-bedroom")  # the priors of the two groups of labels, in order
OTHERS = "folder:church-like,size=64 & cifar10:animals,size=64"


class Figure8(PanelExperiment):
    """Larger images, two priors: one source is a church, the other a bedroom."""

    title = "Figure 8: LSUN churches and bedrooms, 64×64, two priors"
    published_n = "examples"
    shown = 4

    def rows(self, setup: Setup) -> list[Row]:
        needs = "; ".join(wanted(key) for key in KEYS if key not in setup.priors)
        jobs = (
            {}
            if needs
            else {
                "": Job(DATA, task="split", settings=RELEASED_GLOW, prior=",".join(setup.priors[key] for key in KEYS))
            }
        )
        return [Row("LSUN (Glow)", jobs, needs=needs), self._others()]

    def _others(self) -> Row:
        """Return the row of two classes that can be had here: photographs of churches, and animals enlarged."""
        priors, needs = kept(["church-compact", "animals64"])
        method, settings = table("photographs").preset("fast", 2)
        job = Job(OTHERS, task="split", method=method, settings=settings, prior=priors)
        return Row("Churches and enlarged animals (compact priors)", {} if needs else {"": job}, needs=needs)

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        yield from ()
        pictures = self.pictures(setup, store, rows, "figure8", separated_beside_truth)
        return Outcome(self.cells(setup, store, rows), pictures, ["The first mixtures of the list, not chosen."])
