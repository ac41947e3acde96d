"""Candidates drawn, ranked and refined; evaluations go to the mixtures whose candidates disagree."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, cast

import torch
from annotated_types import Ge, Le
from torch import Tensor

from basis.core.errors import unknown
from basis.core.modes import SAME, Modes, find_modes, interchangeable, like
from basis.core.noise import Noise
from basis.core.prior import DensityPrior, Product
from basis.core.problem import Problem
from basis.core.sampler import State
from basis.core.separator import Separation, Separator, Stream
from basis.core.settings import Count, NonNegative, Positive, Share, Whole
from basis.priors.wrappers.counted import counted
from basis.separators._ranking import RANKS, check_density, fit
from basis.separators.sample import Sample

MOST = 100_000  # candidates
ESTIMATED = 4.0  # temperature of rank weights where ranks are estimates, which suits the errors of "few"


@dataclass(frozen=True)
class Search(Separator):
    """Search for the likeliest mode: draw candidates until the best is found again, refine it, return its mean.

    Rounds of ``batch`` candidates are drawn and ranked by the prior, as `BestOf` does, until ``agree`` of a mixture's
    candidates are in one mode with its best or there are ``candidates`` of them: mixtures that are plain stop early.
    Then the best is noised again to ``refine_sigma`` and separated anew, ``offspring`` times in each of ``rounds``
    rounds, which are ranked with the others. The result is the mean of the samples in the weightiest mode (what PSNR
    rewards), moved onto the mixture. `Separation.modes` has all modes, `Separation.evaluations` what was spent.

    Each of n ``samples`` is a search of its own; the best of them is chosen, and all their candidates make the modes.

    Args:
        candidates: largest number of candidates drawn afresh.
        batch: how many at a time.
        agree: candidates in the best one's mode, itself among them, that end the search; more than ``candidates``
            never does.
        rounds, offspring: rounds of refinement, and candidates in each.
        refine_sigma, refine_steps: noise level and steps of a refinement.
        rank: "likelihood", "denoising", "few" or "flow", see `BestOf`; by default "likelihood" where every source's
            prior has a density, and "few" for others.
        same: root mean square difference up to which candidates are one mode, in units of the data.
        temperature: of the modes' rank weights, see `find_modes`: by default 1 for the rank "likelihood", which is
            exact, and 4 for others, whose errors are some nats. It changes no answer.
        mean: whether to return the mode's mean rather than its best sample.
        steps, sigma_max, sigma_min, rho, noise_correlation: of `Sample`, for a candidate.
        parts: other settings of `Sample`, of its posterior and of its sampler, by name. `separate` and the command line
            take them like any other setting.

    Raises:
        UsageError: a setting is out of its range, or not one of `Sample`.

    Example:
        >>> import torch
        >>> from basis import GaussianMixture, WeightedSum, separate
        >>> two = GaussianMixture([1, 1], [[[[0.1]]], [[[0.9]]]], [[[0.001]], [[0.001]]])
        >>> found = separate(torch.ones(1, 1, 1), two, WeightedSum([1, 1]), "search", steps=10, same=0.1)
        >>> found.sources.flatten().sort().values.round(decimals=1), found.evaluations
        (tensor([0.1000, 0.9000]), tensor([22]))
    """

    candidates: Annotated[int, Ge(1), Le(MOST)] = 8
    batch: Count = 2
    agree: Count = 2
    rounds: Whole = 0
    offspring: Count = 2
    refine_sigma: float = 0.6
    refine_steps: Count = 20
    rank: str | None = None
    same: NonNegative = SAME
    temperature: Positive | None = None
    mean: bool = True
    steps: Count = 90
    sigma_max: float = 1.0
    sigma_min: float = 0.01
    rho: float = 2.0
    noise_correlation: Share = 0.9
    parts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def setting_names(cls, settings: Mapping) -> list[str]:
        return list(dict.fromkeys([*super().setting_names(settings), *Sample.setting_names(settings)]))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank is not None and self.rank not in RANKS:
            raise unknown("rank", str(self.rank), RANKS)
        self.fresh, self.again  # noqa: B018  # raise for settings that do not go together

    @cached_property
    def fresh(self) -> Sample:
        """The chain of a fresh candidate."""
        return self._chain(self.steps, self.sigma_max)

    @cached_property
    def again(self) -> Sample:
        """The chain of a refinement."""
        return self._chain(self.refine_steps, self.refine_sigma)

    def _chain(self, steps: int, sigma_max: float) -> Sample:
        usual = {"bounded": True} if self.parts.get("posterior", "ddnm") == "ddnm" else {}
        own = {name: getattr(self, name) for name in ("sigma_min", "rho", "noise_correlation")}
        return cast(Sample, Sample.configured({**usual, **own, **self.parts, "steps": steps, "sigma_max": sigma_max}))

    @property
    def takes_noise(self) -> bool:
        return self.fresh.takes_noise

    def stream(self, problem: Problem, noise: Noise) -> Stream:
        pool = Pool(problem, noise.samples, self._rank(problem.prior), self.same)
        streams = noise.part(range(len(noise.streams)))  # its children, not its draws: it stays where it is
        everyone = list(range(len(pool.mixture)))
        fresh, again = self.fresh.on(problem.prior.levels), self.again.on(problem.prior.levels)
        steps, more = fresh.chain.total, again.chain.total
        counts = [min(self.batch, self.candidates - start) for start in range(0, self.candidates, self.batch)]
        total = len(counts) * steps + self.rounds * more
        for number, count in enumerate(counts):
            active = [i for i in everyone if pool.agreeing(i) < self.agree]
            place = number * steps, total
            yield from pool.grow(fresh, streams.spawn(count), active, pool.centre, place)
        for number in range(self.rounds):
            place = len(counts) * steps + number * more, total
            yield from pool.grow(again, streams.spawn(self.offspring), everyone, pool.best(), place)
        return self._result(problem, pool, noise.samples)

    def _rank(self, prior: Product) -> str:
        exact = all(isinstance(one, DensityPrior) for one in prior.distinct)
        if self.rank == "likelihood":
            check_density(prior)
        return self.rank or ("likelihood" if exact else "few")

    def _result(self, problem: Problem, pool: Pool, n: int) -> Separation:
        """Return the separation from all candidates: a sample for each search, modes for each mixture."""
        temperature = self.temperature or (1.0 if pool.rank == "likelihood" else ESTIMATED)
        searches = [pool.modes([i], temperature) for i in range(len(pool.mixture))]
        x = torch.stack([found.mean[0] for found in searches]) if self.mean else pool.best()
        if self.fresh.projects(problem):
            x = problem.mixing.project(x, pool.mixture, problem.prior.data_range)
        scores = torch.stack([scores.max() for scores in pool.scores]).unflatten(0, (-1, n))
        groups = [range(i, i + n) for i in range(0, len(pool.mixture), n)]
        return Separation(
            x.unflatten(0, (-1, n)),
            problem.mixture,
            problem.mixing,
            scores.argmax(1),
            scores,
            modes=tuple(searches if n == 1 else (pool.modes(group, temperature) for group in groups)),
            evaluations=torch.tensor([sum(pool.spent[i] for i in group) for group in groups]),
        )


class Pool:
    """The candidates of each search, their scores, and what they cost; of one call, and forgotten with it."""

    def __init__(self, problem: Problem, n: int, rank: str, same: float) -> None:
        prior, self.meter = counted(problem.prior)
        self.problem, self.rank, self.same = dataclasses.replace(problem, prior=prior), rank, same
        self.mixture = problem.mixture.repeat_interleave(n, 0)
        self.kinds = interchangeable(problem.prior, problem.mixing)
        low, high = problem.prior.data_range or (0.0, 0.0)
        centre = torch.full((len(self.mixture), *problem.prior.shape), (low + high) / 2).to(self.mixture)
        self.centre = problem.mixing.project(centre, self.mixture)
        self.samples = [self.centre[:0] for _ in self.mixture]
        self.scores = [self.mixture.new_zeros(0) for _ in self.mixture]
        self.spent = [0] * len(self.mixture)

    def best(self) -> Tensor:
        """Return the best candidate of each search, (N, K, *S)."""
        return torch.stack([x[s.argmax()] for x, s in zip(self.samples, self.scores, strict=True)])

    def agreeing(self, i: int) -> int:
        """Return how many candidates of search i are in one mode with its best."""
        if not len(self.scores[i]):
            return 0
        leader = self.samples[i][self.scores[i].argmax()]
        near = [(like(x, leader, self.kinds) - leader).square().mean().sqrt() <= self.same for x in self.samples[i]]
        return sum(map(bool, near))

    def modes(self, searches: Sequence[int], temperature: float) -> Modes:
        """Return the modes among the candidates of some searches of one mixture."""
        samples, scores = (torch.cat([part[i] for i in searches]) for part in (self.samples, self.scores))
        return find_modes(samples, scores, self.kinds, self.same, temperature)

    def grow(
        self,
        sample: Sample,
        noise: Noise,
        active: list[int],
        start: Tensor,
        place: tuple[int, int],
    ) -> Generator[State, None, None]:
        """Draw and rank new candidates of each active search, a stream of the noise each, from a start (N, K, *S).

        Yields states (N, K, *S), one candidate a search, those that are done with their best; ``place`` is the number
        of steps before this round and of all.
        """
        if not active:
            return
        count, before = len(noise.streams) // len(self.mixture), self.meter.examples
        part = noise.part([i * count + j for i in active for j in range(count)], count)
        problem = dataclasses.replace(self.problem, mixture=self.mixture[active])
        shown = self.centre.clone() if not any(map(len, self.scores)) else self.best()
        run = sample.refine(problem, part, start[active].repeat_interleave(count, 0))
        while True:
            try:
                state = next(run)
            except StopIteration as stop:
                x = stop.value
                break
            rows = torch.tensor(active, device=shown.device)
            shown = shown.index_copy(0, rows, state.x[::count])
            yield dataclasses.replace(state, x=shown, step=place[0] + state.step, steps=place[1])
        with torch.no_grad():
            scores = RANKS[self.rank](problem.prior, x, None) + fit(problem, x)
        spent = math.ceil((self.meter.examples - before) / (len(active) * self.problem.mixing.sources))
        for i, own, score in zip(active, x.chunk(len(active)), scores.chunk(len(active)), strict=True):
            self.samples[i] = torch.cat([self.samples[i], own])
            self.scores[i] = torch.cat([self.scores[i], score])
            self.spent[i] += spent
