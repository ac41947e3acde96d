"""Errors that a user can act on: what was expected, what came, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 60  # characters of a value in a message


class BasisError(Exception):
    """Base of every error that this library raises on purpose.

    Args:
        message: what was expected and what came, in one line.
        fix: what to do about it, in one line.

    Example:
        >>> print(BasisError("expected a grey image, got a colour one", fix="convert it to grey"))
        expected a grey image, got a colour one. To fix: convert it to grey
    """

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(f"{message}. To fix: {fix}" if fix else message)


class UsageError(BasisError, ValueError):
    """An argument is not what was asked for.

    Example:
        >>> import basis
        >>> basis.WeightedSum([])
        Traceback (most recent call last):
        basis.core.errors.UsageError: expected at least one weight, ...
    """


class DataError(BasisError):
    """A file or an array cannot be used as it is.

    Example:
        >>> import basis, torch
        >>> basis.separate(torch.full((1, 28, 28), 255.0), basis.load_prior("mnist"), basis.WeightedSum([1, 1]))
        Traceback (most recent call last):
        basis.core.errors.DataError: the mixture has values from 255 to 255, expected 0 to 2. To fix: ...
    """


class DivergenceError(BasisError, ArithmeticError):
    """A sampler left the finite numbers; the message names the noise level and the step.

    Example:
        >>> import basis, torch
        >>> prior, mixing = basis.load_prior("mnist"), basis.WeightedSum([1] * 12)
        >>> wild = basis.BASIS(steps=200, stability=float("inf"), delta=2e-3)
        >>> basis.separate(torch.zeros(1, 28, 28), prior, mixing, wild)
        Traceback (most recent call last):
        basis.core.errors.DivergenceError: the state is not finite at level 1 of 10 (sigma 1), ...
    """


class UnlikelyMixtureWarning(UserWarning):
    """A mixture has been separated that no sources of its priors could have made, by the priors' own measure.

    Example:
        >>> import basis, numpy, warnings
        >>> paper = 2 - numpy.load(basis.example("two-a"))["sources"].sum(0) / 255  # ink on paper
        >>> prior, mixing = basis.load_prior("mnist"), basis.WeightedSum([1, 1])
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     result = basis.separate(paper, prior, mixing, "fast", steps=5)
        >>> caught[0].category.__name__
        'UnlikelyMixtureWarning'
    """


class DataWarning(UserWarning):
    """A file was read, in a way that its owner should know; the command line prints it as one line."""


class UncertainWarning(UserWarning):
    """A figure is less sure than it looks; the command line prints why as one line."""


def shown(value: object) -> str:
    """Return a value for a message: no more than 60 characters of it.

    Example:
        >>> shown([1, 2]), len(shown([1] * 1000))
        ('[1, 2]', 61)
    """
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that is not known, with the near matches."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:  # a good match leaves the poor ones out
        best = difflib.SequenceMatcher(None, near[0], name).ratio()
        near = difflib.get_close_matches(name, near, n=3, cutoff=0.75 * best)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(known)}"
    return UsageError(f"unknown {kind} '{name}'", fix=hint)
