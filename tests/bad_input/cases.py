"""All cases by name, and those that hypothesis draws."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bad_input.case import Case

BASE: list[Path] = []  # the folder of what is good, once it is made


@cache
def static() -> dict[str, Case]:
    """Return the cases that are written down, by their names."""
    from bad_input import datasets, files, foreign, imports, models, options, python, recipes, tables

    found: dict[str, Case] = {}
    for part in (options, imports, files, models, foreign, recipes, datasets, tables, python):
        for case in part.static():
            assert case.name not in found, case.name
            found[case.name] = case
    return found


def cut(name: str, share: float) -> Case:
    from bad_input import files

    return files.cut(name, share)


def flipped(name: str, places: list[float], byte: int) -> Case:
    from bad_input import files, foreign, models

    if name == "weights":
        return models.safetensors_flipped(places, byte)
    return foreign.glow_flipped("index", places, byte) if name == "glow" else files.flipped(name, places, byte)


def setting(command: str, name: str, value: object) -> Case:
    from bad_input import options

    return options.setting(command, name, value)


def entry(key: str, value: str) -> Case:
    from bad_input import recipes

    return recipes.entry(key, value)


def document(kind: str, value: object) -> Case:
    from bad_input import tables

    return tables.document(kind, value)


MAKERS = {
    "static": lambda name: static()[name],
    "cut": cut,
    "flipped": flipped,
    "setting": setting,
    "entry": entry,
    "document": document,
}
