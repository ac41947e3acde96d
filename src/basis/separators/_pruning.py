"""Which candidates to go on with half-way: those whose denoised sources have added up to the mixture on the way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import Mixing
from basis.core.noise import Noise
from basis.core.prior import Prior, per_example
from basis.core.problem import Problem
from basis.core.sampler import State
from basis.separators.sample import Sample


class Misfit(Prior):
    """A prior that adds up how far its denoised estimates are from the mixture: ``Σ ‖m - g(D(x, σ))‖² / σ²``.

    The sum is over the calls so far, which belong to one run of a sampler, and costs no evaluation.

    Args:
        prior: over stacks of sources.
        mixing: g.
        mixture: m of each stack, (N, *M).
    """

    def __init__(self, prior: Prior, mixing: Mixing, mixture: Tensor) -> None:
        super().__init__(prior.shape, prior.support, prior.levels, prior.known)
        self.prior, self.mixing, self.mixture = prior, mixing, mixture
        self.order = getattr(prior, "order", None)
        self.total = mixture.new_zeros(len(mixture))

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        score, s2 = self.prior.score(x, sigma), per_example(sigma, x) ** 2
        with torch.no_grad():
            off = self.mixture - self.mixing(x + s2 * score)
            self.total = self.total + off.flatten(1).square().sum(1) / (s2.flatten(1).mean(1) if s2.dim() else s2)
        return score


@dataclass(frozen=True)
class Pruning:
    """Of n candidates of a mixture, ``share`` go on below noise level ``sigma``: at least one; share 1 is all.

    Example:
        >>> Pruning(share=0.3, sigma=0.35).kept(16)
        5
    """

    share: float
    sigma: float

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and self.sigma > 0):
            raise UsageError(
                f"expected 0 < prune <= 1 and prune_sigma > 0, got {self.share} and {self.sigma}",
                fix="for instance 0.5 and 0.35",
            )

    def kept(self, n: int) -> int:
        """Return how many of n candidates go on."""
        return math.ceil(round(self.share * n, 9))  # 0.55 · 20 is a little more than 11

    def levels(self, sample: Sample) -> int:
        """Return at how many noise levels all candidates are drawn."""
        above = sum(sigma >= self.sigma for sigma in sample.sampler.sigmas)
        return above if above < len(sample.sampler.sigmas) else 0

    def draw(self, sample: Sample, problem: Problem, noise: Noise, x: Tensor) -> Generator[State, None, Tensor]:
        """Yield the states of n candidates of each of B mixtures, later of the k kept; return these, (B · k, K, *S).

        A candidate that is kept is what it would have been without the others. Arguments are those of
        `Sample.refine`, the sampler being at levels that the prior knows.
        """
        n, levels = noise.samples, self.levels(sample)
        if self.kept(n) == n or not levels:
            return (yield from sample.refine(problem, noise, x))
        misfit = Misfit(problem.prior, problem.mixing, problem.mixture.repeat_interleave(n, 0))
        watched = dataclasses.replace(problem, prior=misfit)  # type: ignore[arg-type]  # only its score is used
        for state in sample.refine(watched, noise, x):
            yield state
            if state.step == levels * sample.sampler.repeats:
                break
        best = misfit.total.unflatten(0, (-1, n)).argsort(dim=1, stable=True)[:, : self.kept(n)]
        rows = (best + n * torch.arange(len(best), device=best.device)[:, None]).flatten()
        part = noise.part(rows.tolist(), self.kept(n))
        return (yield from sample.refine(problem, part, state.x[rows], levels))
