"""Small experiments, and worlds without data."""

import importlib
import sys

import pytest

from basis.core.errors import DataError
from basis.datasets.cifar10 import CIFAR10
from basis.datasets.mnist import MNIST
from basis.paper import store as storing

NEW = '''
"""An experiment in one file."""

from basis.paper.drawing import subplots
from basis.paper.experiment import Outcome, Picture, Row, RowsExperiment, measured
from basis.paper.job import Job


class Tiny(RowsExperiment):
    """Digits of 8×8 pixels."""

    title = "Tiny: 8×8 digits"
    published_n = "no pairs at all"

    def rows(self, setup):
        row = {"agnostic": Job("digits", method="average", prior="flat")}
        own = {"agnostic": Job("digits", method=setup.methods.get("Sides", "average"), prior="flat")}
        prior = {"agnostic": Job("digits", prior="no-such-prior")}
        return [Row("Average", row, {"agnostic": 12.5}), Row("Sides", own), Row("Lost", prior, {"agnostic": 31.25}),
                Row("Dear", row, optional=True)]

    def outcome(self, setup, store, rows):
        yield from ()
        cells = [measured(setup, store, row, "agnostic", "psnr", "dB", setup.n) for row in rows]
        return Outcome(cells, [Picture("tiny", "A line.", self.draw)], ["A note."])

    def draw(self):
        figure, axes = subplots(3, 2)
        axes.plot([0, 1])
        return figure
'''


@pytest.fixture
def separated(monkeypatch):
    """The numbers of the mixtures that are separated, part by part."""
    calls, real = [], storing.stream

    def counting(*arguments, index, **settings):
        calls.append(list(index))
        return real(*arguments, index=index, **settings)

    monkeypatch.setattr(storing, "stream", counting)
    return calls


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """An experiment that a file added."""
    package = importlib.import_module("basis.paper.experiments")
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "tiny.py").write_text(NEW)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    importlib.invalidate_caches()
    yield "tiny"
    sys.modules.pop("basis.paper.experiments.tiny", None)


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """No published data set, no Inception weights."""

    def lacking(*_):
        raise DataError("no data here")

    monkeypatch.setattr(MNIST, "load", lacking)
    monkeypatch.setattr(CIFAR10, "load", lacking)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
