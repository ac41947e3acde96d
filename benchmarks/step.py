"""Time a Langevin step of the paper's method beside the measured peak of the machine: `python benchmarks/step.py`."""

from __future__ import annotations

import argparse
import datetime
import functools
import hashlib
import json
import multiprocessing
import os
import platform
import resource
import shlex
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch.utils.flop_counter import FlopCounterMode

import basis
from basis.core.noise import Noise
from basis.io.checkpoint import locate

BATCH = 16  # mixtures a batch in the table over K
MATRIX = 2048  # side of the matrices whose product measures the peak
SECONDS = 0.3  # length of a repetition
LONGEST = 40  # steps in a repetition: warm-up and repetitions have to fit in the method's 1,000 steps
REPETITIONS = 20  # at most, for the same reason
WARMUP = 3  # steps before timing, and before choosing the length of a repetition
MEBI = 2**20
SPAWN = multiprocessing.get_context("spawn")


class Stopwatch:
    """Adds up the time between `start` and `stop`, which fit as hooks around a module's forward."""

    def __init__(self) -> None:
        self.total = 0.0

    def start(self, *_) -> None:
        self.begin = perf_counter()

    def stop(self, *_) -> None:
        self.total += perf_counter() - self.begin

    def around(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def timed(*args):
            self.start()
            result = function(*args)
            self.stop()
            return result

        return timed


@dataclass(frozen=True)
class Repetition:
    """One timing: milliseconds a step, of which in the network and drawing noise; memory in MiB."""

    step: float
    network: float
    noise: float
    peak: float
    increase: float


class Bench:
    """A separation under way in a process of its own, timed a few steps at a time."""

    def __init__(self, source: str, threads: int, batch: int, sources: int) -> None:
        torch.set_num_threads(threads)
        prior = basis.load_prior(source)
        self.loaded = resident()
        self.network, self.noise = Stopwatch(), Stopwatch()
        prior.network.register_forward_pre_hook(self.network.start)
        prior.network.register_forward_hook(self.network.stop)
        Noise.normal = self.noise.around(Noise.normal)
        mixing = basis.WeightedSum([1.0] * sources)
        mixture = mixing(torch.rand(batch, sources, *prior.shape, generator=torch.Generator().manual_seed(0)))
        self.run = basis.stream(mixture, prior, mixing)
        self.advance(WARMUP)
        self.steps = max(1, min(LONGEST, round(SECONDS / self.advance(WARMUP))))

    def advance(self, steps: int) -> float:
        """Take steps and return the seconds that one took."""
        begin = perf_counter()
        for _ in range(steps):
            next(self.run)
        return (perf_counter() - begin) / steps

    def repeat(self) -> Repetition:
        self.network.total = self.noise.total = 0.0
        step = self.advance(self.steps)
        parts = (1e3 * watch.total / self.steps for watch in (self.network, self.noise))
        return Repetition(1e3 * step, *parts, resident(), resident() - self.loaded)


def resident() -> float:
    """Return this process's largest resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEBI


bench = functools.cache(Bench)  # one a worker process


def repeat(*configuration) -> Repetition:
    return bench(*configuration).repeat()


def peak(threads: int) -> float:
    """Return the GFLOP/s of a large float32 matrix product, the best of several."""
    torch.set_num_threads(threads)
    a, b = torch.randn(2, MATRIX, MATRIX)
    best = float("inf")
    for _ in range(5):
        begin = perf_counter()
        torch.mm(a, b)
        best = min(best, perf_counter() - begin)
    return 2e-9 * MATRIX**3 / best


def cost(source: str) -> float:
    """Return the FLOPs of the network for one image (matrix products and convolutions; a multiply-add is two)."""
    prior = basis.load_prior(source)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        prior.score(torch.rand(1, *prior.shape), 0.1)
    return float(counter.get_total_flops())


def steps_of_method(source: str) -> int:
    """Return how many steps the method takes at its defaults: the paper's settings."""
    prior = basis.load_prior(source)
    return next(basis.stream(torch.zeros(1, *prior.shape), prior, basis.WeightedSum([1.0, 1.0]))).steps


def elsewhere(function: Callable, *args):
    """Return ``function(*args)`` of a fresh process: Linux hands this one's largest memory on to those it starts."""
    with ProcessPoolExecutor(1, SPAWN) as pool:
        return pool.submit(function, *args).result()


def measure(source: str, threads: int, shapes: list[tuple[int, int]], repetitions: int) -> tuple[float, dict]:
    """Return the peak and each shape's repetitions, taken in turn; each shape has a fresh process of its own."""
    pools = {shape: ProcessPoolExecutor(1, SPAWN) for shape in [None, *shapes]}
    peaks, timings = [], {shape: [] for shape in shapes}
    for _ in range(repetitions):
        peaks.append(pools[None].submit(peak, threads).result())
        for shape in shapes:
            timings[shape].append(pools[shape].submit(repeat, source, threads, *shape).result())
    for pool in pools.values():
        pool.shutdown()
    return max(peaks), timings


def summarise(shape: tuple[int, int], timings: list[Repetition], flops: float, top: float, steps: int) -> dict:
    """Return one row of a table: medians over the repetitions."""
    batch, sources = shape
    step = statistics.median(t.step for t in timings)
    speed = statistics.median(batch * sources * flops / t.network / 1e6 for t in timings)
    return {
        "batch": batch,
        "K": sources,
        "ms/step": step,
        "fastest": min(t.step for t in timings),
        "s/mixture": step * steps / batch / 1e3,
        "network %": statistics.median(100 * t.network / t.step for t in timings),
        "noise %": statistics.median(100 * t.noise / t.step for t in timings),
        "GFLOP/s": speed,
        "% of peak": 100 * speed / top,
        "MiB": max(t.peak for t in timings),
        "+MiB": max(t.increase for t in timings),
    }


def machine_facts(threads: int) -> dict:
    """Return what a figure is worth nothing without."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", *sys.argv]),
    }


def table(rows: list[dict]) -> str:
    """Return rows as a Markdown table, numbers with three significant digits."""

    def cell(value: float | str) -> str:
        return f"{value}" if isinstance(value, int | str) else f"{value:.0f}" if value >= 100 else f"{value:.3g}"

    lines = [list(rows[0]), ["--------:"] * len(rows[0]), *([cell(v) for v in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(f"{text:>9}" for text in line) + " |" for line in lines)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="mnist", help="bundled name, folder or file; a prior with a network")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--batches", type=numbers, default="1,8,32,64", help="batch sizes of the first table")
    parser.add_argument("--sources", type=int, default=2, help="K in the first table")
    parser.add_argument("--counts", type=numbers, default="1,2,4,8", help=f"K in the second table, at batch {BATCH}")
    parser.add_argument("--repetitions", type=int, default=9, help=f"medians are over these, at most {REPETITIONS}")
    args = parser.parse_args()
    if not 1 <= args.repetitions <= REPETITIONS:
        parser.error(f"--repetitions must be from 1 to {REPETITIONS}: a separation has no more steps to time")
    return args


def main() -> None:
    args = arguments()
    weights = hashlib.sha256(locate(args.prior).read_bytes()).hexdigest()[:12]
    info = machine_facts(args.threads) | {"prior": weights}
    flops, steps = elsewhere(cost, args.prior), elsewhere(steps_of_method, args.prior)
    first = [(batch, args.sources) for batch in args.batches]
    second = [(BATCH, count) for count in args.counts]
    top, timings = measure(args.prior, args.threads, list(dict.fromkeys(first + second)), args.repetitions)
    rows = {shape: summarise(shape, timings[shape], flops, top, steps) for shape in timings}
    print(" · ".join(f"{key} {value}" for key, value in info.items()))
    print(f"peak {top:.1f} GFLOP/s (float32 product of {MATRIX}×{MATRIX} matrices, the best)")
    print(f"network {flops / 1e6:.1f} MFLOP an image · {steps} steps a separation · {args.repetitions} repetitions\n")
    print(table([rows[shape] for shape in first]), table([rows[shape] for shape in second]), sep="\n\n")
    if args.json:
        result = {"machine": info, "peak": top, "flops": flops, "steps": steps, "rows": list(rows.values())}
        result["timings"] = [[*shape, *map(asdict, timings[shape])] for shape in timings]
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
