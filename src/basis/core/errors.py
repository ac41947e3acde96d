"""Errors that a user can act on: what was expected, what came, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BasisError(Exception):
    """Base of every error that this library raises on purpose.

    Args:
        message: what was expected and what came, in one line.
        fix: what to do about it, in one line.
    """

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(f"{message}. To fix: {fix}" if fix else message)


class UsageError(BasisError, ValueError):
    """An argument is not what was asked for."""


class DataError(BasisError):
    """A file or an array cannot be used as it is."""


class DivergenceError(BasisError, ArithmeticError):
    """A sampler left the finite numbers."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that is not known, with the near matches."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(known)}"
    return UsageError(f"unknown {kind} '{name}'", fix=hint)
