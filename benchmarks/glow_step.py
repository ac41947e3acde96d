"""Time the gradient of a Glow's log-likelihood beside the straightforward way: `python benchmarks/glow_step.py`.

The straightforward flow has the same weights. It computes each layer as it is described, one after another (NCHW,
float32): the border channel concatenated to every 3×3 convolution's input, actnorms by themselves, log-determinants of
the 1×1 convolutions at every call, one call a source, parameters that require gradients. Weights are random: speed does
not depend on them. Every configuration runs in a process of its own; they take turns.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from step import SPAWN, machine_facts, resident, table
from torch import Tensor

import basis
from basis.priors.glow import Glow

SIZES = {  # the one planned for digits, and the published ones
    "mnist": {"shape": (1, 28, 28), "scales": 2, "depth": 16, "width": 128},
    "cifar10": {"shape": (3, 32, 32), "scales": 3, "depth": 32, "width": 512},
}
SIGMA = 0.1
KINDS = ("straightforward", "basis")


class Straightforward:
    """The score by the flow as one would write it down."""

    def __init__(self, prior: Glow) -> None:
        self.network = prior.networks[0]

    def score(self, x: Tensor) -> Tensor:
        """Return ∇ log p of a stack (B, K, C, H, W), source by source."""
        parts = []
        for part in x.unbind(1):
            leaf = part.detach().requires_grad_()
            parts.append(torch.autograd.grad(self.log_prob(leaf - 0.5).sum(), leaf)[0])
        return torch.stack(parts, 1)

    def log_prob(self, x: Tensor) -> Tensor:
        network, total = self.network, torch.zeros(len(x))
        for scale, steps in enumerate(network.steps):
            x = F.pixel_unshuffle(x, 2)
            for step in steps:
                x, log_det = self.step(x, step)
                total = total + log_det
            if scale < len(network.splits):
                x, z = x.chunk(2, 1)
                h = self.zero(x, network.splits[scale])
                mean, log_sd = h[:, 0::2], h[:, 1::2]
            else:
                z = x
                mean, log_sd = self.zero(x[:, :0], network.top.conv).chunk(2, 1)
            normal = -0.5 * (math.log(2 * math.pi) + 2 * log_sd + (z - mean) ** 2 / torch.exp(2 * log_sd))
            total = total + normal.sum((1, 2, 3))
        return total

    def step(self, x: Tensor, step) -> tuple[Tensor, Tensor]:
        x = self.actnorm(x, step.norm)
        x = F.conv2d(x, step.mix.W.T[:, :, None, None])
        log_det = x.shape[2] * x.shape[3] * (3 * step.norm.logs.sum() + torch.linalg.slogdet(step.mix.W)[1])
        z1, z2 = x.chunk(2, 1)
        h = F.relu(self.actnorm(self.conv(z1, step.l_1.weight), step.l_1.norm))
        h = F.relu(self.actnorm(F.conv2d(h, step.l_2.weight), step.l_2.norm))
        h = self.zero(h, step.l_last)
        scale = torch.sigmoid(h[:, 1::2] + 2)
        return torch.cat([z1, (z2 + h[:, 0::2]) * scale], 1), log_det + torch.log(scale).sum((1, 2, 3))

    def zero(self, x: Tensor, layer) -> Tensor:
        return (self.conv(x, layer.weight) + layer.b[:, None, None]) * torch.exp(3 * layer.logs)[:, None, None]

    @staticmethod
    def actnorm(x: Tensor, norm) -> Tensor:
        return (x + norm.b[:, None, None]) * torch.exp(3 * norm.logs)[:, None, None]

    @staticmethod
    def conv(x: Tensor, weight: Tensor) -> Tensor:
        edge = F.pad(
            torch.zeros_like(x[:, :1]) if x.shape[1] else x.new_zeros(len(x), 1, *x.shape[2:]), (1,) * 4, value=1
        )
        return F.conv2d(torch.cat([F.pad(x, (1,) * 4), edge], 1), weight)


class Ours:
    """The score as the library computes it."""

    def __init__(self, prior: Glow) -> None:
        self.prior = basis.Product([prior.eval().requires_grad_(False)] * 2)

    def score(self, x: Tensor) -> Tensor:
        return self.prior.score(x, SIGMA)


class Runner:
    """One configuration in a process of its own."""

    def __init__(self, kind: str, size: str, batch: int, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        prior = Glow(**SIZES[size], levels=[SIGMA])
        prior.initialise(torch.rand(8, *SIZES[size]["shape"]), SIGMA)
        self.call = Straightforward(prior) if kind == "straightforward" else Ours(prior)
        self.x = torch.rand(batch, 2, *SIZES[size]["shape"], generator=torch.Generator().manual_seed(1))
        self.call.score(self.x)

    def repeat(self, steps: int) -> tuple[float, float]:
        """Return milliseconds a gradient, and the process's largest memory in MiB."""
        begin = perf_counter()
        for _ in range(steps):
            self.call.score(self.x)
        return 1e3 * (perf_counter() - begin) / steps, resident()

    def result(self) -> Tensor:
        return self.call.score(self.x)


def repeat(*configuration) -> tuple[float, float]:
    """Time the runner of this process; the last argument is the number of gradients."""
    return _runner(*configuration[:-1]).repeat(configuration[-1])


def result(*configuration) -> Tensor:
    return _runner(*configuration).result()


def _runner(*configuration) -> Runner:
    if not hasattr(_runner, "kept"):
        _runner.kept = Runner(*configuration)  # type: ignore[attr-defined]
    return _runner.kept  # type: ignore[attr-defined]


def measure(size: str, batch: int, threads: int, repetitions: int, steps: int) -> list[dict]:
    """Return a row for each kind: medians over repetitions that take turns."""
    pools = {kind: ProcessPoolExecutor(1, SPAWN) for kind in KINDS}
    scores = [pools[kind].submit(result, kind, size, batch, threads).result() for kind in KINDS]
    error = ((scores[0] - scores[1]).norm() / scores[0].norm()).item()
    timings: dict[str, list] = {kind: [] for kind in KINDS}
    for _ in range(repetitions):
        for kind in KINDS:
            timings[kind].append(pools[kind].submit(repeat, kind, size, batch, threads, steps).result())
    for pool in pools.values():
        pool.shutdown()
    base = [time for time, _ in timings[KINDS[0]]]
    rows = []
    for kind in KINDS:
        times = [time for time, _ in timings[kind]]
        rows.append(
            {
                "": kind,
                "ms/gradient": statistics.median(times),
                "fastest": min(times),
                "times faster": statistics.median(a / b for a, b in zip(base, times, strict=True)),
                "MiB": max(memory for _, memory in timings[kind]),
                "difference": error,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="mnist")
    parser.add_argument("--batch", type=int, default=16, help="mixtures of two sources")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3, help="gradients in a repetition")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args()
    info = machine_facts(args.threads)
    rows = measure(args.size, args.batch, args.threads, args.repetitions, args.steps)
    print(" · ".join(f"{key} {value}" for key, value in info.items()))
    print(f"Glow of size {args.size}, {SIZES[args.size]}, {args.batch} mixtures of two sources\n")
    print(table(rows))
    if args.json:
        facts = {"machine": info, "size": args.size, "batch": args.batch, "rows": rows}
        args.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
