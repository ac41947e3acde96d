"""Worker processes that end with the process that started them, however it ends.

A worker looks at its parent from its first import on, before torch is there: that import alone takes seconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

PARENT = "BASIS_PARENT"  # environment variable: process id of the parent of a worker
LOOK = 0.25  # seconds between two looks at the parent
STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def workers_start() -> Iterator[None]:
    """Inside of it, processes that are started, and import basis, end with this one.

    Signals that stop this process are held back meanwhile: a worker that is half started could not be ended.
    """
    os.environ[PARENT] = str(os.getpid())
    try:
        with _held_back():
            yield
    finally:
        del os.environ[PARENT]


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    caught: list[int] = []
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in caught:
            signal.raise_signal(number)


def end_with_parent() -> None:
    """In a worker: start to watch the parent. The worker leads a group, so that what it starts ends with it."""
    parent = os.environ.pop(PARENT, None)
    if parent is not None and hasattr(os, "killpg"):
        os.setpgid(0, 0)
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.killpg(0, signal.SIGKILL)


def end(worker: BaseProcess) -> None:
    """End a worker, and what it has started, at once."""
    if hasattr(os, "killpg") and worker.pid is not None:
        with contextlib.suppress(ProcessLookupError):  # it has not come so far as to lead a group
            os.killpg(worker.pid, signal.SIGKILL)
    worker.kill()


end_with_parent()
