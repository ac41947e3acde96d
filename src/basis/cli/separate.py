"""`basis separate`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from basis.api import stream
from basis.cli import options as cli
from basis.core.errors import DataError, DivergenceError
from basis.core.mixing import Mixing
from basis.core.separator import Run, Separation
from basis.files.pictures import SEPARATED, Words, frame
from basis.files.read import IMAGES, find, read_mixture
from basis.files.write import check_writable, fill, versions, whole_folder

FRAMES, SPARE = 40, 5  # frames of an animation, and how many times as many are looked at
ANIMATED = 16  # mixtures of one file that are animated

OutOption = Annotated[Path, typer.Option("--out", help="Folder of the results, one folder for each input.")]
ResizeOption = Annotated[bool, typer.Option("--resize", help="Resize images to the prior's size.")]
WindowsOption = Annotated[
    bool, typer.Option("--windows", help="Take what is larger than the prior's size in windows that overlap.")
]


def separate(
    paths: Annotated[list[Path], typer.Argument(help="Images, arrays (.npy .npz .pt), or folders of them.")],
    prior: cli.PriorOption = "mnist",
    sources: cli.SourcesOption = None,
    weights: cli.WeightsOption = None,
    method: cli.MethodOption = None,
    budget: cli.BudgetOption = None,
    steps: cli.StepsOption = None,
    levels: cli.LevelsOption = None,
    set_: cli.SetOption = None,
    samples: cli.SamplesOption = 1,
    seed: cli.SeedOption = 0,
    device: cli.DeviceOption = "cpu",
    precision: cli.PrecisionOption = "no",
    compile_: cli.CompileOption = False,
    out: OutOption = Path("out"),
    resize: ResizeOption = False,
    windows: WindowsOption = False,
) -> None:
    """Separate mixtures in files; write the sources, a panel, an animation and all settings of each.

    An image holds the mean of its sources unless --weights says otherwise. An array holds exact values: the plain sum
    of its sources unless --weights says otherwise.
    """
    mixing = cli.mixing(sources, weights)
    priors = cli.priors(prior, mixing.sources, device, precision, compile_)
    settings = cli.settings(steps, levels, set_)
    separator, rest = cli.method(method, budget, device, settings, priors)
    title = separator if isinstance(separator, str) else str(method)
    facts = {
        "method": title,
        "method_sha256": cli.method_hash(method),
        "settings": rest or settings,
        "weights": mixing.alphas,
        "samples": samples,
        "seed": seed,
        "prior": prior,
        "prior_sha256": cli.hashes(prior),
        "device": device,
        "precision": precision,
        "versions": versions(),
    }

    def work(path: Path, folder: Path) -> float:
        mean = weights is None and path.suffix.lower() in IMAGES
        mixture = read_mixture(path, priors[0].shape, mixing.sources, mean=mean, resize=resize, windows=windows)
        fitted, count = cli.windowed(priors, mixture, path)
        start = time.monotonic()
        run = stream(mixture, fitted, mixing, separator, seed=seed, samples=samples, **rest)
        frames = animate(run, mixture, mixing, path.name)
        timing = {"input": str(path), "image_is_mean": mean, "seconds": round(time.monotonic() - start, 2)}
        write(folder, run.result, frames, {**timing, **count, **facts})
        return run.result.residual.mean().item()

    each(paths, out, work)


def each(paths: list[Path], out: Path, work: Callable[[Path, Path], float]) -> None:
    """Do the work of a command for each input, and go on after one that fails; exit with 1 if any did, 130 on Ctrl-C.

    Args:
        paths: files, or folders of them.
        out: where each has its folder.
        work: called with an input and its folder, returns the mean residual.
    """
    failed, found = 0, find(paths)
    check_writable(out)
    for path, name in zip(found, names(found), strict=True):
        try:
            residual = work(path, out / name)
        except (DataError, DivergenceError) as error:
            cli.complain(error if str(path) in str(error) else f"{path}: {error}")
            failed += 1
        except KeyboardInterrupt:
            raise cli.Stopped(f"stopped at {path}; what was finished before is whole in {out}") from None
        else:
            typer.echo(f"{path}: residual {residual:.1e} per pixel, in {out / name}")
    if failed:
        cli.complain(f"{failed} of {len(found)} inputs failed")
        raise typer.Exit(1)


def names(paths: list[Path]) -> list[str]:
    """Return a folder name for each input: its stem, with the ending where two would be the same, then a number."""
    stems = [path.stem for path in paths]
    full = [path.name if stems.count(path.stem) > 1 else path.stem for path in paths]
    return [name if full.count(name) == 1 else f"{name}-{full[:i].count(name) + 1}" for i, name in enumerate(full)]


def animate(run: Run, mixture: Tensor, mixing: Mixing, title: str, words: Words = SEPARATED) -> list[list[Image.Image]]:
    """Run to the end behind a progress bar; return the frames of each mixture's first sample."""
    animated = min(len(mixture), ANIMATED)
    kept = []  # more than are shown, for a run may end early
    for state in cli.watch(run, title):
        if state.step % max(state.steps // (SPARE * FRAMES), 1) == 0 or state.step == state.steps:
            kept.append((state.x.unflatten(0, (len(mixture), -1))[:animated, 0].cpu(), state.sigma))
    shown = [kept[i] for i in np.linspace(0, len(kept) - 1, min(FRAMES, len(kept))).round().astype(int)]
    total = mixing(torch.ones_like(run.result.sources[:1])).max().item() or 1.0
    frames: list[list[Image.Image]] = [[] for _ in range(len(mixture))]
    for i in range(animated):
        frames[i] = [frame(mixture[i], x[i], total, sigma, words) for x, sigma in shown]
    return frames


def write(
    folder: Path, result: Separation, frames: list[list[Image.Image]], facts: dict, words: Words = SEPARATED
) -> None:
    """Write a file's separations: into the folder, or a folder each inside it where the file held several."""
    with whole_folder(folder) as partial:
        for i, mixture in enumerate(result.mixture):
            target = partial if len(result.mixture) == 1 else partial / f"{i:05d}"
            own = {**facts, "index": i, "residual": result.residual[i].item()}
            if result.scores is not None:
                own["scores"] = result.scores[i].tolist()
            if result.modes is not None:
                own["mode_weights"] = result.modes[i].weights.tolist()
            if result.evaluations is not None:
                own["evaluations"] = int(result.evaluations[i])
            fill(target, mixture, result.samples[i], int(result.choice[i]), result.mixing, frames[i], own, words)
