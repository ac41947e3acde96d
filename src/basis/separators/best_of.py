"""Several separations of each mixture, of which the likeliest is kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.noise import Noise
from basis.core.prior import DensityPrior, Product
from basis.core.sampler import State
from basis.core.separator import Problem, Separation, Separator, Stream, choose

SIGMA = 0.01  # the paper's smallest noise level, for priors that know any
LESS = "separate fewer mixtures at a time (batch_size)"


class BestOf(Separator):
    """Resampling by likelihood: of n samples of each mixture, the one that the prior finds the most likely.

    For samples that meet the mixture exactly p(x | m) ∝ p(x), so the choice is ``argmax_j Σ_k log p_σ(x_jk)`` over
    the samples j = 1 … n, at the prior's smallest noise level σ (section 5.2 of the paper, "10x" in Table 2). n is the
    number of samples asked for: ``separate(…, method="best_of", samples=10)``, ``--method best_of --samples 10``. All
    samples are returned, with `Separation.choice` and, as `Separation.scores`, their log-likelihoods in nats.

    Samples are drawn in one batch. Where the memory does not suffice, they are drawn in several, with the same result.

    Args:
        inner: name of the method that draws the samples, or a separator.
        most: largest number of samples in memory at a time; as many as fit by default.
        sigma: noise level of the density; the prior's smallest by default, 0.01 for priors that know any.
        rank: how samples are compared, see `likelihood`.
        **settings: settings of the inner method by name.

    Raises:
        UsageError: a prior has no density; a setting is not one of the inner method's.

    Example:
        >>> import torch
        >>> from basis import GaussianMixture, WeightedSum, separate
        >>> two = GaussianMixture([1, 1], [[[[0.1]]], [[[0.9]]]], [[[0.001]], [[0.001]]])
        >>> found = separate(torch.ones(1, 1, 1), two, WeightedSum([1, 1]), "best_of", samples=4, levels=3, steps=9)
        >>> bool(found.scores[0, found.choice[0]] == found.scores.max())
        True
    """

    def __init__(
        self,
        inner: str | Separator = "basis",
        most: int | None = None,
        sigma: float | None = None,
        rank: Callable[[Product, Tensor, float | None], Tensor] | None = None,
        **settings,
    ) -> None:
        if most is not None and not (isinstance(most, int) and most >= 1):
            raise UsageError(f"most must be a whole number of samples of at least 1, got {most}")
        self.inner, self.most, self.sigma = choose(inner, settings), most, sigma
        self.rank = likelihood if rank is None else rank

    def stream(self, problem: Problem, noise: Noise) -> Stream:
        if self.rank is likelihood:
            check_density(problem.prior)
        count, n = len(problem.mixture), noise.samples
        samples = yield from self._draw(problem, noise)
        scores = self._scores(problem.prior, samples.flatten(0, 1)).unflatten(0, (count, n))
        return Separation(samples, problem.mixture, problem.mixing, scores.argmax(1), scores)

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
                    run = self.inner.stream(problem, part)
                    found.append((yield from _numbered(run, number, len(starts))))
                return torch.cat(found, 1)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if at_once == 1:
                    raise UsageError(f"one sample of {count} mixtures does not fit into memory", fix=LESS) from error
            at_once = math.ceil(at_once / 2)

    @torch.no_grad()
    def _scores(self, prior: Product, x: Tensor) -> Tensor:
        """Return the rank of samples x (N, K, *S), (N,), in as many parts as memory needs."""
        try:
            parts = x.split(self.most or len(x))
            return torch.cat([self.rank(prior, part, self.sigma) for part in parts])
        except RuntimeError as error:
            if len(x) == 1 or not out_of_memory(error):
                raise
        return torch.cat([self._scores(prior, half) for half in x.chunk(2)])


def likelihood(prior: Product, x: Tensor, sigma: float | None = None) -> Tensor:
    """Return ``Σ_k log p_σ(x_k)`` of each stack of sources x (N, K, *S), in nats, (N,); σ as in `BestOf`."""
    check_density(prior)
    if sigma is None:
        sigma = min(prior.levels) if prior.levels else SIGMA
    total = x.new_zeros(len(x))
    for k, i in enumerate(prior.order):
        total += prior.distinct[i].log_prob(x[:, k], sigma)  # type: ignore[operator]
    return total


def check_density(prior: Product) -> None:
    """Raise `UsageError` where the likelihood of samples cannot be computed."""
    for one in prior.distinct:
        if not isinstance(one, DensityPrior):
            raise UsageError(
                f"best_of ranks samples by their likelihood, which a prior of kind {type(one).__name__} does not give",
                fix="choose a prior with a density, such as a Glow, or another method",
            )


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
