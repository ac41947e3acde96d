"""Any sampler on any posterior."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from basis.core.errors import UsageError, unknown
from basis.core.mixing import scales, unequal, weights_of
from basis.core.noise import Noise, correlated
from basis.core.posterior import POSTERIORS, Posterior
from basis.core.prior import Prior
from basis.core.problem import Problem
from basis.core.sampler import SAMPLERS, Sampler, State
from basis.core.schedule import karras
from basis.core.separator import Separator, Stream, separation
from basis.core.settings import Count, Share, check
from basis.posteriors.ddnm import DDNM
from basis.posteriors.mmps import MMPS
from basis.priors.wrappers.own_levels import OwnLevels

# What separates best, where it is not the sampler's own default. (Dirac's steep score needs old noise.)
FAVOURED = {(posterior, "ancestral"): {"eta": math.inf} for posterior in ("ddnm", "mmps", "unknown_weights")}
GIVEN = ("prior", "mixing", "mixture", "sigmas", "steps")  # arguments of posteriors and samplers that are no settings


@dataclass(frozen=True)
class Sample(Separator):
    """Draws from any posterior with any sampler: by default denoise, project onto the mixture, re-noise (DDNM).

    The state starts as noise of level σ_max around the centre of the prior's data range, moved onto the mixture, and
    ends projected on it. For each source, `Ancestral` takes ``steps`` evaluations of the prior and `Heun` one less than
    twice as many; `MMPS` adds ``iterations`` backward passes to each, counted as one evaluation each.

    Args:
        posterior: name of a posterior, see `basis list`, or a function (prior, mixing, mixture) that returns one.
        sampler: name of a sampler, or a sampler, which comes with a schedule of its own.
        steps: number of noise levels.
        sigma_max, sigma_min, rho: noise schedule, see `karras`, σ in units of the data; ``rho=inf`` is geometric. With
            a prior of discrete levels, such as an NCSN, each becomes the nearest of those.
        repeats: steps at each level, for samplers that take several (annealed_langevin).
        denoise: whether to end with one more denoised estimate, for samplers that leave noise (annealed_langevin).
        project: whether to end on the mixture, g(x) = m; by default where the mixture has no noise.
        noise_correlation: correlation of the injected noise between sources, in [0, 1], see `correlated`. Larger values
            converge in fewer steps but give samples that are too concentrated. Use 0 to draw posterior samples.
        balanced: whether sources of unequal weights have noise of unequal levels, ``σ s_k`` with ``s_k ∝ 1/α_k`` (see
            `scales`), so that each adds the same noise to the mixture. At weights 0.4 and 0.6 and 20 steps this is
            worth 10 dB. For posteriors "ddnm" and "mmps". It changes nothing for equal weights, or for mixings that
            are no weighted sum.
        parts: settings of the posterior and of the sampler by name, for instance ``{"iterations": 2, "eta": 1.0}``.
            `separate` and the command line take them like any other setting, ``iterations=2``. With "ancestral" and
            "ddnm", "mmps" or "unknown_weights", eta is inf by default.

    Raises:
        UsageError: a setting is out of its range, or neither the posterior's nor the sampler's.

    Example:
        >>> import torch
        >>> from basis import WeightedSum, load_prior, separate
        >>> quick = Sample(steps=3, posterior="mmps", parts={"iterations": 1})
        >>> separate(torch.ones(1, 28, 28), load_prior("mnist"), WeightedSum([1, 1]), quick).sources.shape
        torch.Size([1, 2, 1, 28, 28])
    """

    posterior: str | Callable = "ddnm"
    sampler: str | Sampler = "ancestral"
    steps: Count = 100
    sigma_max: float = 3.0
    sigma_min: float = 0.01
    rho: float = 7.0
    repeats: Count = 1
    denoise: bool = False
    project: bool | None = None
    noise_correlation: Share = 0.0
    balanced: bool = False
    parts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def setting_names(cls, settings: Mapping) -> list[str]:
        posterior, sampler = (settings.get(name, vars(cls)[name]) for name in ("posterior", "sampler"))
        return [*super().setting_names(settings), *names(_target(posterior)), *names(_kind(sampler))]

    def __post_init__(self) -> None:
        super().__post_init__()
        theirs, own = names(self.target), names(_kind(self.sampler))
        for name in self.parts:
            if name not in (*theirs, *own):
                raise unknown(f"setting of {self.posterior} and {self.sampler}:", name, [*theirs, *own])
        if self.balanced and self.target not in (DDNM, MMPS):
            raise UsageError(
                f"balanced noise goes with posterior ddnm or mmps, got {self.posterior}", fix="leave it out"
            )
        check(self.target, self.posterior_settings, f"posterior {self.posterior}")
        self.chain  # noqa: B018  # raises for settings that do not go together

    @property
    def target(self) -> Callable:
        """The class of the posterior, or the function that returns one."""
        return _target(self.posterior)

    @property
    def posterior_settings(self) -> dict[str, Any]:
        """Those of ``parts`` that are the posterior's."""
        theirs = names(self.target)
        return {name: value for name, value in self.parts.items() if name in theirs}

    @cached_property
    def chain(self) -> Sampler:
        """The sampler with its schedule."""
        if isinstance(self.sampler, Sampler):
            return self.sampler
        kind = SAMPLERS.get(self.sampler)
        own = {name: value for name, value in self.parts.items() if name in names(kind)}
        chosen = {**FAVOURED.get((str(self.posterior), self.sampler), {}), **own}
        if "steps" in names(kind, ()):
            chosen["steps"] = self.repeats
        elif self.repeats != 1:
            raise UsageError(
                f"sampler {self.sampler} takes one step at each level, got repeats {self.repeats}",
                fix="leave repeats out, or choose another sampler",
            )
        return kind(karras(self.sigma_max, self.sigma_min, self.steps, self.rho), **chosen)

    @property
    def takes_noise(self) -> bool:
        return "noise" in names(self.target)

    def projects(self, problem: Problem) -> bool:
        """Return whether the sources of a problem end on the mixture."""
        exact = not problem.noise and not torch.as_tensor(self.posterior_settings.get("noise", 0.0)).any()
        return exact if self.project is None else self.project

    def on(self, levels: Sequence[float] | None) -> Sample:
        """Return this method at those noise levels that a prior knows, see `Sampler.on`."""
        return (
            self
            if levels is None
            else dataclasses.replace(self, sampler=self.chain.on(levels), parts=self.posterior_settings)
        )

    def stream(self, problem: Problem, noise: Noise) -> Stream:
        low, high = problem.prior.data_range or (0.0, 0.0)
        mixture = problem.mixture.repeat_interleave(noise.samples, 0)
        centre = torch.full((len(mixture), *problem.prior.shape), (low + high) / 2).to(mixture)
        x = yield from self.refine(problem, noise, problem.mixing.project(centre, mixture))
        return separation(problem, x)

    def refine(self, problem: Problem, noise: Noise, x: Tensor) -> Generator[State, None, Tensor]:
        """Yield the states on the way from clean sources x with noise of level σ_max, and return the new sources.

        Args:
            problem: B mixtures with prior and mixing.
            noise: random streams of n samples of each mixture.
            x: where to start, (B · n, K, *S).
        """
        mixture = problem.mixture.repeat_interleave(noise.samples, 0)
        settings = {**self.posterior_settings, **({"noise": problem.noise} if problem.noise else {})}
        try:
            posterior = self.target(problem.prior, problem.mixing, mixture, **settings)
        except TypeError as error:
            raise UsageError(
                f"settings {self.posterior_settings} do not suit the posterior ({error})",
                fix="`basis list` names the posteriors; see their settings in the API reference",
            ) from error
        sampler = self.chain.on(posterior.levels)

        target, scale = self._balance(problem, posterior)

        def draw() -> Tensor:
            z = correlated(noise.normal(), self.noise_correlation) if self.noise_correlation else noise.normal()
            return z if scale is None else scale * z

        x = x + sampler.levels[0] * draw()
        for state in sampler.run(target, x, draw):
            yield state
        with torch.no_grad():
            x = target.denoise(state.x, state.sigma) if self.denoise else state.x
            return problem.mixing.project(x, mixture, problem.prior.data_range) if self.projects(problem) else x

    def _balance(self, problem: Problem, posterior: Posterior) -> tuple[Prior, Tensor | None]:
        """Return what the sampler draws from, and the scale of each source's noise, (K, 1, …); None where it is 1."""
        alphas = weights_of(problem.mixing, problem.prior.shape, problem.mixture.device) if self.balanced else None
        if alphas is None or not unequal(alphas):
            return posterior, None
        if posterior.levels is not None:
            raise UsageError("balanced noise needs a prior that knows any noise level", fix="give balanced=false")
        scale = scales(alphas).to(problem.mixture)
        return OwnLevels(posterior, scale), scale.reshape(-1, *[1] * (len(problem.prior.shape) - 1))


def names(thing: Callable | None, without: Collection[str] = GIVEN) -> list[str]:
    """Return the names of the settings of a posterior, a sampler or a separator."""
    if thing is None:
        return []
    found = inspect.signature(thing).parameters.values()
    return [p.name for p in found if p.name not in without and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _target(posterior: str | Callable) -> Callable:
    return POSTERIORS.get(posterior) if isinstance(posterior, str) else posterior


def _kind(sampler: str | Sampler) -> type[Sampler] | None:
    return SAMPLERS.get(sampler) if isinstance(sampler, str) else None
