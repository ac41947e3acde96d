"""`basis colorize`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from basis.cli import options as cli
from basis.cli.separate import OutOption, ResizeOption
from basis.cli.voice import VOICE, remark
from basis.core.errors import UsageError

USUAL = "fast"  # a sample, since a mean of several is pale; nearer to true colours than "paper", see docs/results.md
LUMA = {  # weights of red, green and blue in grey
    "mean": (1 / 3, 1 / 3, 1 / 3),  # equation 14
    "rec601": (0.299, 0.587, 0.114),  # most programs that turn pictures to grey
    "rec709": (0.2126, 0.7152, 0.0722),
}
TOLERANCE = 1e-3

PriorOption = Annotated[str, typer.Option("--prior", help="Prior of colour images: name, folder or file.")]
SamplesOption = Annotated[int, typer.Option("--samples", max=100_000, help="Colourings of each image.")]
LumaOption = Annotated[
    str, typer.Option("--luma", help=f"What grey is of colour: {', '.join(LUMA)}, or weights r,g,b with sum 1.")
]


def colorize(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Grey images, arrays (.npy .npz .pt), folders of them, or - for standard input."),
    ],
    prior: PriorOption = "cifar10-colour",
    luma: LumaOption = "mean",
    noise: cli.NoiseOption = 0.0,
    samples: SamplesOption = 1,
    method: cli.MethodOption = None,
    budget: cli.BudgetOption = None,
    steps: cli.StepsOption = None,
    levels: cli.LevelsOption = None,
    set_: cli.SetOption = None,
    seed: cli.SeedOption = 0,
    device: cli.DeviceOption = "cpu",
    precision: cli.PrecisionOption = "no",
    compile_: cli.CompileOption = False,
    out: OutOption = Path("out"),
    resize: ResizeOption = False,
    invert: cli.InvertOption = False,
    overwrite: cli.OverwriteOption = False,
    resume: cli.ResumeOption = False,
    background: cli.BackgroundOption = cli.BACKGROUND,
) -> None:
    """Colour grey images: the three channels are what the prior draws, given their grey mixture (equation 14).

    Writes the colourings, a panel with the grey image, an animation and all settings of each. Images in colour are
    turned to grey first. Those larger than the prior's are taken in windows that overlap, unless --resize shrinks them.
    --method quality has better colours than fast, the default, for five times the evaluations.
    """
    from basis.api import stream
    from basis.cli import given, worth
    from basis.cli.inputs import animate, each
    from basis.io.output import check_free
    from basis.mixings.grayscale import Grayscale
    from basis.runs.read import read_grey
    from basis.runs.view import write
    from basis.runs.write import file_names, plain, versions
    from basis.signals._pictures import COLORIZED

    mixing = Grayscale(_luma(luma))
    priors = given.priors(prior, 1, device, precision, compile_)
    if priors[0].shape[0] != 3:
        raise UsageError(
            f"prior '{prior}' knows images of {priors[0].shape[0]} channel(s), colour has 3",
            fix="choose a prior of colour images, for instance cifar10-colour",
        )
    settings = given.settings(steps, levels, set_)
    method = USUAL if method is None and budget is None else method
    separator, rest = given.method(method, budget, device, settings, priors, mixing)
    facts = {
        "method": separator if isinstance(separator, str) else str(method),
        "method_sha256": given.method_hash(method),
        "settings": rest or settings,
        "luma": mixing.weights,
        "noise": noise,
        "background": background,
        "samples": samples,
        "seed": seed,
        "prior": prior,
        "prior_sha256": given.hashes(prior),
        "device": device,
        "precision": precision,
    }

    def work(path: Path, folder: Path, request: dict) -> str:
        grey, coloured = read_grey(path, priors[0].shape, mixing.weights, resize=resize, background=background)
        if coloured:
            remark(f"{path}: in colour, turned to grey first (--luma {luma})")
        grey = 1 - grey if invert else grey
        check_free(folder, file_names(len(grey), 1, samples, COLORIZED))
        fitted, count = given.windowed(priors, grey, path)
        start = time.monotonic()
        run = stream(grey, fitted, mixing, separator, noise=noise, seed=seed, samples=samples, **rest)
        with worth.quiet():
            frames = animate(run, grey, mixing, path.name, COLORIZED)
        if found := run.result.assessment:
            worth.complain_of(path, found.doubtful, len(grey), worth.COLORIZE)
        timing = {
            "input": VOICE.words(path),
            "input_in_colour": coloured,
            "seconds": round(time.monotonic() - start, 2),
        }
        write(folder, run.result, frames, request, {**timing, **count, **facts, "versions": versions()}, COLORIZED)
        return worth.words(run.result, priors)

    each(paths, out, plain({**facts, "resize": resize, "invert": invert}), work, overwrite, resume)


def _luma(text: str) -> tuple[float, ...]:
    """Return the weights that --luma names."""
    if text in LUMA:
        return LUMA[text]
    try:
        weights = tuple(float(weight) for weight in text.split(","))
    except ValueError:
        weights = ()
    if len(weights) != 3 or not min(weights) >= 0 or not abs(sum(weights) - 1) <= TOLERANCE:
        raise UsageError(
            f"expected --luma {', '.join(LUMA)} or three weights with sum 1, got '{text}'",
            fix="for instance --luma 0.3,0.6,0.1",
        )
    return weights
