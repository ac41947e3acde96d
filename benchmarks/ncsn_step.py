"""Time a Langevin step with an NCSN beside the straightforward loop: `python benchmarks/ncsn_step.py`.

The straightforward loop has the same weights. It is the reference of the tests (plain PyTorch, NCHW, float32), with one
call a source, the likelihood's gradient by autograd and the graph that comes with parameters that require gradients.
Weights are random: speed does not depend on them. Every configuration runs in a process of its own; they take turns.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path
from time import perf_counter

import torch
from step import machine_facts, resident, table
from turns import LibraryStep, take_turns

from basis.priors.ncsn import NCSN

SIZES = {"mnist": ((1, 28, 28), 64), "cifar10": ((3, 32, 32), 128)}  # as published
DELTA, SIGMA, SIGMA_MIN, LABEL = 3e-5, 0.1291549665014884, 0.01, 4
KINDS = ("straightforward", "basis", "basis bf16", "basis bf16 compiled")


class Straightforward:
    """One step of the released form for MNIST, as one would write it down."""

    def __init__(self, prior: NCSN, mixture: torch.Tensor) -> None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from reference_ncsn import Reference

        state = {key: value.contiguous().requires_grad_() for key, value in prior.network.state_dict().items()}
        self.score, self.mixture = Reference(state), mixture

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        eta = DELTA * (SIGMA / SIGMA_MIN) ** 2
        label = torch.tensor([LABEL], device=x.device)
        xs = [part.detach().requires_grad_() for part in x.unbind(1)]
        scores = [self.score(part, label) for part in xs]
        error = (self.mixture - sum(xs)).square().sum()
        gradients = torch.autograd.grad(error, xs)
        with torch.no_grad():
            moved = [
                part + eta * (score - gradient / SIGMA**2) + math.sqrt(2 * eta) * torch.randn_like(part)
                for part, score, gradient in zip(xs, scores, gradients, strict=True)
            ]
        return torch.stack(moved, 1)


class Runner:
    """One configuration in a process of its own."""

    def __init__(self, kind: str, size: str, batch: int, threads: int, device: str) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        shape, width = SIZES[size]
        prior = NCSN(shape, width).to(device)
        self.device = device
        mixture = torch.rand(batch, *shape, device=device)
        self.step = (
            Straightforward(prior, mixture)
            if kind == KINDS[0]
            else LibraryStep(prior, mixture, kind, math.sqrt(0.5), DELTA, SIGMA)
        )
        self.x = torch.rand(batch, 2, *shape, device=device)
        self()

    def __call__(self) -> tuple[float, float]:
        """Take a step; return its seconds and the process's largest memory so far in MiB."""
        begin = perf_counter()
        self.x = self.step(self.x)
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)
        return perf_counter() - begin, resident()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="mnist", help="published size of network and images")
    parser.add_argument("--batch", type=int, default=64, help="pairs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kinds", default=",".join(KINDS[:3]), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args()
    kinds = args.kinds.split(",")
    info = machine_facts(args.threads) | {"device": args.device, "size": args.size, "pairs": args.batch}
    timings = take_turns(
        Runner, {kind: (kind, args.size, args.batch, args.threads, args.device) for kind in kinds}, args.repetitions
    )
    seconds = {kind: statistics.median(time for time, _ in runs) for kind, runs in timings.items()}
    rows = [
        {"": kind, "s/step": seconds[kind], "ratio": seconds[kinds[0]] / seconds[kind], "MiB": timings[kind][-1][1]}
        for kind in kinds
    ]
    print(" · ".join(f"{key} {value}" for key, value in info.items()))
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"machine": info, "rows": rows, "timings": timings}, indent=2) + "\n")


if __name__ == "__main__":
    main()
