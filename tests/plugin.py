"""A small package with an experiment and separators of its own, as another project would add them by entry points."""

POINTS = """
[basis.paper.experiments]
tiny = tiny_experiment:Tiny
[basis.separators]
endless = tiny_experiment:Endless
"""
SOURCE = '''
"""An experiment of 8×8 digits, and separations that never end, each with a process of its own."""

import subprocess
import sys

import basis
from basis.core.sampler import State
from basis.paper.drawing import subplots
from basis.paper.experiment import Outcome, Picture, Row, RowsExperiment, measured
from basis.paper.job import Job


class Endless(basis.Separator):
    """Sleeps."""

    def stream(self, problem, noise):
        for step in range(4):  # those that the plan times
            yield State(problem.mixture, sigma=0.0, level=1, levels=1, step=step, steps=5)
        subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])


class Tiny(RowsExperiment):
    """Digits of 8×8 pixels."""

    title = published_n = "tiny"

    def rows(self, setup):
        method = setup.methods.get("Row", "average")
        return [Row("Row", {"agnostic": Job("digits", method=method, prior="flat")}, {"agnostic": 1.0})]

    def outcome(self, setup, store, rows):
        yield from ()
        cells = [measured(setup, store, row, "agnostic", "psnr", "dB", setup.n) for row in rows]
        store.keep({"figure": "tiny"}, 1)
        return Outcome(cells, [Picture("tiny", "A line.", self.draw)], [])

    def draw(self):
        figure, axes = subplots(1, 1)
        axes.plot([0, 1])
        return figure
'''


def install(folder):
    """Write the package into a folder; it is found where that folder is on the path."""
    (folder / "tiny_experiment.py").write_text(SOURCE)
    about = folder / "tiny_experiment-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-experiment\nVersion: 0\n")
    (about / "entry_points.txt").write_text(POINTS)
