"""`basis make-mixtures` and `basis evaluate`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from basis import mixtures as mix
from basis.api import stream
from basis.cli import options as cli
from basis.core.checkpoint import write_atomically
from basis.core.dataset import DATASETS
from basis.core.errors import DataError
from basis.files.write import versions
from basis.metrics.psnr import psnr
from basis.mixings.weighted_sum import WeightedSum

SplitOption = Annotated[str, typer.Option("--split", help="train, validation (for tuning) or test.")]
TaskOption = Annotated[str, typer.Option("--task", help="agnostic: any labels; split: one group of labels a source.")]
CountOption = Annotated[int, typer.Option("--n", help="Number of mixtures.")]
DataArgument = Annotated[str, typer.Argument(help="Data set, see `basis list`.")]
ENOUGH = (1 / 255) ** 2  # quantisation level of 8-bit images, squared


def make_mixtures(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("mixtures"),
    task: TaskOption = "agnostic",
    sources: cli.SourcesOption = None,
    weights: cli.WeightsOption = None,
    n: CountOption = 100,
    split: SplitOption = "test",
    seed: cli.SeedOption = 0,
    data_dir: cli.DataDirOption = None,
) -> None:
    """Mix images of a data set; write the mixtures with their true sources."""
    mixing = cli.mixing(sources, weights)
    loaded = DATASETS.get(data)(data_dir)
    drawn = mix.draw_mixtures(loaded, split, task, mixing.sources, n, seed, mixing.alphas)
    mix.save_mixtures(drawn, out)
    typer.echo(f"{n} mixtures of {mixing.sources} sources in {out}")


def evaluate(
    data: Annotated[str, typer.Argument(help="Data set, or a folder that `basis make-mixtures` wrote.")],
    prior: cli.PriorOption = "mnist",
    method: cli.MethodOption = "basis",
    task: TaskOption = "agnostic",
    sources: cli.SourcesOption = None,
    weights: cli.WeightsOption = None,
    n: CountOption = 100,
    split: SplitOption = "test",
    steps: cli.StepsOption = None,
    levels: cli.LevelsOption = None,
    set_: cli.SetOption = None,
    samples: cli.SamplesOption = 1,
    seed: cli.SeedOption = 0,
    batch_size: cli.BatchOption = 50,
    device: cli.DeviceOption = "cpu",
    data_dir: cli.DataDirOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for all figures.")] = None,
) -> None:
    """Measure the PSNR of separations against the truth (the protocol of Table 2)."""
    if Path(data).is_dir():
        problem = mix.load_mixtures(data)
        if n < len(problem.mixture):
            cli.complain(f"the first {n} of {len(problem.mixture)} mixtures; pass --n for more")
        problem = mix.first(problem, n)
    else:
        mixing = cli.mixing(sources, weights)
        loaded = DATASETS.get(data)(data_dir)
        problem = mix.draw_mixtures(loaded, split, task, mixing.sources, n, seed, mixing.alphas)
    mixing = WeightedSum(problem.weights)
    priors = cli.priors(prior, mixing.sources, device)
    settings = cli.settings(steps, levels, set_)
    count = len(problem.mixture)
    start = time.monotonic()
    run = stream(problem.mixture, priors, mixing, method, seed=seed, samples=samples, batch_size=batch_size, **settings)
    for _ in cli.watch(run, method, batches=-(-count // batch_size)):
        pass
    figures = psnr(run.result.sources.cpu(), problem.sources)
    residual = run.result.residual.cpu()
    error = figures.std().item() / count**0.5 if count > 1 else float("nan")
    typer.echo(f"{method} with prior {prior} on {data}, {problem.info['split']} {problem.info['task']}, seed {seed}")
    typer.echo(f"{'n':>6} {'mean':>7} {'± s.e.':>7} {'median':>7} {'10 %':>7} {'90 %':>7}   residual (max)")
    low, middle, high = figures.quantile(figures.new_tensor([0.1, 0.5, 0.9])).tolist()
    typer.echo(
        f"{count:6d} {figures.mean():7.2f} {error:7.2f} {middle:7.2f} {low:7.2f} {high:7.2f}   "
        f"{residual.mean():.1e} ({residual.max():.1e}) per pixel, (1/255)² is {ENOUGH:.1e}"
    )
    if json_file:
        facts = {
            "n": count,
            "seed": seed,
            "psnr_mean": figures.mean().item(),
            "psnr_median": middle,
            "psnr_standard_error": error,
            "psnr": figures.tolist(),
            "residual": residual.tolist(),
            "mixtures": problem.info,
            "weights": problem.weights,
            "method": method,
            "settings": settings,
            "prior": prior,
            "prior_sha256": cli.hashes(prior),
            "device": device,
            "seconds": round(time.monotonic() - start, 1),
            "command": " ".join(["basis", *sys.argv[1:]]),
            "versions": versions(),
        }
        try:
            write_atomically(json_file, (json.dumps(facts) + "\n").encode())
        except OSError as problem_:
            raise DataError(f"cannot write {json_file} ({problem_.strerror})", fix="choose another file") from problem_
