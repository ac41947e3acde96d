"""`basis separate`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image
from torch import Tensor

from basis.api import stream
from basis.cli import options as cli
from basis.cli import worth
from basis.core.errors import DataError, DivergenceError
from basis.core.mixing import Mixing
from basis.core.separator import Run, Separation
from basis.io.claim import claim
from basis.io.durable import sha256_of
from basis.io.output import check_free, needed, replacing
from basis.runs.read import IMAGES, find, read_mixture
from basis.runs.write import file_names, fill, plain, versions
from basis.signals._film import Film
from basis.signals._pictures import SEPARATED, Words, white
from basis.signals.image import BACKGROUND

KIND = "separation"

WINDOWS_DISAGREE = (
    "windows do not agree on which picture is whose: every source may show parts of all, and be worse than that of "
    "--method average"
)
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the results, one folder for each input.")]
ResizeOption = Annotated[bool, typer.Option("--resize", help="Resize images to the prior's size.")]
WindowsOption = Annotated[
    bool,
    typer.Option(
        "--windows",
        help="Take what is larger than the prior's size in windows that overlap. They do not agree on which picture is "
        "whose: two photographs come out mixed.",
    ),
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
    noise: cli.NoiseOption = 0.0,
    samples: cli.SamplesOption = 1,
    seed: cli.SeedOption = 0,
    device: cli.DeviceOption = "cpu",
    precision: cli.PrecisionOption = "no",
    compile_: cli.CompileOption = False,
    out: OutOption = Path("out"),
    resize: ResizeOption = False,
    background: cli.BackgroundOption = BACKGROUND,
    windows: WindowsOption = False,
    invert: cli.InvertOption = False,
    overwrite: cli.OverwriteOption = False,
    resume: cli.ResumeOption = False,
) -> None:
    """Separate mixtures in files; write the sources, a panel, an animation and all settings of each.

    An image holds the mean of its sources unless --weights says otherwise. An array holds exact values: the plain sum
    of its sources unless --weights says otherwise. With --noise the sources need not mix to it exactly: the residual of
    right ones is near the noise's variance.
    """
    mixing = cli.mixing(sources, weights)
    priors = cli.priors(prior, mixing.sources, device, precision, compile_)
    settings = cli.settings(steps, levels, set_)
    separator, rest = cli.method(method, budget, device, settings, priors, mixing)
    title = separator if isinstance(separator, str) else str(method)
    facts = {
        "method": title,
        "method_sha256": cli.method_hash(method),
        "settings": rest or settings,
        "weights": mixing.alphas,
        "noise": noise,
        "background": background,
        "samples": samples,
        "seed": seed,
        "prior": prior,
        "prior_sha256": cli.hashes(prior),
        "device": device,
        "precision": precision,
    }
    request = plain({**facts, "image_is_mean": weights is None, "resize": resize, "invert": invert})

    def work(path: Path, folder: Path, request: dict) -> str:
        mean = weights is None and path.suffix.lower() in IMAGES
        shape = priors[0].shape
        mixture = read_mixture(
            path, shape, mixing.sources, mean=mean, resize=resize, windows=windows, background=background
        )
        if invert:
            whole = mean or path.suffix.lower() not in IMAGES
            mixture = (white(mixing, torch.zeros(mixing.sources, *priors[0].shape)) if whole else 1.0) - mixture
        check_free(folder, file_names(len(mixture), mixing.sources, samples, shape=shape))
        fitted, count = cli.windowed(priors, mixture, path)
        if count and mixing.sources > 1:
            cli.complain(f"warning: {path}: {WINDOWS_DISAGREE}")
        start = time.monotonic()
        sigma = noise * mixing.sources if mean else noise  # the mixture is as many times the image
        run = stream(mixture, fitted, mixing, separator, noise=sigma, seed=seed, samples=samples, **rest)
        with worth.quiet():
            frames = animate(run, mixture, mixing, path.name, data_range=priors[0].data_range)
        if found := run.result.assessment:
            worth.complain_of(path, found.doubtful, len(mixture), worth.SEPARATE)
        timing = {"input": str(path), "image_is_mean": mean, "seconds": round(time.monotonic() - start, 2)}
        timing |= {"inverted": True} if invert else {}
        write(folder, run.result, frames, request, {**timing, **count, **facts, "versions": versions()})
        return worth.words(run.result, priors)

    each(paths, out, request, work, overwrite, resume)


def each(
    paths: list[Path],
    out: Path,
    request: dict,
    work: Callable[[Path, Path, dict], str],
    overwrite: bool,
    resume: bool,
) -> None:
    """Do the work of a command for each input, and go on after one that fails; exit with 1 if any did.

    Args:
        paths: files, or folders of them.
        out: where each has its folder.
        request: what the results depend on, beside the input.
        work: called with an input, its folder, and what its result depends on; returns what it is worth.
        overwrite, resume: what to do where there is a result already, see `basis.io.output.needed`.
    """
    failed, found, jobs = 0, find(paths), []
    with claim(out):
        for path, name in zip(found, names(found), strict=True):
            own = {**request, "input_sha256": sha256_of(path) if path.is_file() else None}
            if needed(out / name, KIND, own, overwrite=overwrite, resume=resume):
                jobs.append((path, out / name, own))
            else:
                typer.echo(f"{path}: there already, in {out / name}")
        for path, folder, own in jobs:
            try:
                words = work(path, folder, own)
            except (DataError, DivergenceError) as error:
                cli.complain(error if str(path) in str(error) else f"{path}: {error}")
                failed += 1
            except KeyboardInterrupt:
                raise cli.Stopped(f"stopped at {path}; what was finished before is whole in {out}") from None
            else:
                typer.echo(f"{path}: {words}, in {folder}")
    if failed:
        cli.complain(f"{failed} of {len(found)} inputs failed")
        raise typer.Exit(1)


def names(paths: list[Path]) -> list[str]:
    """Return a folder name for each input: its stem, with the ending where two would be the same, then a number."""
    stems = [path.stem for path in paths]
    full = [path.name if stems.count(path.stem) > 1 else path.stem for path in paths]
    return [name if full.count(name) == 1 else f"{name}-{full[:i].count(name) + 1}" for i, name in enumerate(full)]


def animate(
    run: Run,
    mixture: Tensor,
    mixing: Mixing,
    title: str,
    words: Words = SEPARATED,
    data_range: tuple[float, float] | None = (0.0, 1.0),
) -> list[list[Image.Image]]:
    """Run to the end behind a progress bar; return the frames of each mixture's first sample."""
    film = Film(len(mixture), data_range or (mixture.min().item(), mixture.max().item() + 1e-6))
    for state in cli.watch(run, title):
        film.add(state)
    return film.frames(mixture, mixing, words)


def write(
    folder: Path,
    result: Separation,
    frames: list[list[Image.Image]],
    request: dict,
    facts: dict,
    words: Words = SEPARATED,
) -> None:
    """Write a file's separations: into the folder, or a folder each inside it where the file held several."""
    with replacing(folder, KIND, request) as new:
        for i, mixture in enumerate(result.mixture):
            target = new if len(result.mixture) == 1 else new / f"{i:05d}"
            own = {**facts, "index": i, "residual": result.residual[i].item(), **worth.facts(result, i)}
            if result.scores is not None:
                own["scores"] = result.scores[i].tolist()
            if result.modes is not None:
                own["mode_rank_weights"] = result.modes[i].rank_weights.tolist()
            if result.evaluations is not None:
                own["evaluations"] = int(result.evaluations[i])
            spread, notes = worth.shown(result, i)
            samples, choice = result.samples[i], int(result.choice[i])
            fill(
                target, mixture, samples, choice, result.mixing, frames[i], own, words, spread, notes, result.data_range
            )
