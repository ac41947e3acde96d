"""Time an evaluation of the bundled prior beside plain eager PyTorch: `python benchmarks/engine.py`.

One evaluation is one Langevin step of the paper's method for a batch of pairs. The plain one has the same weights in
NCHW and float32, one call a source, the likelihood's gradient by autograd, and the graph that comes with parameters
that require gradients. Every configuration runs in a process of its own; they take turns.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from step import MATRIX, cost, elsewhere, machine_facts, numbers, peak, resident, table
from turns import LibraryStep, take_turns

import basis
from basis.nn.by_level import ByLevel
from basis.nn.unet import RESIDUAL, SILU_GAIN
from basis.priors.edm import EDM

DELTA, SIGMA, SIGMA_MIN = 2e-5, 0.3, 0.01
ETA = DELTA * (SIGMA / SIGMA_MIN) ** 2
PLAIN = "plain eager"
KINDS = (PLAIN, "basis", "basis compiled", "basis bf16", "basis bf16 compiled")
SECONDS = 1.0  # length of a repetition


class PlainNetwork:
    """The U-Net of `basis.nn.unet` as one would write it down, with its weights in NCHW."""

    def __init__(self, prior: EDM) -> None:
        network = prior.network.networks[0] if isinstance(prior.network, ByLevel) else prior.network  # that of SIGMA
        self.prior, self.heads = prior, network.down[-1][0].attention.heads
        self.margin, self.patch, self.depth = network.margin, network.patch, len(network.down)
        self.blocks = [len(stage) for stage in network.down]
        self.w = {key: value.contiguous().requires_grad_() for key, value in network.state_dict().items()}

    def score(self, x: torch.Tensor) -> torch.Tensor:
        total = math.hypot(SIGMA, self.prior.std)
        y = x - self.prior.mean
        denoised = SIGMA * self.prior.std / total * self.network(y / total)
        return (denoised - y * SIGMA**2 / total**2) / SIGMA**2

    def network(self, x: torch.Tensor) -> torch.Tensor:
        level = torch.full((len(x), 1), math.log(SIGMA) / 4)
        waves = math.sqrt(2) * torch.cos(2 * math.pi * (level * self.w["frequencies"] + self.w["phases"]))
        embedding = silu(F.linear(waves, self.w["embed.weight"]))
        x = F.pad(torch.cat([x, torch.ones_like(x[:, :1])], 1), self.margin)
        x = self.conv("enter", F.pixel_unshuffle(x, self.patch)) + self.w["places.0"]
        skips = []
        for i in range(self.depth):
            if i:
                skips.append(x)
                x = self.conv(f"coarser.{i - 1}", F.avg_pool2d(x, 2) * 2) + self.w[f"places.{i}"]
            for j in range(self.blocks[i]):
                skips.append(x)
                x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4)
                x = self.block(f"down.{i}.{j}", x, embedding)
        for i in reversed(range(self.depth)):
            for j in range(self.blocks[i]):
                x = blend(self.block(f"up.{i}.{j}", x, embedding), skips.pop(), 0.5)
            if i:
                x = blend(F.interpolate(self.conv(f"finer.{i - 1}", x), scale_factor=2.0), skips.pop(), 0.5)
        x = F.pixel_shuffle(self.conv("leave", silu(x)) * self.w["gain"], self.patch)
        return F.pad(x, [-side for side in self.margin])

    def conv(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight = self.w[f"{name}.weight"]
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def block(self, name: str, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale = 1 + self.w[f"{name}.gain"] * F.linear(embedding, self.w[f"{name}.modulate.weight"])
        y = self.conv(f"{name}.conv1", silu(x)) * scale[:, :, None, None]
        x = blend(x, self.conv(f"{name}.conv2", silu(y)), RESIDUAL)
        return self.attention(f"{name}.attention", x) if f"{name}.attention.qkv.weight" in self.w else x

    def attention(self, name: str, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        qkv = self.conv(f"{name}.qkv", x).reshape(b, 3, self.heads, c // self.heads, h * w)
        q, k, v = (qkv * torch.rsqrt(qkv.square().mean(3, keepdim=True) + 1e-4)).unbind(1)
        similarity = torch.softmax(k.transpose(-1, -2) @ q / math.sqrt(q.shape[-2]), -2)
        return blend(x, self.conv(f"{name}.out", (v @ similarity).reshape(b, c, h, w)), RESIDUAL)


def silu(x: torch.Tensor) -> torch.Tensor:
    return F.silu(x) * SILU_GAIN


def blend(a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
    return ((1 - t) * a + t * b) / math.hypot(1 - t, t)


class Plain:
    """One step as one would write it down."""

    def __init__(self, prior: EDM, mixture: torch.Tensor) -> None:
        self.network, self.mixture = PlainNetwork(prior), mixture
        x = torch.rand(2, *prior.shape)
        torch.testing.assert_close(self.network.score(x), prior.score(x, SIGMA), rtol=1e-3, atol=1e-3)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        xs = [part.detach().requires_grad_() for part in x.unbind(1)]
        scores = [self.network.score(part) for part in xs]
        gradients = torch.autograd.grad((self.mixture - sum(xs)).square().sum() / 2, xs)
        with torch.no_grad():
            moved = [
                part + ETA * (score - gradient / SIGMA**2) + math.sqrt(2 * ETA) * torch.randn_like(part)
                for part, score, gradient in zip(xs, scores, gradients, strict=True)
            ]
        return torch.stack(moved, 1)


class Runner:
    """One configuration in a process of its own."""

    def __init__(self, kind: str, source: str, batch: int, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        prior = basis.load_prior(source)
        assert isinstance(prior, EDM), "the plain network is that of an EDM prior"
        mixture = torch.rand(batch, *prior.shape)
        self.step = Plain(prior, mixture) if kind == PLAIN else LibraryStep(prior, mixture, kind, 1.0, DELTA, SIGMA)
        self.x = torch.rand(batch, 2, *prior.shape)
        for _ in range(3):
            self.x = self.step(self.x)

    def __call__(self) -> tuple[float, float]:
        """Take steps for a second; return the seconds of one and the process's largest memory so far in MiB."""
        begin, steps = perf_counter(), 0
        while perf_counter() - begin < SECONDS:
            self.x = self.step(self.x)
            steps += 1
        return (perf_counter() - begin) / steps, resident()


def measure(
    source: str, batch: int, kinds: list[str], threads: int, repetitions: int
) -> dict[str, tuple[float, float]]:
    """Return the median seconds of a step, and the memory, of each kind; the kinds take turns."""
    found = take_turns(Runner, {kind: (kind, source, batch, threads) for kind in kinds}, repetitions)
    return {kind: (statistics.median(time for time, _ in runs), runs[-1][1]) for kind, runs in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", default="mnist", help="bundled name, folder or file of an EDM prior")
    parser.add_argument("--batches", type=numbers, default="1,8,64", help="pairs at a time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args()
    info, rows = machine_facts(args.threads), []
    print(" · ".join(f"{key} {value}" for key, value in info.items()), flush=True)
    top, flops = elsewhere(peak, args.threads), elsewhere(cost, args.prior)
    print(f"peak {top:.0f} GFLOP/s (float32 product of {MATRIX}×{MATRIX} matrices); {flops / 1e6:.0f} MFLOP an image")
    for batch in args.batches:
        found = measure(args.prior, batch, args.kinds.split(","), args.threads, args.repetitions)
        first = next(iter(found.values()))[0]
        for kind, (seconds, memory) in found.items():
            speed = 2 * batch * flops / seconds / 1e9
            rows.append(
                {"pairs": batch, "": kind, "ms/evaluation": 1e3 * seconds, "times faster": first / seconds}
                | {"GFLOP/s": speed, "% of float32 peak": 100 * speed / top, "MiB": memory}
            )
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"machine": info, "peak": top, "flops": flops, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
