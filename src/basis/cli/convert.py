"""`basis import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from basis.cli import options as cli
from basis.core.checkpoint import save_prior
from basis.core.errors import UsageError
from basis.core.format import FORMATS


def convert(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="What wrote the checkpoint; see `basis list`.")],
    checkpoint: Annotated[str, typer.Argument(help="Its file or folder.")],
    dest: Annotated[Path, typer.Argument(help="Prior folder to write.")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="What the checkpoint does not say, NAME=VALUE.")
    ] = None,
    sigma: Annotated[float | None, typer.Option("--sigma", help="Noise level of a single checkpoint of Glow.")] = None,
) -> None:
    """Turn a checkpoint of another program into a prior folder: weights as safetensors, and a card."""
    given = cli.settings(None, None, setting)
    if sigma is not None:
        given["sigma"] = sigma
    reader = FORMATS.make(kind, given)
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise UsageError(f"{dest} is there already", fix="choose a new folder")
    foreign = reader.read(checkpoint)
    card = {**foreign.card, "command": f"basis import {kind} {checkpoint} {dest}", "imported_from": str(checkpoint)}
    save_prior(foreign.prior, foreign.arguments, dest, card)
    shape = "×".join(map(str, foreign.prior.shape))
    typer.echo(f"{dest}: {type(foreign.prior).__name__} over images of {shape}; separate with --prior {dest}")
