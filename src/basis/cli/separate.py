"""`basis separate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from basis.cli import options as cli
from basis.cli.voice import VOICE, remark

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
    paths: Annotated[
        list[Path], typer.Argument(help="Images, arrays (.npy .npz .pt), folders of them, or - for standard input.")
    ],
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
    background: cli.BackgroundOption = cli.BACKGROUND,
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
    import torch

    from basis.api import stream
    from basis.cli import given, worth
    from basis.cli.inputs import animate, each
    from basis.io.output import check_free
    from basis.runs.read import IMAGES, read_mixture
    from basis.runs.view import write
    from basis.runs.write import file_names, plain, versions
    from basis.signals._pictures import white

    mixing = given.mixing(sources, weights)
    priors = given.priors(prior, mixing.sources, device, precision, compile_)
    settings = given.settings(steps, levels, set_)
    separator, rest = given.method(method, budget, device, settings, priors, mixing)
    title = separator if isinstance(separator, str) else str(method)
    facts = {
        "method": title,
        "method_sha256": given.method_hash(method),
        "settings": rest or settings,
        "weights": mixing.alphas,
        "noise": noise,
        "background": background,
        "samples": samples,
        "seed": seed,
        "prior": prior,
        "prior_sha256": given.hashes(prior),
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
        fitted, count = given.windowed(priors, mixture, path)
        if count and mixing.sources > 1:
            remark(f"warning: {path}: {WINDOWS_DISAGREE}")
        start = time.monotonic()
        sigma = noise * mixing.sources if mean else noise  # the mixture is as many times the image
        run = stream(mixture, fitted, mixing, separator, noise=sigma, seed=seed, samples=samples, **rest)
        with worth.quiet():
            frames = animate(run, mixture, mixing, path.name, data_range=priors[0].data_range)
        if found := run.result.assessment:
            worth.complain_of(path, found.doubtful, len(mixture), worth.SEPARATE)
        timing = {"input": VOICE.words(path), "image_is_mean": mean, "seconds": round(time.monotonic() - start, 2)}
        timing |= {"inverted": True} if invert else {}
        write(folder, run.result, frames, request, {**timing, **count, **facts, "versions": versions()})
        return worth.words(run.result, priors)

    each(paths, out, request, work, overwrite, resume)
