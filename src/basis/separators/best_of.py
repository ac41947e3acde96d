"""Several separations of each mixture, of which the likeliest is kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from basis.core.errors import UsageError, unknown
from basis.core.modes import SAME, interchangeable, like
from basis.core.noise import Noise
from basis.core.prior import Product
from basis.core.problem import Problem
from basis.core.sampler import State
from basis.core.separator import SEPARATORS, Separation, Separator, Stream, choose
from basis.core.settings import Count, NonNegative
from basis.separators._ranking import RANKS, check_density, fit, likelihood, natural

Rank = Callable[[Product, Tensor, float | None], Tensor]
LESS = "separate fewer mixtures at a time (batch_size)"


@dataclass(frozen=True)
class BestOf(Separator):
    """Resampling by likelihood: of n samples of each mixture, the one that the prior finds the most likely.

    For samples that meet the mixture exactly p(x | m) ∝ p(x), so the choice is ``argmax_j Σ_k log p_σ(x_jk)`` over
    the samples j = 1 … n, at the prior's smallest noise level σ (section 5.2 of the paper, "10x" in Table 2). Priors
    without a density are asked how well they denoise each sample instead, an estimate of the same up to a constant
    from 24 evaluations a sample and source. n is the number of samples asked for: ``separate(…, method="best_of",
    samples=10)``, ``--method best_of --samples 10``. All samples are returned, with `Separation.choice` and, as
    `Separation.scores`, what they were ranked by, in nats.

    Samples are drawn in one batch. Where the memory does not suffice, they are drawn in several, with the same result.

    Args:
        inner: name of the method that draws the samples, or a separator.
        most: largest number of samples in memory at a time; as many as fit by default.
        sigma: noise level of the density; the prior's smallest by default, 0.01 for priors that know any.
        rank: how samples are compared: "likelihood", the default where every source's prior has a density;
            "denoising", the default for others, or "few", the same from a quarter of the evaluations; "flow", the
            log-likelihood by the probability-flow ODE, from 50; or a function (prior, stacks (N, K, *S), sigma) to
            (N,), the higher the better.
        mean: whether the answer is the mean of the samples in the likeliest one's mode (see `find_modes`), moved onto
            the mixture, and takes its place: the MMSE estimate given the mode, which PSNR rewards. By default it is the
            likeliest sample as it is.
        same: root mean square difference up to which samples are one mode, in units of the data.
        parts: settings of the inner method by name. `separate` and the command line take them like any other setting.

    Raises:
        UsageError: unknown rank; rank "likelihood" with a prior that has no density; a setting is not one of the inner
            method's.

    Example:
        >>> import torch
        >>> from basis import GaussianMixture, WeightedSum, separate
        >>> two = GaussianMixture([1, 1], [[[[0.1]]], [[[0.9]]]], [[[0.001]], [[0.001]]])
        >>> found = separate(torch.ones(1, 1, 1), two, WeightedSum([1, 1]), "best_of", samples=4, levels=3, steps=9)
        >>> bool(found.scores[0, found.choice[0]] == found.scores.max())
        True
    """

    inner: str | Separator = "basis"
    most: Count | None = None
    sigma: NonNegative | None = None
    rank: str | Callable | None = None
    mean: bool = False
    same: NonNegative = SAME
    parts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def setting_names(cls, settings: Mapping) -> list[str]:
        inner = settings.get("inner", "basis")
        theirs = SEPARATORS.get(inner).setting_names(settings) if isinstance(inner, str) else []
        return list(dict.fromkeys([*super().setting_names(settings), *theirs]))

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.rank, str) and self.rank not in RANKS:
            raise unknown("rank", self.rank, RANKS)
        self.method  # noqa: B018  # raises for settings that it does not have

    @cached_property
    def method(self) -> Separator:
        """The method that draws the samples."""
        return choose(self.inner, dict(self.parts))

    @property
    def takes_noise(self) -> bool:
        return self.method.takes_noise

    def stream(self, problem: Problem, noise: Noise) -> Stream:
        rank = RANKS[self.rank] if isinstance(self.rank, str) else self.rank or natural(problem.prior)
        if rank is likelihood:
            check_density(problem.prior)
        count, n = len(problem.mixture), noise.samples
        samples = yield from self._draw(problem, noise)
        flat = samples.flatten(0, 1)
        scores = (self._scores(rank, problem.prior, flat) + fit(problem, flat)).unflatten(0, (count, n))
        choice = scores.argmax(1)
        if self.mean:
            kinds, rows = interchangeable(problem.prior, problem.mixing), torch.arange(count, device=choice.device)
            means = torch.stack([self._mean(own, own[best], kinds) for own, best in zip(samples, choice, strict=True)])
            on = means if problem.noise else problem.mixing.project(means, problem.mixture, problem.prior.data_range)
            samples[rows, choice] = on
        return Separation(samples, problem.mixture, problem.mixing, choice, scores)

    def _mean(self, samples: Tensor, best: Tensor, kinds: Sequence[int]) -> Tensor:
        """Return the mean of those samples (n, K, *S) that are in one mode with the best of them, (K, *S)."""
        aligned = torch.stack([like(x, best, kinds) for x in samples])
        near = (aligned - best).square().flatten(1).mean(1).sqrt() <= self.same
        return aligned[near].mean(0)

    def _draw(self, problem: Problem, noise: Noise) -> Generator[State, None, Tensor]:
        """Yield the states and return the samples, (B, n, K, *S), in as many parts as memory needs."""
        count, n = len(problem.mixture), noise.samples
        at_once = n if self.most is None else max(1, min(n, self.most // count))
        while True:
            starts = range(0, n, at_once)
            found = []
            try:
                for number, start in enumerate(starts):
                    columns = range(start, min(start + at_once, n))
                    part = noise.part([i * n + j for i in range(count) for j in columns], len(columns))
                    run = self.method.stream(problem, part)
                    found.append((yield from _numbered(run, number, len(starts))))
                return torch.cat(found, 1)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if at_once == 1:
                    raise UsageError(f"one sample of {count} mixtures does not fit into memory", fix=LESS) from error
            at_once = math.ceil(at_once / 2)

    @torch.no_grad()
    def _scores(self, rank: Rank, prior: Product, x: Tensor) -> Tensor:
        """Return the rank of samples x (N, K, *S), (N,), in as many parts as memory needs."""
        try:
            parts = x.split(self.most or len(x))
            return torch.cat([rank(prior, part, self.sigma) for part in parts])
        except RuntimeError as error:
            if len(x) == 1 or not out_of_memory(error):
                raise
        return torch.cat([self._scores(rank, prior, half) for half in x.chunk(2)])


def out_of_memory(error: Exception) -> bool:
    """Return whether an error says that a tensor did not fit; on a CPU that is a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _numbered(run: Stream, number: int, parts: int) -> Generator[State, None, Tensor]:
    """Yield the states of a part, counted over all parts, and return its samples."""
    while True:
        try:
            state = next(run)
        except StopIteration as stop:
            return stop.value.samples
        yield dataclasses.replace(state, step=number * state.steps + state.step, steps=parts * state.steps)
