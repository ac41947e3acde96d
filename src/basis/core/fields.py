"""What can be set of a choice: names, types, defaults and meanings, from its annotations and its docstring."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any

from basis.core.settings import kinds, words

SECTION = re.compile(r"^(?:Args|Attributes):\n((?:(?:[ ]+.*)?\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        name: its name.
        kind: what it takes, in words; empty where it has no annotation.
        default: its default; None where it has to be given.
        required: whether it has to be given.
        meaning: what the docstring says of it; empty where it says nothing.
    """

    name: str
    kind: str
    default: Any
    required: bool
    meaning: str


def fields(make: Callable) -> list[Field]:
    """Return the settings of a class, which may be a dataclass, or of a function, in their order.

    Example:
        >>> class Blur:
        ...     '''Blurs.
        ...
        ...     Args:
        ...         width: of the kernel, in pixels.
        ...     '''
        ...     def __init__(self, width: int = 3) -> None: ...
        >>> fields(Blur)
        [Field(name='width', kind='a whole number', default=3, required=False, meaning='of the kernel, in pixels.')]
    """
    known, said = kinds(make), _meanings(make)
    made = dataclasses.fields(make) if dataclasses.is_dataclass(make) else ()
    factories = {field.name: field.default_factory for field in made}
    found = []
    for p in inspect.signature(make).parameters.values():
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            continue
        required, default = p.default is p.empty, None if p.default is p.empty else p.default
        factory = factories.get(p.name, dataclasses.MISSING)
        default = factory() if callable(factory) else default
        kind = words(known[p.name]) if p.name in known else ""
        found.append(Field(p.name, kind, default, required, said.get(p.name, "")))
    return found


def _meanings(make: Callable) -> dict[str, str]:
    """Return what the docstrings of a class and of those that it derives from say of each argument."""
    found: dict[str, str] = {}
    for owner in reversed(make.__mro__ if isinstance(make, type) else (make,)):
        text = vars(owner).get("__doc__") if isinstance(owner, type) else owner.__doc__  # a class's own, not its base's
        for section in SECTION.findall(inspect.cleandoc(text or "") + "\n"):
            for names, meaning in ENTRY.findall(section):
                found |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return found
