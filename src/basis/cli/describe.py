"""`basis list` and `basis info`."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from basis.core.prior import Prior
    from basis.io.learned import Learned


WIDTH = 100  # characters of a line
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def list_choices(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A method, preset or another choice: its settings.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List priors, presets, methods, mixings, samplers and data sets, with one line each; or the settings of one."""
    from basis.assets import examples, recipes
    from basis.cli.choices import KINDS
    from basis.io import checkpoint
    from basis.io.presets import summaries

    if name is not None:
        _show_settings(name, as_json)
        return
    weights = {prior: checkpoint.PRETRAINED / prior / checkpoint.WEIGHTS for prior in checkpoint.pretrained()}
    cards = {prior: checkpoint.read_card(path).get("summary", "") for prior, path in weights.items()}
    tables = {
        "priors": cards,
        "presets": summaries(),
        **{kind: registry.describe() for kind, registry in KINDS.items()},
    }
    tables["bundled recipes (basis train recipe:NAME)"] = recipes.describe()
    tables["bundled examples (basis separate example:NAME)"] = examples.describe()
    if as_json:
        typer.echo(to_text({kind.partition(" (")[0]: entries for kind, entries in tables.items()}))
        return
    for kind, entries in tables.items():
        typer.echo(f"{kind}:")
        for entry, line in entries.items():
            typer.echo(f"  {entry:20} {line}")


def info(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Bundled prior, folder or file of a prior or a fitted method; a preset or method."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Show what a prior or a fitted method is: shape, size, training data, steps, scores and hash.

    Of a preset or method it shows the settings.
    """
    from basis.core.separator import SEPARATORS
    from basis.io.checkpoint import foreign, load_prior, open_weights, pretrained, read_card
    from basis.io.learned import load_separator
    from basis.io.presets import summaries

    if source in (*summaries(), *SEPARATORS.names()) and not (source in pretrained() or Path(source).exists()):
        _show_settings(source, as_json)
        return
    if reader := foreign(source):
        facts, card = _facts(load_prior(source)), None
        last = f"read from a foreign format; `basis import` makes a prior folder of it ({type(reader).__name__})"
    else:
        path, header = open_weights(source)
        facts, card = _facts(load_separator(path) if "separator" in header else load_prior(path)), read_card(path)
        facts |= {"weights": str(path), "bytes": path.stat().st_size}
        last = f"weights: {path} ({path.stat().st_size / 2**20:.1f} MiB)"
    if as_json:
        typer.echo(to_text({"name": source, **facts, "card": card}))
        return
    for line in (*_lines(source, facts), last, *([] if card is None else [to_text(card)])):
        typer.echo(line)


def to_text(facts: object) -> str:
    """Return JSON to read."""
    return json.dumps(facts, indent=2, ensure_ascii=False, default=str)


def _facts(loaded: Prior | Learned) -> dict[str, Any]:
    """Return the class, what it is for, and the number of parameters."""
    from basis.io.learned import Learned

    values = list(loaded.parameters())
    if isinstance(loaded, Learned):
        values = [value for value in loaded.state_dict().values() if value.is_floating_point()]  # NMF learns a buffer
        own: dict[str, Any] = {"kinds": [*loaded.kinds]}
    else:
        own = {
            "data_range": loaded.data_range,
            "levels": loaded.levels,
            "condition": loaded.condition,
            "calibrated": loaded.calibration is not None,
        }
    size = sum(value.numel() for value in values)
    return {"class": type(loaded).__name__, "shape": [*loaded.shape], **own, "parameters": size}


def _lines(source: str, facts: dict[str, Any]) -> list[str]:
    """Say so in words."""
    what, shape = facts["class"], "×".join(map(str, facts["shape"]))
    if "kinds" in facts:
        kinds = facts["kinds"]
        first = [f"{source}: {what} of {len(kinds)} sources of {shape} (C×H×W), of kinds {', '.join(map(str, kinds))}"]
    else:
        first = [f"{source}: {what} over images of {shape} (C×H×W)"]
        if not facts["calibrated"] and facts["condition"] is None:
            first += ["not calibrated: `basis separate` cannot tell unlikely sources; `basis calibrate` measures it"]
    return [*first, f"parameters: {facts['parameters']:,}"]


def _show_settings(name: str, as_json: bool) -> None:
    """Print the settings of everything that has a name: type, default and meaning."""
    from basis.cli.choices import choices

    found = choices(name)
    if as_json:
        typer.echo(to_text([found_one._asdict() for found_one in found]))
        return
    for choice in found:
        typer.echo(f"{choice.kind} {name}: {choice.summary}")
        width = max((len(one["name"]) for one in choice.settings), default=0)
        for one in choice.settings:
            default = "needed" if one["required"] else f"default {_short(one['default'])}"
            typer.echo(f"  {one['name']:{width}}  {one['type'] or 'anything'}; {default}")
            for line in textwrap.wrap(one["meaning"], WIDTH - width - 4):
                typer.echo(f"  {'':{width}}  {line}")
        if not choice.settings:
            typer.echo("  no settings")


def _short(value: object) -> str:
    text = (
        {True: "true", False: "false", None: "none"}.get(value, str(value)) if isinstance(value, bool | None) else value
    )
    return textwrap.shorten(str(text), WIDTH // 2, placeholder="…")
