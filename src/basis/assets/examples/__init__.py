"""Bundled examples: mixtures of digits, and a picture to colorize."""

from __future__ import annotations

from pathlib import Path

from basis.core.errors import unknown

FOLDER = Path(__file__).parent
PREFIX = "example:"
SUMMARIES = {
    "two": "two overlapping digits (-k 2)",
    "three": "three overlapping digits (-k 3)",
    "four": "four overlapping digits (-k 4)",
    "cat": "a photograph, 144×96, for `basis colorize`",
}


def example(name: str) -> Path:
    """Return the file with the true sources of a bundled example: array "sources", uint8 (K, 1, 28, 28).

    Example:
        >>> example("two-a").name
        'two-a.npz'
    """
    path = FOLDER / "truth" / f"{name}.npz"
    if not path.is_file():
        raise unknown("example", str(name), (file.stem for file in FOLDER.glob("truth/*.npz")))
    return path


def find_example(path: Path) -> Path:
    """Return the picture that a path on the command line stands for: ``example:NAME`` is a bundled example.

    Raises:
        UsageError: no such example; names the near matches.
    """
    text = str(path)
    if not text.startswith(PREFIX):
        return path
    name = text.removeprefix(PREFIX)
    if name not in (names := describe()):
        raise unknown("example", name, names)
    return FOLDER / f"{name}.png"


def describe() -> dict[str, str]:
    """Return one line on every bundled example."""
    return {path.stem: SUMMARIES[path.stem.partition("-")[0]] for path in sorted(FOLDER.glob("*.png"))}
