"""`basis count`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basis.cli import options as cli
from basis.cli.voice import VOICE, complain, remark

if TYPE_CHECKING:
    from basis.core.prior import Prior
    from basis.core.separator import Separator


def count(
    paths: Annotated[
        list[Path], typer.Argument(help="Images, arrays (.npy .npz .pt), folders of them, or - for standard input.")
    ],
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
    from basis.cli import given
    from basis.cli.inputs import received
    from basis.core.errors import DataError, DivergenceError

    loaded = given.priors(prior, 1, device)[0]
    chosen = given.method(method, None, device, given.settings(None, None, set_), [loaded])
    failed = 0
    with received(paths) as found:
        for path in found:
            try:
                lines = _count(path, loaded, most, chosen, seed, background, invert)
            except (DataError, DivergenceError) as error:
                complain(error if str(path) in str(error) else f"{path}: {error}")
                failed += 1
            else:
                typer.echo(VOICE.words("\n".join(lines)))
    if failed:
        complain(f"{failed} of {len(found)} inputs failed")
        raise typer.Exit(1)


def _count(
    path: Path,
    prior: Prior,
    most: int,
    chosen: tuple[str | Separator, dict],
    seed: int,
    background: str,
    invert: bool,
) -> list[str]:
    """Return a line for each mixture of a file."""
    from basis.cli import worth
    from basis.core.errors import DataError
    from basis.evaluate.counting import UNCERTAIN, count_sources
    from basis.runs.read import IMAGES, read_mixture

    mean, (separator, settings) = path.suffix.lower() in IMAGES, chosen
    mixture = read_mixture(path, prior.shape, 1, mean=False, background=background)
    if invert and not mean:
        raise DataError(f"{path}: --invert takes images", fix="an array holds a sum: invert it yourself")
    mixture = 1 - mixture if invert else mixture
    with worth.quiet():
        counting = count_sources(mixture, prior, most, separator, mean=mean, seed=seed, **settings)
    if counting.uncertain.any():
        remark(f"warning: {path}: {UNCERTAIN}")
    worth.complain_of(path, counting.unlikely.nonzero().flatten().tolist(), len(mixture), worth.COUNT)
    lines = []
    for number, chances in zip(counting.counts.tolist(), counting.chances.tolist(), strict=True):
        shares = ", ".join(f"{k}: {chance:.3f}" for k, chance in enumerate(chances, 1))
        lines.append(f"{path}: {number} {'source' if number == 1 else 'sources'} ({shares})")
    return lines
