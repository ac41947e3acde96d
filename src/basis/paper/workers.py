"""Separations by several processes at once, each of which keeps what it has finished in the store."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import torch

from basis.core.errors import BasisError
from basis.paper.job import Job
from basis.paper.setup import Setup
from basis.paper.store import Progress, Store
from basis.runs import orphans

TITLE = "separations"
LOOK = 0.5  # seconds between two looks at how far the workers are
PERCENT = 100
SPAWN = multiprocessing.get_context("spawn")


def compute(store: Store, wanted: Sequence[tuple[Job, int]], workers: int) -> Iterator[Progress]:
    """Separate what is not in the store yet, a batch at a time by each of some processes; yield the progress.

    The cores are shared among them: small networks on a CPU gain more from processes than from threads. A job that
    cannot be done is noted in the setup, as a table says it; what a process that died has left is not noted, and is
    computed by the experiment that asks for it.

    Args:
        store: where finished mixtures lie.
        wanted: jobs with their numbers of mixtures, as `Experiment.jobs` has them.
        workers: number of processes.
    """
    parts = [(job, part) for job, n in store.once(wanted) for part in store.missing(job, n)]
    if not parts:
        return
    others = set(multiprocessing.active_children())
    shares: dict[int, int] = {}
    news = SPAWN.Queue()
    threads = max(1, torch.get_num_threads() // workers)
    pool = ProcessPoolExecutor(workers, SPAWN, _begin, (store.folder, replace(store.setup), threads, news))
    try:
        with orphans.workers_start():
            waiting: dict[Future, int] = {pool.submit(_separate, i, *entry): i for i, entry in enumerate(parts)}
        while waiting:
            done, _ = wait(waiting, LOOK, FIRST_COMPLETED)
            _drain(news, shares)
            for future in done:
                number = waiting.pop(future)
                try:
                    future.result()
                    shares[number] = PERCENT  # its last news may still be on their way
                except BasisError as error:
                    store.setup.fail(parts[number][0], error)
            yield Progress(TITLE, sum(shares.values()), PERCENT * len(parts))
    except BrokenProcessPool:
        pass
    except BaseException:  # stopped half-way: nobody waits for them
        for child in set(multiprocessing.active_children()) - others:
            orphans.end(child)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _drain(news: multiprocessing.Queue, shares: dict[int, int]) -> None:
    """Note the news of each part, in percent; news that come after the end of a part change nothing."""
    while True:
        try:
            number, percent = news.get_nowait()
        except queue.Empty:
            return
        shares[number] = max(percent, shares.get(number, 0))


_store: Store
_news: multiprocessing.Queue


def _begin(folder: Path, setup: Setup, threads: int, news: multiprocessing.Queue) -> None:
    """Make this process a worker."""
    global _store, _news
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(threads)
    _store, _news = Store(folder, setup), news


def _separate(number: int, job: Job, part: range) -> None:
    """Do one part in a worker, and tell when another hundredth of it is done."""
    told = 0
    for state in _store.separate(job, part):
        if (percent := PERCENT * state.step // state.steps) > told:
            told = percent
            _news.put((number, told))
