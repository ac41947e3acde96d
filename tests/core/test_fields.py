"""What `basis list METHOD` shows: one function reads constructors, dataclasses and functions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

import basis
from basis.core.fields import Field, fields
from basis.core.separator import SEPARATORS
from basis.core.settings import Count, NonNegative


class Base:
    """A base.

    Args:
        width: of the base.
        height: of it,
            in pixels: more text.
    """


class Constructor(Base):
    """A class.

    It says more.

    Args:
        width: pixels.
        first, second: two of them.

    Raises:
        UsageError: not a setting.
    """

    def __init__(self, width: Count, height: float = 1.5, first=None, second: str | None = None, **others) -> None: ...


@dataclass(frozen=True)
class Frozen(Base):
    """A dataclass.

    Attributes:
        width: pixels.
        weights: one a source.
        hidden: not a setting.
    """

    width: Count
    height: NonNegative = 1.5
    weights: Sequence[float] = field(default_factory=lambda: [1.0, 1.0])
    hidden: int = field(init=False, default=3)


def test_a_constructor():
    """What a class says itself comes before what its base says; a setting may be without annotation or meaning."""
    assert fields(Constructor) == [
        Field("width", "a whole number (at least 1)", None, True, "pixels."),
        Field("height", "a number", 1.5, False, "of it, in pixels: more text."),
        Field("first", "", None, False, "two of them."),
        Field("second", "text or none", None, False, "two of them."),
    ]


def test_a_dataclass():
    assert fields(Frozen) == [
        Field("width", "a whole number (at least 1)", None, True, "pixels."),
        Field("height", "a number (at least 0, finite)", 1.5, False, "of it, in pixels: more text."),
        Field("weights", "a list, each a number", [1.0, 1.0], False, "one a source."),
    ]


def test_a_function():
    found = {one.name: one for one in fields(basis.karras)}
    assert found["rho"].required is False
    assert all(one.meaning for one in found.values())


@pytest.mark.parametrize("name", SEPARATORS.names())
def test_every_setting_of_a_method_has_a_type_and_a_meaning(name):
    for one in fields(SEPARATORS.get(name)):
        assert one.kind, one
        assert one.meaning, one
