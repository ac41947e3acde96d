"""Any sampler on any posterior."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Collection, Generator, Sequence

import torch
from torch import Tensor

from basis.core.errors import UsageError, unknown
from basis.core.mixing import Mixing, weights_of
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
from basis.separators._levels import OwnLevels, scales, unequal

# What separates best, where it is not the sampler's own default. (Dirac's steep score needs old noise.)
FAVOURED = {(posterior, "ancestral"): {"eta": math.inf} for posterior in ("ddnm", "mmps", "unknown_weights")}
GIVEN = ("prior", "mixing", "mixture", "sigmas", "steps")  # arguments of posteriors and samplers that are no settings


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
        **settings: settings of the posterior and of the sampler by name, for instance ``iterations=2, eta=1.0``. With
            "ancestral" and "ddnm", "mmps" or "unknown_weights", eta is inf where it is not given.

    Raises:
        UsageError: a setting is out of its range, or neither the posterior's nor the sampler's.

    Example:
        >>> import torch
        >>> from basis import WeightedSum, load_prior, separate
        >>> quick = Sample(steps=3, posterior="mmps", iterations=1)
        >>> separate(torch.ones(1, 28, 28), load_prior("mnist"), WeightedSum([1, 1]), quick).sources.shape
        torch.Size([1, 2, 1, 28, 28])
    """

    def __init__(
        self,
        posterior: str | Callable[[Prior, Mixing, Tensor], Posterior] = "ddnm",
        sampler: str | Sampler = "ancestral",
        steps: Count = 100,
        sigma_max: float = 3.0,
        sigma_min: float = 0.01,
        rho: float = 7.0,
        repeats: Count = 1,
        denoise: bool = False,
        project: bool | None = None,
        noise_correlation: Share = 0.0,
        balanced: bool = False,
        **settings,
    ) -> None:
        target = POSTERIORS.get(posterior) if isinstance(posterior, str) else posterior
        kind = SAMPLERS.get(sampler) if isinstance(sampler, str) else None
        theirs, own = names(target), names(kind)
        for name in settings:
            if name not in (*theirs, *own):
                known = {*names(Sample, ()), *theirs, *own}
                raise unknown(f"setting of method 'sample' with {posterior} and {sampler}:", name, known)
        if balanced and target not in (DDNM, MMPS):
            raise UsageError(f"balanced noise goes with posterior ddnm or mmps, got {posterior}", fix="leave it out")
        self.posterior, self.denoise, self.noise_correlation, self.balanced = (
            target,
            denoise,
            noise_correlation,
            balanced,
        )
        self.settings = {name: value for name, value in settings.items() if name in theirs}
        check(target, self.settings, f"posterior {posterior}")
        self.project = project
        if isinstance(sampler, Sampler):
            self.sampler = sampler
            return
        favoured = FAVOURED.get((str(posterior), sampler), {})
        chosen = {**favoured, **{name: value for name, value in settings.items() if name in own}}
        if "steps" in names(kind, ()):
            chosen["steps"] = repeats
        elif repeats != 1:
            raise UsageError(
                f"sampler {sampler} takes one step at each level, got repeats {repeats}",
                fix="leave repeats out, or choose another sampler",
            )
        self.sampler = SAMPLERS.get(sampler)(karras(sigma_max, sigma_min, steps, rho), **chosen)

    @property
    def takes_noise(self) -> bool:
        return "noise" in names(self.posterior)

    def projects(self, problem: Problem) -> bool:
        """Return whether the sources of a problem end on the mixture."""
        exact = not problem.noise and not torch.as_tensor(self.settings.get("noise", 0.0)).any()
        return exact if self.project is None else self.project

    def on(self, levels: Sequence[float] | None) -> Sample:
        """Return this method at those noise levels that a prior knows, see `Sampler.on`."""
        other = copy.copy(self)
        other.sampler = self.sampler.on(levels)
        return other

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
        settings = {**self.settings, **({"noise": problem.noise} if problem.noise else {})}
        try:
            posterior = self.posterior(problem.prior, problem.mixing, mixture, **settings)
        except TypeError as error:
            raise UsageError(
                f"settings {self.settings} do not suit the posterior ({error})",
                fix="`basis list` names the posteriors; see their settings in the API reference",
            ) from error
        sampler = self.sampler.on(posterior.levels)

        target, scale = self._balance(problem, posterior)

        def draw() -> Tensor:
            z = correlated(noise.normal(), self.noise_correlation) if self.noise_correlation else noise.normal()
            return z if scale is None else scale * z

        x = x + sampler.sigmas[0] * draw()
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
