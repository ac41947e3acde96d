"""`basis make-mixtures` and `basis evaluate`."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basis.cli import options as cli
from basis.cli.voice import remark, tell
from basis.core.errors import DataError, UsageError
from basis.io.durable import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

    from basis.evaluate.mixtures import Mixtures

SplitOption = Annotated[str, typer.Option("--split", help="train, validation (for tuning) or test.")]
TaskOption = Annotated[str, typer.Option("--task", help="agnostic: any labels; split: one group of labels a source.")]
CountOption = Annotated[int, typer.Option("--n", help="Number of mixtures.")]
DataArgument = Annotated[str, typer.Argument(help="Data set, see `basis list`.")]


def make_mixtures(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("mixtures"),
    task: TaskOption = "agnostic",
    sources: cli.SourcesOption = None,
    weights: cli.WeightsOption = None,
    noise: cli.NoiseOption = 0.0,
    n: CountOption = 100,
    split: SplitOption = "test",
    seed: cli.SeedOption = 0,
    data_dir: cli.DataDirOption = None,
    overwrite: cli.OverwriteOption = False,
    resume: cli.ResumeOption = False,
) -> None:
    """Mix images of a data set; write the mixtures with their true sources."""
    from basis.cli import given
    from basis.core.dataset import open_dataset
    from basis.evaluate import mixtures as mix
    from basis.io.claim import claim
    from basis.io.output import needed

    mixing = given.mixing(sources, weights)
    loaded = open_dataset(data, data_dir)
    with claim(out):
        drawn = mix.draw_mixtures(loaded, split, task, mixing.sources, n, seed, mixing.alphas, noise=noise)
        wanted = needed(out, mix.KIND, mix.request(drawn), overwrite=overwrite, resume=resume)
        if wanted:
            mix.save_mixtures(drawn, out)
    tell(f"{n} mixtures of {mixing.sources} sources {'' if wanted else 'already '}in {out}")


def evaluate(
    data: Annotated[str, typer.Argument(help="Data set, or a folder that `basis make-mixtures` wrote.")],
    prior: cli.PriorOption = "mnist",
    method: cli.MethodOption = None,
    budget: cli.BudgetOption = None,
    task: TaskOption = "agnostic",
    sources: cli.SourcesOption = None,
    weights: cli.WeightsOption = None,
    noise: cli.NoiseOption = 0.0,
    n: CountOption = 100,
    split: SplitOption = "test",
    steps: cli.StepsOption = None,
    levels: cli.LevelsOption = None,
    set_: cli.SetOption = None,
    samples: cli.SamplesOption = 1,
    seed: cli.SeedOption = 0,
    batch_size: cli.BatchOption = 50,
    device: cli.DeviceOption = "cpu",
    precision: cli.PrecisionOption = "no",
    compile_: cli.CompileOption = False,
    data_dir: cli.DataDirOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for all figures.")] = None,
    overwrite: cli.OverwriteOption = False,
    resume: cli.ResumeOption = False,
) -> None:
    """Measure separations against the truth (the protocol of Table 2): PSNR, and SSIM where torchmetrics is installed.

    Of MNIST's digits also the share of mixtures whose digits the bundled classifier reads right.
    """
    from basis.api import stream
    from basis.cli import given
    from basis.evaluate.evaluation import digit_labels
    from basis.evaluate.evaluation import evaluate as measure
    from basis.evaluate.mixtures import request
    from basis.io.claim import claim
    from basis.mixings.weighted_sum import WeightedSum
    from basis.runs.write import needed_file, plain

    problem = _problem(data, task, sources, weights, n, split, seed, data_dir, noise)
    mixing = WeightedSum(problem.weights)
    priors = given.priors(prior, mixing.sources, device, precision, compile_)
    settings = given.settings(steps, levels, set_)
    separator, rest = given.method(method, budget, device, settings, priors, mixing)
    title = separator if isinstance(separator, str) else str(method)
    facts = {
        "seed": seed,
        "samples": samples,
        "mixtures": problem.info,
        "images_sha256": request(problem)["images_sha256"],
        "weights": problem.weights,
        "noise": problem.noise,
        "method": title,
        "method_sha256": given.method_hash(method),
        "settings": rest or settings,
        "prior": prior,
        "prior_sha256": given.hashes(prior),
        "device": device,
        "precision": precision,
    }
    with claim(json_file, file=True) if json_file else nullcontext():
        if json_file and not needed_file(json_file, plain(facts), overwrite=overwrite, resume=resume):
            tell(f"{json_file}: there already")
            return
        start = time.monotonic()
        run = stream(
            problem.mixture,
            priors,
            mixing,
            separator,
            noise=problem.noise,
            seed=seed,
            samples=samples,
            batch_size=batch_size,
            assess=False,
            **rest,
        )
        for _ in given.watch(run, title, batches=-(-len(problem.mixture) // batch_size)):
            pass
        evaluation = measure(run.result, problem.sources, digit_labels(problem.info), problem.data_range)
        where = f"{data}, {problem.info['split']} split, task {problem.info['task']}, {mixing.sources} sources"
        typer.echo(f"{title} with prior {prior} on {where}, seed {seed}\n{evaluation.table()}")
        _tell(evaluation.note, run.result.evaluations)
        if json_file:
            facts |= {"seconds": round(time.monotonic() - start, 1), "command": shlex.join(["basis", *sys.argv[1:]])}
            spent = run.result.evaluations
            cost = {"evaluations": None if spent is None else spent.tolist()}
            _write(json_file, {**evaluation.facts(), **cost, **facts})


def _tell(note: str, spent: Tensor | None) -> None:
    """Print what the figures lack, and what they cost."""
    if note:
        remark(note)
    if spent is not None and spent.any():
        typer.echo(f"{spent.float().mean():.0f} evaluations a source ({spent.min()} to {spent.max()})")


def _write(path: Path, facts: dict) -> None:
    from basis.runs.write import to_json, versions

    try:
        write_atomically(path, to_json({**facts, "versions": versions()}).encode())
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror})", fix="choose another file") from error


def _problem(
    data: str,
    task: str,
    sources: int | None,
    weights: str | None,
    n: int,
    split: str,
    seed: int,
    data_dir: Path | None,
    noise: float,
) -> Mixtures:
    """Return the first n mixtures of a folder, or n mixtures of a data set's images."""
    from basis.cli import given
    from basis.core.dataset import DATASETS, open_dataset
    from basis.evaluate import mixtures as mix

    if data not in DATASETS.names() and Path(data).is_dir():
        found = mix.load_mixtures(data)
        if noise and noise != found.noise:
            raise UsageError(
                f"the mixtures in {data} have noise {found.noise:g}, got --noise {noise:g}", fix="leave --noise out"
            )
        if n < len(found.mixture):
            remark(f"the first {n} of {len(found.mixture)} mixtures; pass --n for more")
        return mix.first(found, n)
    mixing = given.mixing(sources, weights)
    loaded = open_dataset(data, data_dir)
    return mix.draw_mixtures(loaded, split, task, mixing.sources, n, seed, mixing.alphas, noise=noise)
