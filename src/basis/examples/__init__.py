"""Bundled example mixtures."""

from __future__ import annotations

from pathlib import Path

from basis.core.errors import unknown

FOLDER = Path(__file__).parent


def example(name: str) -> Path:
    """Return the file with the true sources of a bundled example: array "sources", uint8 (K, 1, 28, 28).

    Example:
        >>> example("two-a").name
        'two-a.npz'
    """
    path = FOLDER / "truth" / f"{name}.npz"
    if not path.is_file():
        raise unknown("example", name, (file.stem for file in FOLDER.glob("truth/*.npz")))
    return path
