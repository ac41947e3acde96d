"""`basis list` and `basis info`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from basis.core.prior import Prior
    from basis.core.registry import Registry
    from basis.io.learned import Learned


def _kinds() -> dict[str, Registry]:
    """Return all that can be chosen by name."""
    from basis.core.dataset import DATASETS
    from basis.core.metric import METRICS
    from basis.core.mixing import MIXINGS
    from basis.core.posterior import POSTERIORS
    from basis.core.sampler import SAMPLERS
    from basis.core.separator import SEPARATORS
    from basis.io.checkpoint import PRIORS
    from basis.io.format import FORMATS
    from basis.paper.experiment import EXPERIMENTS

    return {
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
    from basis.assets import examples, recipes
    from basis.io import checkpoint
    from basis.presets import SUMMARIES

    cards = {
        name: checkpoint.read_card(checkpoint.PRETRAINED / name / checkpoint.WEIGHTS).get("summary", "")
        for name in checkpoint.pretrained()
    }
    tables = {
        "priors": cards,
        "presets": SUMMARIES,
        **{kind: registry.describe() for kind, registry in _kinds().items()},
    }
    tables["bundled recipes (basis train recipe:NAME)"] = recipes.describe()
    tables["bundled examples (basis separate example:NAME)"] = examples.describe()
    for kind, entries in tables.items():
        typer.echo(f"{kind}:")
        for name, line in entries.items():
            typer.echo(f"  {name:20} {line}")


def info(
    source: Annotated[
        str, typer.Argument(metavar="NAME", help="Bundled prior, or folder or file of a prior or a fitted method.")
    ],
) -> None:
    """Show what a prior or a fitted method is: shape, size, training data, steps, scores and hash."""
    from basis.io.checkpoint import foreign, load_prior, open_weights, read_card
    from basis.io.learned import load_separator

    if reader := foreign(source):
        _describe(source, load_prior(source))
        typer.echo(f"read from a foreign format; `basis import` makes a prior folder of it ({type(reader).__name__})")
        return
    path, header = open_weights(source)
    _describe(source, load_separator(path) if "separator" in header else load_prior(path))
    typer.echo(f"weights: {path} ({path.stat().st_size / 2**20:.1f} MiB)")
    typer.echo(json.dumps(read_card(path), indent=2, ensure_ascii=False))


def _describe(source: str, loaded: Prior | Learned) -> None:
    """Say the class, the images that it is for and the number of parameters."""
    from basis.io.learned import Learned

    what, shape = type(loaded).__name__, "×".join(map(str, loaded.shape))
    if isinstance(loaded, Learned):
        kinds = ", ".join(map(str, loaded.kinds))
        typer.echo(f"{source}: {what} of {len(loaded.kinds)} sources of {shape} (C×H×W), of kinds {kinds}")
        values = [value for value in loaded.state_dict().values() if value.is_floating_point()]  # NMF learns a buffer
    else:
        typer.echo(f"{source}: {what} over images of {shape} (C×H×W)")
        values = list(loaded.parameters())
        if loaded.calibration is None and loaded.condition is None:
            typer.echo("not calibrated: `basis separate` cannot tell unlikely sources; `basis calibrate` measures it")
    typer.echo(f"parameters: {sum(value.numel() for value in values):,}")
