"""The baseline that knows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from basis.core.noise import Noise
from basis.core.problem import Problem
from basis.core.sampler import State
from basis.core.separator import Separator, Stream, separation


@dataclass(frozen=True)
class Average(Separator):
    """The smallest sources that mix to m: m / K each for a plain sum (section 5, "Average").

    Example:
        >>> from basis import WeightedSum, load_prior, separate
        >>> result = separate(torch.ones(1, 28, 28), load_prior("mnist"), WeightedSum([1, 1]), Average())
        >>> result.sources.unique()
        tensor([0.5000])
    """

    asks_prior: ClassVar[bool] = False

    def stream(self, problem: Problem, noise: Noise) -> Stream:
        mixture = problem.mixture.repeat_interleave(noise.samples, 0)
        x = problem.mixing.project(torch.zeros(len(mixture), *problem.prior.shape).to(mixture), mixture)
        yield State(x, sigma=0.0, level=1, levels=1, step=1, steps=1)
        return separation(problem, x)
