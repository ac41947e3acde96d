"""What a reproduction will cost, before it begins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from basis.api import stream
from basis.core.errors import BasisError
from basis.paper.job import Job
from basis.paper.setup import FLAT
from basis.paper.store import Store

PROBE = 4  # steps that are taken to time them; the first one, which warms up, does not count


@dataclass(frozen=True)
class Cost:
    """The cost of one job.

    Attributes:
        job: what is separated.
        mixtures: how many it is asked for.
        left: how many are not there yet.
        evaluations: of the prior, for what is left: steps times images; 0 for methods that ask no prior.
        seconds: expected time for what is left.
    """

    job: Job
    mixtures: int
    left: int
    evaluations: int
    seconds: float


def plan(store: Store, wanted: Sequence[tuple[Job, int]]) -> list[Cost]:
    """Return the cost of each job, jobs that several experiments share once; times the first steps of each.

    Args:
        store: where finished mixtures lie.
        wanted: jobs with their numbers of mixtures.
    """
    found = []
    for job, n in store.once(wanted):
        try:
            found.append(cost(store, job, n))
        except BasisError as error:  # the report says so
            store.setup.fail(job, error)
    return found


def cost(store: Store, job: Job, n: int) -> Cost:
    """Return the cost of one job, from the time that its first steps take on the first batch that is left."""
    todo = store.missing(job, n)
    left = sum(map(len, todo))
    if not todo:
        return Cost(job, n, 0, 0, 0.0)
    setup = store.setup
    drawn = job.draw(setup.data(job.data), setup.seed, todo[0])
    run = stream(
        drawn.mixture.to(setup.device),
        setup.prior(job),
        job.mixing,
        setup.method(job),
        seed=setup.seed,
        samples=job.samples,
        index=todo[0],
        assess=False,
    )
    marks, steps, rows = [(0, time.monotonic())], 0, 0
    for state in islice(run, PROBE):
        marks.append((state.step, time.monotonic()))  # some show every fiftieth step
        steps, rows = state.steps, len(state.x)  # several rows a mixture where it draws several samples at once
    (first, begin), (last, end) = marks[1 if len(marks) > 2 else 0], marks[-1]
    each = (end - begin) / max(last - first, 1) / len(todo[0])
    images = 0 if job.prior == FLAT else job.images * rows // len(todo[0])
    return Cost(job, n, left, left * steps * images, left * steps * each)


def in_words(seconds: float) -> str:
    """Return a time as a reader would say it.

    Example:
        >>> in_words(0.3), in_words(75), in_words(9000)
        ('under 1 s', '1 min 15 s', '2 h 30 min')
    """
    if seconds < 1:
        return "under 1 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
