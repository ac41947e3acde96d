"""Separators that learn from examples of their sources, and are saved and loaded like priors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from basis.core.arrays import plain_torch
from basis.core.checks import device_of, image_of, path_of
from basis.core.errors import DataError, UsageError
from basis.core.noise import Noise
from basis.core.problem import Problem
from basis.core.separator import SEPARATORS, Separator, Stream, choose
from basis.core.settings import Count, Whole
from basis.io.checkpoint import described, load_module, open_weights
from basis.io.saving import save_content, serialized

METHOD = "method"  # kind of folder, see `basis.io.output.Mark`


@dataclass(frozen=True)
class Learning:
    """Where a fit stands: after ``step`` of ``steps``; ``loss`` is what the method minimises, see its docstring."""

    step: int
    steps: int
    loss: float


class Learned(nn.Module, Separator):
    """A separator that learns before it separates. Constructor arguments, JSON values, are its configuration.

    Subclasses provide ``learn``, which yields its progress and leaves what was learned in parameters and buffers, and
    ``find``, which is the `stream` of a separator that has learned. Calls of ``find`` change nothing.

    Args:
        shape: shape S of a source.
        kinds: which kind of examples each of the K sources is of, numbered from 0: (0, 0) where both are of one kind
            (class-agnostic), (0, 1) where they are of two (class split).

    Attributes:
        images_only: whether sources have to be images, (C, H, W).
        values: smallest and largest value that the method can learn from; None for any.
        learned: steps that were taken, an int64 tensor that is saved with the weights; 0 before `fit`.

    Example:
        >>> class Mean(Learned):
        ...     def __init__(self, shape, kinds):
        ...         super().__init__(shape, kinds)
        ...         self.register_buffer("mean", torch.zeros(len(set(kinds)), *shape))
        ...     def learn(self, images):
        ...         self.mean.copy_(torch.stack([pixels(some).mean(0) for some in images]))
        ...         yield Learning(1, 1, 0.0)
        ...     def find(self, problem, noise): ...
        >>> mean = Mean((1, 2, 2), (0, 0))
        >>> [state.step for state in mean.fit([torch.ones(5, 1, 2, 2)])], mean.mean.unique()
        ([1], tensor([1.]))
    """

    asks_prior = False
    images_only: ClassVar[bool] = False
    values: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    learned: Tensor

    def __init__(self, shape: Sequence[Count], kinds: Sequence[Whole]) -> None:
        super().__init__()
        if sorted(set(kinds)) != list(range(len(set(kinds)))) or not kinds:
            raise UsageError(
                f"expected the kinds of the sources, numbered from 0, got {list(kinds)}",
                fix="for instance [0, 0] for two sources of one kind, [0, 1] for two kinds",
            )
        if self.images_only:
            image_of(shape, f"method '{SEPARATORS.name_of(type(self))}'")
        self.shape, self.kinds = tuple(shape), tuple(kinds)
        self.register_buffer("learned", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def learn(self, images: Sequence[Tensor]) -> Iterator[Learning]:
        """Learn in training mode, yielding after every step; arguments as in `fit`, checked."""

    @abstractmethod
    def find(self, problem: Problem, noise: Noise) -> Stream:
        """Yield the states on the way and return the separation, as `Separator.stream`; the problem is checked."""

    def fit(self, images: Sequence[Tensor]) -> Iterator[Learning]:
        """Learn, yielding the progress after every step; the separator is ready when the iteration has ended.

        Args:
            images: training examples of each kind of source, (N, *S), in units of the data; uint8 stands for [0, 1].

        Raises:
            UsageError: not one tensor for each kind.
            DataError: examples of another shape, none at all, or values outside of what the method can learn from.
        """
        self._check_images(images)
        self.train().requires_grad_(True)
        step = 0
        for progress in self.learn(images):
            step = progress.step
            yield progress
        self.eval().requires_grad_(False)
        self.learned.fill_(step)

    def stream(self, problem: Problem, noise: Noise) -> Stream:
        """Separate with what was learned.

        Raises:
            UsageError: nothing was learned yet, or the sources are of another shape or number than those learned.
        """
        name = SEPARATORS.name_of(type(self))
        again = f"basis fit {name} --data mnist --out FOLDER"
        if not self.learned:
            raise UsageError(
                f"method '{name}' has to learn before it separates",
                fix=f"run `{again}`, then give --method FOLDER (basis.load_separator)",
            )
        sources, *shape = problem.prior.shape
        if tuple(shape) != self.shape or (len(set(self.kinds)) > 1 and sources != len(self.kinds)):
            raise UsageError(
                f"method '{name}' has learned {len(self.kinds)} sources of shape {self.shape}, got {sources} of "
                f"{tuple(shape)}",
                fix=f"fit it to such sources: `{again} --sources {sources}`",
            )
        return (yield from self.find(problem, noise))

    def _check_images(self, images: Sequence[Tensor]) -> None:
        if len(images) != len(set(self.kinds)):
            raise UsageError(
                f"expected examples of {len(set(self.kinds))} kinds, got {len(images)}",
                fix="give one tensor (N, *shape) for each kind of source",
            )
        for some in images:
            if tuple(some.shape[1:]) != self.shape or not len(some):
                raise DataError(
                    f"expected training examples (N, {', '.join(map(str, self.shape))}), got {tuple(some.shape)}",
                    fix="build the method with the shape of the examples",
                )
            if some.dtype == torch.uint8 or self.values is None:
                continue
            low, high = self.values
            if not (some.min() >= low and some.max() <= high):
                raise DataError(
                    f"the training examples have values outside [{low:g}, {high:g}]", fix="scale them to that range"
                )


def pixels(images: Tensor) -> Tensor:
    """Return examples as float32; uint8 in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def draw(images: Sequence[Tensor], kinds: Sequence[int], batch: int, seed: Sequence[int]) -> Tensor:
    """Return random stacks of sources, (batch, K, *S), a function of the seed, (run, step), alone.

    Args:
        images: those of each kind, as in `Learned.fit`.
        kinds: kind of each of the K sources.
        batch: number of stacks.
        seed: whole numbers.
    """
    rng = np.random.default_rng(tuple(seed))
    picks = [images[kind][torch.from_numpy(rng.integers(len(images[kind]), size=batch))] for kind in kinds]
    return pixels(torch.stack(picks, 1))


def save_separator(
    separator: Learned, arguments: dict, folder: str | Path, card: dict | None = None, *, overwrite: bool = False
) -> Path:
    """Write a separator that has learned, so that `load_separator` finds it again; arguments are those of `save_prior`.

    Example:
        >>> import tempfile
        >>> from basis.separators.nmf import NMF
        >>> arguments = dict(shape=[1, 4, 4], components=2, iterations=5)
        >>> nmf = NMF(**arguments)
        >>> for progress in nmf.fit([torch.rand(9, 1, 4, 4)]): pass
        >>> torch.equal(load_separator(save_separator(nmf, arguments, tempfile.mkdtemp())).atoms, nmf.atoms)
        True
    """
    content = serialized(separator, header_of(separator, arguments))
    return save_content(content, folder, METHOD, card, overwrite=overwrite)


def header_of(separator: Learned, arguments: dict) -> dict:
    """Return what the header of a separator's weights says, from which `load_separator` builds it."""
    return {"separator": SEPARATORS.name_of(type(separator)), "arguments": arguments}


@plain_torch()
def load_separator(source: str | Path, device: str = "cpu", **settings) -> Learned:
    """Load a separator that `save_separator` or `basis fit` wrote.

    Args:
        source: folder, or the weights file in it.
        device: where to compute.
        **settings: settings to change, of those that say how it separates, not how it learned.

    Raises:
        UsageError: there is no such folder; a setting does not suit what was learned.
        DataError: the file is not of a separator, is damaged, or its hash is not the one on its card.

    Example:
        >>> load_separator("runs/none")
        Traceback (most recent call last):
        basis.core.errors.UsageError: no separator at runs/none. To fix: write one with `basis fit`
    """
    where = device_of(device)
    if not path_of(source, "the folder of a method that has learned").exists():
        raise UsageError(f"no separator at {source}", fix="write one with `basis fit`")
    path, config = open_weights(source)
    if "separator" not in config:
        raise DataError(f"{path} does not hold a separator", fix="give a folder that `basis fit` wrote")
    name, arguments = described(path, config, "separator")
    own = {**arguments, **settings}
    try:
        return load_module(path, lambda: cast(Learned, choose(name, own))).to(where)
    except DataError as error:
        if not settings:
            raise
        raise UsageError(
            f"settings {settings} do not fit what {source} has learned ({error})", fix="fit the method with them"
        ) from error
