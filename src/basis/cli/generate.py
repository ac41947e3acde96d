"""`basis generate`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basis.cli import options as cli
from basis.cli.voice import tell
from basis.core.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

PICTURES = {".png", ".jpg", ".jpeg", ".webp"}


def generate(
    prior: Annotated[str, typer.Argument(help="Bundled name, folder or file.")],
    n: Annotated[int, typer.Option("--n", help="Samples.")] = 32,
    seed: cli.SeedOption = 0,
    device: cli.DeviceOption = "cpu",
    precision: cli.PrecisionOption = "no",
    compile_: cli.CompileOption = False,
    out: Annotated[Path, typer.Option("--out", help="Picture to write.")] = Path("samples.png"),
    overwrite: cli.OverwriteOption = False,
    resume: cli.ResumeOption = False,
) -> None:
    """Draw samples of a prior itself, without a mixture: what it knows, in one picture."""
    from basis.cli import given
    from basis.io.claim import claim
    from basis.runs.write import needed_file, write_picture

    if out.suffix.lower() not in PICTURES:
        raise UsageError(f"expected a picture, got --out {out}", fix=f"end it in one of {', '.join(sorted(PICTURES))}")
    facts = {"prior": prior, "prior_sha256": given.hashes(prior), "n": n, "seed": seed, "precision": precision}
    with claim(out, file=True):
        if not needed_file(out, facts, overwrite=overwrite, resume=resume):
            tell(f"{out}: there already")
            return
        write_picture(out, _draw(prior, n, seed, device, precision, compile_), facts)
    tell(str(out))


def _draw(prior: str, n: int, seed: int, device: str, precision: str, compile: bool) -> Image.Image:
    """Return samples of a prior in one picture."""
    from basis.api import generate as draw
    from basis.cli import given
    from basis.signals._pictures import grid
    from basis.signals._view import pictures, unit

    (loaded,) = given.priors(prior, 1, device, precision, compile)
    found = draw(loaded, n, seed)
    images = list(pictures(unit(found, loaded.data_range or (found.min().item(), found.max().item() + 1e-6))))
    columns = math.ceil(math.sqrt(2 * n))
    return grid([images[start : start + columns] for start in range(0, n, columns)], [])
