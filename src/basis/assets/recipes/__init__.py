"""Bundled recipes for `basis train` and `basis finetune`: a training run as a TOML file."""

from __future__ import annotations

import re
from pathlib import Path

from basis.core.errors import unknown

FOLDER = Path(__file__).parent
PREFIX = "recipe:"


def recipe(name: str) -> Path:
    """Return the file of a bundled recipe.

    Args:
        name: for instance "mnist"; on the command line this is ``recipe:mnist``.

    Raises:
        UsageError: no such recipe; names the near matches.

    Example:
        >>> recipe("mnist").name
        'mnist.toml'
    """
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        raise unknown("recipe", name, (file.stem for file in FOLDER.glob("*.toml")))
    return path


def find_recipe(path: Path) -> Path:
    """Return the file that a path on the command line stands for: ``recipe:NAME`` is a bundled recipe."""
    text = str(path)
    return recipe(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else path


def describe() -> dict[str, str]:
    """Return what every bundled recipe trains: its first comment, up to the first colon or full stop."""
    files = sorted(FOLDER.glob("*.toml"))
    return {file.stem: re.split(r"[:.(]\s|, |\(", file.read_text().lstrip("# "), maxsplit=1)[0] for file in files}
