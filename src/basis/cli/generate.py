"""`basis generate`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from basis.cli import options as cli
from basis.core.errors import UsageError
from basis.files.pictures import grid
from basis.files.write import check_writable
from basis.generation import generate as draw

PICTURES = {".png", ".jpg", ".jpeg", ".webp"}


def generate(
    prior: Annotated[str, typer.Argument(help="Bundled name, folder or file.")],
    n: Annotated[int, typer.Option("--n", help="Samples.")] = 32,
    seed: cli.SeedOption = 0,
    device: cli.DeviceOption = "cpu",
    precision: cli.PrecisionOption = "no",
    compile_: cli.CompileOption = False,
    out: Annotated[Path, typer.Option("--out", help="Picture to write.")] = Path("samples.png"),
) -> None:
    """Draw samples of a prior itself, without a mixture: what it knows, in one picture."""
    if out.suffix.lower() not in PICTURES:
        raise UsageError(f"expected a picture, got --out {out}", fix=f"end it in one of {', '.join(sorted(PICTURES))}")
    check_writable(out.parent)
    (loaded,) = cli.priors(prior, 1, device, precision, compile_)
    if len(loaded.shape) != 3 or loaded.shape[0] not in (1, 3):
        raise UsageError(f"'{prior}' is over {loaded.shape}, not over images in grey or colour")
    images = list(draw(loaded, n, seed))
    columns = math.ceil(math.sqrt(2 * n))
    out.parent.mkdir(parents=True, exist_ok=True)
    grid([images[start : start + columns] for start in range(0, n, columns)], []).save(out)
    typer.echo(str(out))
