"""`basis compare`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from basis.cli import options as cli


def compare(
    paths: Annotated[
        list[Path], typer.Argument(metavar="A B…", help="Files of `evaluate --json`, folders of `reproduce`.")
    ],
    seed: cli.SeedOption = 0,
) -> None:
    """Put runs next to each other: each one's mean PSNR less the first one's on the same mixtures, pair by pair.

    The interval of the gain is a studentised bootstrap over mixtures, that of the share on which a run is better is
    Wilson's. Runs on other mixtures are compared among themselves. It takes five mixtures, and says so below 30.
    """
    from basis.evaluate.comparison import compare_all, read
    from basis.evaluate.statistics import CONFIDENCE

    found = compare_all([run for path in paths for run in read(path)], seed)
    width = max(len(each.second) for each in found)
    for first, group in groupby(found, lambda each: each.first):
        typer.echo(f"against {first}:")
        typer.echo(
            f"  {'':{width}} {'n':>6} {'its dB':>8} {'dB':>8} {'gain':>7} {f'{CONFIDENCE:.0%} interval':>16} better on"
        )
        for row in group:
            interval = f"{row.low:+.2f} … {row.high:+.2f}"
            typer.echo(
                f"  {row.second:{width}} {row.n:>6} {row.means[0]:>8.2f} {row.means[1]:>8.2f} {row.difference:>+7.2f} "
                f"{interval:>16} {row.better:>9.0%} ({row.better_interval[0]:.0%} … {row.better_interval[1]:.0%})"
            )
