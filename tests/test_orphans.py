"""No process outlives the command that started it, however that one ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

psutil = pytest.importorskip("psutil", reason="finding processes needs psutil")
pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")

EXPERIMENT = '''
"""Separations that never end, each worker with a process of its own."""

import subprocess
import sys
import time

import basis
from basis.core.sampler import State
from basis.reproduction.experiment import Outcome, Row, RowsExperiment
from basis.reproduction.job import Job


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
        return [Row("Endless", {"agnostic": Job("digits", method="endless", prior="flat")})]

    def outcome(self, setup, store, rows):
        yield from ()
        return Outcome([], [], [])
'''
POINTS = "[basis.experiments]\ntiny = tiny_experiment:Tiny\n[basis.separators]\nendless = tiny_experiment:Endless\n"
MARK = "BASIS_TEST_OF_ORPHANS"


def family(mark):
    """Return the living processes that were started under this mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} within {seconds} s"
        time.sleep(0.05)


@pytest.fixture
def reproduction(tmp_path):
    """Start `basis reproduce` with two workers; return the process and what finds its family."""
    (tmp_path / "tiny_experiment.py").write_text(EXPERIMENT)
    about = tmp_path / "tiny_experiment-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-experiment\nVersion: 0\n")
    (about / "entry_points.txt").write_text(POINTS)
    places = [str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places)), MARK: str(tmp_path)}
    command = ["reproduce", "tiny", "--workers", "2", "--n", "4", "--batch-size", "1", "--out", tmp_path / "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "basis", *map(str, command)],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process, lambda: family(str(tmp_path))
    for each in family(str(tmp_path)):
        each.kill()
    process.stderr.close()


def workers(processes, parent):
    """Return the workers among them, not what multiprocessing itself starts."""
    return [p for p in processes if p.ppid() == parent.pid and "spawn_main" in " ".join(p.cmdline())]


FULL = {
    (name, moment): pytest.param(name, moment, marks=[] if (name, moment) == ("SIGKILL", "start") else pytest.mark.slow)
    for name in ("SIGKILL", "SIGTERM", "SIGINT")
    for moment in ("start", "work")
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")
@pytest.mark.parametrize(("name", "moment"), FULL.values())
def test_workers_end_with_their_parent(reproduction, name, moment):
    """While they still import, and while each of them has started a process itself."""
    process, living = reproduction
    count = {"start": lambda: len(workers(living(), process)) == 2, "work": lambda: len(grandchildren(living)) == 2}
    wait_for(count[moment], 120, "two workers")
    process.send_signal(getattr(signal, name))
    wait_for(lambda: not living(), 2, "no process is left")
    assert process.wait() == {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143, "SIGINT": 130}[name]
    assert "Traceback" not in process.stderr.read()


def grandchildren(living):
    return [p for p in living() if "time.sleep(600)" in " ".join(p.cmdline())]
