"""`basis list` and `basis info`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from basis.core.checkpoint import PRETRAINED, PRIORS, WEIGHTS, foreign, load_prior, locate, pretrained, read_card
from basis.core.dataset import DATASETS
from basis.core.format import FORMATS
from basis.core.metric import METRICS
from basis.core.mixing import MIXINGS
from basis.core.posterior import POSTERIORS
from basis.core.sampler import SAMPLERS
from basis.core.separator import SEPARATORS
from basis.presets import SUMMARIES
from basis.reproduction.experiment import EXPERIMENTS

KINDS = {
    "methods": SEPARATORS,
    "mixings": MIXINGS,
    "samplers": SAMPLERS,
    "posteriors": POSTERIORS,
    "kinds of prior": PRIORS,
    "formats": FORMATS,
    "data sets": DATASETS,
    "metrics": METRICS,
    "tables and figures": EXPERIMENTS,
}


def list_choices() -> None:
    """List priors, presets, methods, mixings, samplers and data sets, with one line each."""
    cards = {name: read_card(PRETRAINED / name / WEIGHTS).get("summary", "") for name in pretrained()}
    tables = {"priors": cards, "presets": SUMMARIES, **{kind: registry.describe() for kind, registry in KINDS.items()}}
    for kind, entries in tables.items():
        typer.echo(f"{kind}:")
        for name, line in entries.items():
            typer.echo(f"  {name:20} {line}")


def info(prior: Annotated[str, typer.Argument(help="Bundled name, folder or file.")]) -> None:
    """Show what a prior is: shape, size, training data, steps, scores and hash."""
    reader = foreign(prior)
    loaded = load_prior(prior)
    typer.echo(f"{prior}: {type(loaded).__name__} over images of {'×'.join(map(str, loaded.shape))} (C×H×W)")
    typer.echo(f"parameters: {sum(p.numel() for p in loaded.parameters()):,}")
    if reader:
        typer.echo(f"read from a foreign format; `basis import` makes a prior folder of it ({type(reader).__name__})")
        return
    path = locate(prior)
    typer.echo(f"weights: {path} ({path.stat().st_size / 2**20:.1f} MiB)")
    typer.echo(json.dumps(read_card(path), indent=2, ensure_ascii=False))
