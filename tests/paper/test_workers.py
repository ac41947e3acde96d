"""Several processes separate what one would."""

import multiprocessing
from dataclasses import replace

import pytest
import torch

import basis
from basis.paper import workers as working
from basis.paper.run import reproduce
from basis.paper.setup import Setup
from basis.paper.store import Store
from paper.shared import AVERAGE, RARE, finish

DEADLY = '''
import multiprocessing
import os

import basis


class Deadly(basis.Average):
    """The average, but in no process that another one has started."""

    def stream(self, problem, noise):
        if multiprocessing.parent_process():
            os._exit(1)
        return super().stream(problem, noise)
'''


def test_workers_find_what_one_process_finds(separated, tmp_path):
    blind, lost = replace(AVERAGE, method="blind"), replace(AVERAGE, method=str(tmp_path / "lost.py"))
    wanted = [(AVERAGE, 5), (blind, 3), (AVERAGE, 4), (lost, 2)]
    alone, together = (Store(tmp_path / name, Setup(batch_size=2)) for name in ("alone", "together"))
    for job in (AVERAGE, blind):
        list(alone.compute(job, 5 if job is AVERAGE else 3))
    separated.clear()
    *_, last = working.compute(together, wanted, workers=2)
    assert not separated  # here, that is
    assert (last.done, last.total) == (500, 600)  # six parts, one of which cannot be done
    for job, n in ((AVERAGE, 5), (blind, 3)):
        assert not together.missing(job, n)
        assert torch.equal(together.figures(job, n, "psnr"), alone.figures(job, n, "psnr"))
        assert torch.equal(together.first(job, n), alone.first(job, n))
    assert "lost.py" in together.setup.lacking(lost)
    assert list(working.compute(together, wanted[:3], workers=2)) == []


def test_at_least_one_worker(tmp_path):
    with pytest.raises(basis.UsageError, match="at least 1 worker, got 0"):
        finish(reproduce(["table1"], Setup(n=1), tmp_path, workers=0))


def test_workers_that_are_stopped_end(tmp_path):
    (tmp_path / "rare.py").write_text(RARE.replace("yield", "time.sleep(5); yield"))
    store = Store(tmp_path / "out", Setup(batch_size=1))
    run = working.compute(store, [(replace(AVERAGE, method=str(tmp_path / "rare.py")), 20)], workers=2)
    before = set(multiprocessing.active_children())
    next(run)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    run.close()
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()


def test_a_worker_that_dies_leaves_its_work_to_others(tiny, tmp_path):
    file = tmp_path / "deadly.py"
    file.write_text(DEADLY)
    out = finish(reproduce([tiny], Setup(n=3, methods={"Sides": str(file)}), tmp_path / "out", workers=2))
    figures = {cell.row: cell.measured for cell in out.outcomes[tiny].cells}
    assert figures["Average"] is not None
    assert figures["Sides"] is not None
