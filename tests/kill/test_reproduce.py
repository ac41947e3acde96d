"""`basis reproduce`, killed at every change of the file system: see `kill.shared.sweep`."""

import os
import signal

import pytest

import plugin
from kill.driver import Warm
from kill.shared import sweep

pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")

COMMAND = ["reproduce", "tiny", "--n", "3", "--batch-size", "2", "--out", "out"]
MODULES = ("basis.paper.run", "basis.metrics.psnr", "sklearn.datasets", "matplotlib.figure", "torchmetrics")


@pytest.fixture(scope="module")
def reproducer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    plugin.install(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        process = Warm(*MODULES).__enter__()
    yield process
    process.__exit__()


def begin(folder):
    (folder / "thesis.tex").write_text("precious")


def test_some_points(reproducer, tmp_path):
    assert sweep(reproducer, tmp_path / "work", begin, COMMAND, COMMAND, points=3) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("send", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_all_points(reproducer, tmp_path, send):
    points = None if send == signal.SIGKILL else 30
    sweep(reproducer, tmp_path / "work", begin, COMMAND, COMMAND, points=points, send=send)
