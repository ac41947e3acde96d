"""What is special about a kind of signal: its files, how it looks, and the metrics that people use for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from basis.core.registry import Registry


class Signal(ABC):
    """A kind of signal. Which one a prior is of follows from its shape, see `signal_of`.

    Examples have a shape S and values in a data range, whatever they are; a signal says how they are read from files,
    written and shown. Nothing in a separation depends on it.

    Attributes:
        suffixes: endings of the files that it reads, in lower case.
        ending: how the file of one example ends.
        metrics: names of the usual metrics.
        general: whether it takes any shape, and so comes after all others.
    """

    suffixes: ClassVar[frozenset[str]]
    ending: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]] = ("psnr",)
    general: ClassVar[bool] = False

    @abstractmethod
    def suits(self, shape: Sequence[int]) -> bool:
        """Whether examples of this shape are of this kind."""

    @abstractmethod
    def read(self, path: Path, shape: Sequence[int], **options) -> Tensor:
        """Return the examples in a file, (B, *S), float32, for a prior of this shape; theirs may be another.

        Args:
            path: file that ends in one of `suffixes`.
            shape: shape of the prior's examples.
            **options: what the command line may be told of files; each kind takes what it knows.

        Raises:
            DataError: the file is missing, damaged or too large.
        """

    @abstractmethod
    def write(self, path: Path, x: Tensor, data_range: Sequence[float]) -> None:
        """Write one example x, (*S), with values in the data range; ``path`` ends in `ending`."""

    @abstractmethod
    def picture(self, x: Tensor) -> Tensor:
        """Return what one example x, (*S), with values in [0, 1], looks like: (1, H, W) or (3, H, W), in [0, 1]."""


SIGNALS = Registry("signal", "basis.signals", Signal)


def signals() -> list[Signal]:
    """Return all kinds of signals, those that take any shape last."""
    return sorted((SIGNALS.get(name)() for name in SIGNALS.names()), key=lambda signal: signal.general)


def signal_of(shape: Sequence[int]) -> Signal:
    """Return the kind of signal that examples of this shape are.

    Example:
        >>> [type(signal_of(shape)).__name__ for shape in ((1, 28, 28), (3, 64, 64), (1, 64), (5, 8, 8))]
        ['Picture', 'Picture', 'Array', 'Array']
    """
    return next(signal for signal in signals() if signal.suits(shape))
