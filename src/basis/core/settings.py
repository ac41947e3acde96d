"""Settings have types and ranges: arguments of constructors are checked against their annotations."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import operator
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from basis.core.errors import UsageError, unknown

Count = Annotated[int, Ge(1)]
Whole = Annotated[int, Ge(0)]
Above0 = Annotated[float, Gt(0)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
NonNegative = Annotated[float, Ge(0), Lt(math.inf)]
Finite = Annotated[float, Gt(-math.inf), Lt(math.inf)]
Share = Annotated[float, Ge(0), Le(1)]

F = TypeVar("F", bound=Callable)
SHOWN = 60  # characters of a wrong value in a message
WORDS = {"true": True, "false": False, "null": None, "none": None, "inf": math.inf, "-inf": -math.inf, "nan": math.nan}
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", types.NoneType: "none"}
LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
HOLDS = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}


class Typed:
    """Base of what is made from settings: an argument or a field that is not as annotated is a `UsageError`.

    Annotations may have ranges (`annotated_types`): ``steps: Annotated[int, Ge(1)]``, or `Count` for short. Those that
    cannot be read, and arguments without one, are not checked.

    Example:
        >>> class Blur(Typed):
        ...     def __init__(self, width: Positive = 1.0, twice: bool = False) -> None: ...
        >>> Blur(twice="no")
        Traceback (most recent call last):
        basis.core.errors.UsageError: setting 'twice' of Blur takes true or false, got 'no'. To fix: ...
    """

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Check the fields of a dataclass; scalars of numpy become Python's numbers."""
        given = {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        for name, value in given.items():
            object.__setattr__(self, name, value)
        check(type(self), given, type(self).__name__)


def checked(make: F) -> F:
    """Return a function, or a constructor, that checks its arguments against its annotations before it runs.

    Scalars of numpy reach it as Python's numbers.
    """
    signature = inspect.signature(make)
    various = [p.name for p in signature.parameters.values() if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]

    @functools.wraps(make)
    def wrapper(*args, **kwargs):
        args = tuple(_plain(value) for value in args)
        kwargs = {name: _plain(value) for name, value in kwargs.items()}
        given = {k: v for k, v in signature.bind(*args, **kwargs).arguments.items() if k not in various}
        check(make, given, type(args[0]).__name__ if make.__name__ == "__init__" else make.__name__)
        return make(*args, **kwargs)

    return wrapper  # type: ignore[return-value]


def check(make: Callable, settings: Mapping[str, object], owner: str) -> None:
    """Raise `UsageError` for the first of some settings that is not what ``make`` takes.

    Args:
        make: a class or function whose annotations say what each setting takes.
        settings: values by name; names without annotation pass.
        owner: what the settings belong to, for the message.
    """
    known = kinds(make)
    for name, value in settings.items():
        if name in known and not takes(known[name], value):
            shown = repr(value) if len(repr(value)) <= SHOWN else f"{repr(value)[:SHOWN]}…"
            message = f"setting '{name}' of {owner} takes {words(known[name])}, got {shown}"
            raise UsageError(message, fix=_other(inspect.signature(make).parameters[name].default))


def check_names(make: Callable, settings: Iterable[str], owner: str) -> None:
    """Raise `UsageError` for names that ``make`` has no setting for, and for settings that it needs and lacks.

    Args:
        make: a class or function.
        settings: names that are given.
        owner: what the settings belong to, for the message.
    """
    parameters = inspect.signature(make).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    known = [p.name for p in named]
    if len(named) == len(parameters):
        for name in settings:
            if name not in known:
                raise unknown(f"setting of {owner}:", name, known or ["none"])
    if lacking := [p.name for p in named if p.default is p.empty and p.name not in settings]:
        raise UsageError(f"{owner} needs settings that are not given: {', '.join(lacking)}", fix="give them")


def takes(kind: Any, value: object) -> bool:
    """Return whether a value is of an annotated type and in its range.

    A bool is no number, a whole number is a number, and lists and tuples are alike.

    Example:
        >>> takes(Count | None, 3), takes(Count | None, 0), takes(int, True), takes(list[float], (1, 2.5))
        (True, False, False, True)
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return takes(parts[0], value) and all(_within(limit, value) for limit in parts[1:])
    if origin in (Union, types.UnionType):
        return any(takes(part, value) for part in parts)
    if origin is Literal:
        return value in parts
    if kind in (bool, int, float):
        number = {bool: bool | np.bool_, int: Integral, float: Real}[kind]
        return isinstance(value, number) and (kind is bool or not isinstance(value, bool | np.bool_))
    if kind is None:
        return value is None
    cls = origin or kind
    if cls in (Any, object) or not isinstance(cls, type):
        return True  # anything, or an annotation of another kind
    if issubclass(cls, Sequence) and cls is not str:
        value = value.tolist() if isinstance(value, np.ndarray) else value
        inner = next((part for part in parts if part is not ...), Any)
        return isinstance(value, list | tuple | range) and all(takes(inner, entry) for entry in value)
    return isinstance(value, cls)


def words(kind: Any) -> str:
    """Return what an annotated type takes, in words.

    Example:
        >>> words(Count | None), words(Sequence[float])
        ('a whole number (at least 1) or none', 'a list, each a number')
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        ranges = [_limit_words(limit) for limit in parts[1:]]
        return f"{words(parts[0])} ({', '.join(dict.fromkeys(ranges))})"
    if origin in (Union, types.UnionType):
        return " or ".join(words(part) for part in parts)
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if kind in NAMES:
        return NAMES[kind]
    cls = origin or kind
    if cls is Any or not isinstance(cls, type):
        return str(kind)
    if issubclass(cls, Sequence):
        return "a list" + (f", each {words(parts[0])}" if parts else "")
    if issubclass(cls, Mapping):
        return "a table"
    return "a function" if cls is Callable else f"a {cls.__name__}"


def from_text(text: str, kind: Any = Any) -> object:
    """Return the value that a text stands for: JSON, true, false, none and inf in any case, or else the text itself.

    Where that is not of the annotated type, and text is, it is the text: a folder may be called 2020.

    Example:
        >>> from_text("False"), from_text("0.5"), from_text("few"), from_text("2020", str)
        (False, 0.5, 'few', '2020')
    """
    try:
        value = WORDS[text.lower()] if text.lower() in WORDS else json.loads(text)
    except ValueError:
        return text
    return text if takes(kind, text) and not takes(kind, value) else value


def _other(default: object) -> str:
    """Say what to give in place of a wrong value, where a setting has this default."""
    if isinstance(default, bool):
        return f"leave it out for the default, {str(default).lower()}"
    return f"leave it out for the default, {default}" if isinstance(default, int | float | str) else "change its value"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _within(limits: object, value: Any) -> bool:
    return all(holds(value, getattr(limits, name)) for name, holds in HOLDS.items() if hasattr(limits, name))


def _limit_words(limits: object) -> str:
    found = [(name, getattr(limits, name)) for name in LIMITS if hasattr(limits, name)]
    return ", ".join("finite" if math.isinf(limit) else f"{LIMITS[name]} {limit:g}" for name, limit in found)


@functools.cache
def kinds(make: Callable) -> dict[str, Any]:
    """Return the annotation of each parameter, none where they name what is not there."""
    function = make.__init__ if isinstance(make, type) and not dataclasses.is_dataclass(make) else make  # type: ignore[misc]
    try:
        return get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception:  # an annotation may be any expression
        return {}
