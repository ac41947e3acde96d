"""No process outlives the command that started it, however that one ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

import plugin

psutil = pytest.importorskip("psutil", reason="finding processes needs psutil")
pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")

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
    plugin.install(tmp_path)
    places = [str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places)), MARK: str(tmp_path)}
    command = ["reproduce", "tiny", "--method", "Row=endless", "--workers", "2", "--n", "4", "--batch-size", "1"]
    command += ["--out", tmp_path / "out"]
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
    wait_for(count[moment], 300, "two workers")
    process.send_signal(getattr(signal, name))
    code = process.wait(60)
    wait_for(lambda: not living(), 2, "no process is left")
    assert code == {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143, "SIGINT": 130}[name]
    assert "Traceback" not in process.stderr.read()


def grandchildren(living):
    return [p for p in living() if "time.sleep(600)" in " ".join(p.cmdline())]
