"""Samplers: a pure step and one loop that yields states. A sampler never hears of mixtures."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from basis.core.checks import falling
from basis.core.errors import DivergenceError, UsageError, shown
from basis.core.prior import Prior
from basis.core.registry import Registry
from basis.core.schedule import karras, nearest
from basis.core.settings import Typed


@dataclass(frozen=True, eq=False)
class State:
    """Where a sampler stands: x after ``step`` of ``steps``, at noise level ``sigma``, the ``level``-th of ``levels``.

    Counts start at 1. x has shape (N, *S) of the target.

    Example:
        >>> State(torch.zeros(1, 1), sigma=0.01, level=10, levels=10, step=1000, steps=1000).level
        10
    """

    x: Tensor
    sigma: float
    level: int
    levels: int
    step: int
    steps: int


@dataclass(frozen=True, eq=False)
class Sampler(Typed, ABC):
    """Draws from a target distribution along a schedule of noise levels. The fields of a subclass are its settings.

    Args:
        sigmas: decreasing noise levels, (L,); a subclass may have a default.

    Raises:
        UsageError: levels that do not decrease or are not positive; a setting that is not as annotated.

    Example:
        >>> class Denoise(Sampler):
        ...     def step(self, x, sigma, sigma_next, target, noise):
        ...         return target.denoise(x, sigma)
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> [state.x.item() for state in Denoise(torch.tensor([1.0, 0.5])).run(unit, torch.ones(1, 1), None)]
        [0.5, 0.4000000059604645]
    """

    sigmas: Tensor | Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not falling(self.levels):
            raise UsageError(
                f"expected decreasing positive noise levels, got {shown([*self.levels])}",
                fix="see basis.geometric and basis.karras",
            )

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """The noise levels as numbers."""
        given = self.schedule() if self.sigmas is None else self.sigmas
        return tuple(given.tolist() if isinstance(given, Tensor) else given)

    def schedule(self) -> Tensor:
        """Return the noise levels by default, (L,)."""
        return karras()

    @property
    def repeats(self) -> int:
        """Steps at each noise level."""
        return 1

    def on(self, levels: Sequence[float] | None) -> Self:
        """Return this sampler with each noise level replaced by the nearest of ``levels``; itself if that is None."""
        if levels is None:
            return self
        return dataclasses.replace(self, sigmas=nearest(torch.tensor(self.levels), levels))

    @property
    def total(self) -> int:
        """Steps of one run."""
        return len(self.levels) * self.repeats

    @abstractmethod
    def step(self, x: Tensor, sigma: float, sigma_next: float, target: Prior, noise: Callable[[], Tensor]) -> Tensor:
        """Return x after one step.

        Args:
            x: states, (N, *S).
            sigma: this step's noise level.
            sigma_next: the next smaller noise level of the schedule, 0 at its end.
            target: the distribution to draw from.
            noise: returns fresh N(0, I) of x's shape at each call.
        """

    def run(self, target: Prior, x: Tensor, noise: Callable[[], Tensor]) -> Iterator[State]:
        """Yield the state after every step, from x, (N, *S).

        Raises:
            DivergenceError: x is not finite; names the level and the step.
        """
        levels, step = len(self.levels), 0
        for level, (sigma, sigma_next) in enumerate(pairwise([*self.levels, 0.0]), 1):
            for repeat in range(1, self.repeats + 1):
                step += 1
                with torch.no_grad():
                    x = self.step(x, sigma, sigma_next, target, noise)
                if not torch.isfinite(x).all():
                    raise DivergenceError(
                        f"the state is not finite at level {level} of {levels} (sigma {sigma:.4g}), step {repeat} of "
                        f"{self.repeats}",
                        fix="take smaller steps, and check that the prior covers this noise level",
                    )
                yield State(x, sigma, level, levels, step, self.total)


SAMPLERS = Registry("sampler", "basis.samplers", Sampler)
