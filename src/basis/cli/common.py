"""The options that every command has: --quiet, --verbose and --config."""

from __future__ import annotations

import functools
import inspect
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from basis.cli.voice import NORMAL, QUIET, VERBOSE, VOICE
from basis.core.errors import DataError, UsageError, unknown

OWN = ("help", "config")  # long options that a file does not give

QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors, and what was asked for, alone.")]
VerboseOption = Annotated[
    bool, typer.Option("-v", "--verbose", help="Also print the settings chosen, the time taken, and versions.")
]


def set_level(quiet: bool, verbose: bool) -> None:
    """Make the command as loud as it was asked to be."""
    if quiet and verbose:
        raise UsageError("got --quiet and --verbose", fix="give one of them")
    if quiet or verbose:
        VOICE.level = QUIET if quiet else VERBOSE
    elif VOICE.level not in (QUIET, VERBOSE):  # `basis -q separate` has set it
        VOICE.level = NORMAL


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that also takes --config, --quiet and --verbose."""

    @functools.wraps(command)
    def run(quiet: bool, verbose: bool, config: Path | None, **given: Any) -> None:
        set_level(quiet, verbose)
        command(**given)

    hints = get_type_hints(command, include_extras=True)
    own = [p.replace(annotation=hints[p.name]) for p in inspect.signature(command).parameters.values()]
    added = {
        "config": (
            Annotated[
                Path | None,
                typer.Option("--config", is_eager=True, callback=_configure, help="TOML file of options by long name."),
            ],
            None,
        ),
        "quiet": (QuietOption, False),
        "verbose": (VerboseOption, False),
    }
    others = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in added.items()
    ]
    run.__signature__ = inspect.Signature([*own, *others])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*own, *others]}
    return run


def _configure(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take what the file says as the defaults of the other options; those on the command line win."""
    if path is None or ctx.resilient_parsing:
        return path
    known = {
        option.removeprefix("--"): parameter
        for parameter in ctx.command.params
        for option in parameter.opts
        if option.startswith("--") and option.removeprefix("--") not in OWN
    }
    defaults = dict(ctx.default_map or {})
    for key, value in _read(path).items():
        if (name := key.replace("_", "-")) not in known:
            raise unknown(f"option of {ctx.info_name} in {path}:", key, known)
        parameter = known[name]
        where = f"{path}: {key}"
        if parameter.is_flag:  # type: ignore[attr-defined]
            if not isinstance(value, bool):
                raise UsageError(f"{where} takes true or false, got {json.dumps(value)}", fix="give one of them")
            defaults[str(parameter.name)] = value
        else:
            defaults[str(parameter.name)] = _texts(value, where, parameter.multiple)  # type: ignore[attr-defined]
    ctx.default_map = defaults
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror})", fix="give a TOML file to --config") from error
    except ValueError as error:  # TOML's, and text that is not UTF-8
        raise DataError(
            f"{path} is not TOML ({error})", fix='write one option a line, for instance method = "fast"'
        ) from (error)


def _texts(value: Any, where: str, multiple: bool) -> str | list[str]:
    """Return a value of the file as it would stand on the command line."""
    if multiple:
        if isinstance(value, dict):  # [set] of NAME=VALUE
            return [f"{name}={one if isinstance(one, str) else json.dumps(one)}" for name, one in value.items()]
        return [_text(one, where) for one in (value if isinstance(value, list) else [value])]
    return ",".join(_text(one, where) for one in value) if isinstance(value, list) else _text(value, where)


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{where} takes text or a number, got {value}", fix="write it as on the command line")
    return str(value)
