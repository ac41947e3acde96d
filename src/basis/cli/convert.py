"""`basis import`."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated

import typer

from basis.cli import options as cli
from basis.cli.voice import tell
from basis.io.durable import sha256_of


def convert(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="What wrote the checkpoint; see `basis list`.")],
    checkpoint: Annotated[str, typer.Argument(help="Its file or folder.")],
    dest: Annotated[Path, typer.Argument(help="Prior folder to write.")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="What the checkpoint does not say, NAME=VALUE.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option("--sigma", help="Noise level of one checkpoint of Glow; 0: of the data.")
    ] = None,
    overwrite: cli.OverwriteOption = False,
    resume: cli.ResumeOption = False,
) -> None:
    """Turn a checkpoint of another program into a prior folder: weights as safetensors, and a card."""
    from basis.cli import given as ready
    from basis.io.checkpoint import PRIOR, header_of
    from basis.io.claim import claim
    from basis.io.format import FORMATS
    from basis.io.output import needed, replacing
    from basis.io.saving import put, serialized

    given = ready.settings(None, None, setting)
    if sigma is not None:
        given["sigma"] = sigma
    reader = FORMATS.make(kind, given)
    request = {"format": kind, "checkpoint": checkpoint, "sha256": _hashes(checkpoint), "settings": given}
    with claim(dest):
        if not needed(dest, PRIOR, request, overwrite=overwrite, resume=resume):
            tell(f"{dest}: imported already")
            return
        foreign = reader.read(checkpoint)
        card = {**foreign.card, "command": f"basis import {kind} {checkpoint} {dest}", "imported_from": checkpoint}
        content = serialized(foreign.prior, header_of(foreign.prior, foreign.arguments))
        with replacing(dest, PRIOR, request) as new:
            put(content, new, card)
    shape = "×".join(map(str, foreign.prior.shape))
    tell(f"{dest}: {type(foreign.prior).__name__} over images of {shape}; separate with --prior {dest}")


def _hashes(checkpoint: str) -> list[str]:
    """Return the SHA-256 of each file that a checkpoint is made of: a file, a folder, or what begins with a prefix."""
    path = Path(checkpoint)
    parts = [path] if path.exists() else sorted(path.parent.glob(f"{glob.escape(path.name)}.*"))
    files = [
        file for part in parts for file in ([part] if part.is_file() else sorted(part.rglob("*"))) if file.is_file()
    ]
    return [sha256_of(file) for file in files]
