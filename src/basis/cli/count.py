"""`basis count`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from basis.cli import options as cli


def count(
    paths: Annotated[list[Path], typer.Argument(help="Images, arrays (.npy .npz .pt), or folders of them.")],
    prior: cli.PriorOption = "mnist",
    most: Annotated[int, typer.Option("--most", help="Largest number of sources that is tried.")] = 4,
    method: cli.MethodOption = "quality",
    set_: cli.SetOption = None,
    background: cli.BackgroundOption = cli.BACKGROUND,
    seed: cli.SeedOption = 0,
    device: cli.DeviceOption = "cpu",
    invert: cli.InvertOption = False,
) -> None:
    """Say how many sources each mixture has, with the chance of each number.

    A warning says where chances are no probabilities, because sources of the prior vary on the scale of the noise.
    An image holds the mean of its sources, an array their plain sum.
    """
    from basis.cli import given, worth
    from basis.core.errors import DataError, DivergenceError
    from basis.evaluate.counting import UNCERTAIN, count_sources
    from basis.runs.read import IMAGES, find, read_mixture

    loaded = given.priors(prior, 1, device)[0]
    separator, settings = given.method(method, None, device, given.settings(None, None, set_), [loaded])
    failed, found = 0, find(paths)
    for path in found:
        mean = path.suffix.lower() in IMAGES
        try:
            mixture = read_mixture(path, loaded.shape, 1, mean=False, background=background)
            if invert and not mean:
                raise DataError(f"{path}: --invert takes images", fix="an array holds a sum: invert it yourself")
            mixture = 1 - mixture if invert else mixture
            with worth.quiet():
                counting = count_sources(mixture, loaded, most, separator, mean=mean, seed=seed, **settings)
            if counting.uncertain.any():
                cli.complain(f"warning: {path}: {UNCERTAIN}")
            worth.complain_of(path, counting.unlikely.nonzero().flatten().tolist(), len(mixture), worth.COUNT)
        except (DataError, DivergenceError) as error:
            cli.complain(error if str(path) in str(error) else f"{path}: {error}")
            failed += 1
            continue
        for number, chances in zip(counting.counts.tolist(), counting.chances.tolist(), strict=True):
            shares = ", ".join(f"{k}: {chance:.3f}" for k, chance in enumerate(chances, 1))
            typer.echo(f"{path}: {number} {'source' if number == 1 else 'sources'} ({shares})")
    if failed:
        cli.complain(f"{failed} of {len(found)} inputs failed")
        raise typer.Exit(1)
