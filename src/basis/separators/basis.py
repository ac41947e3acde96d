"""The paper's method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from basis.core.noise import Noise
from basis.core.problem import Problem
from basis.core.sampler import State
from basis.core.schedule import geometric
from basis.core.separator import Separator, Stream, separation
from basis.core.settings import Above0, Count, NonNegative, Positive
from basis.posteriors.annealed import AnnealedPosterior
from basis.priors.wrappers.bounded import Bounded
from basis.samplers.annealed_langevin import AnnealedLangevin


@dataclass(frozen=True)
class BASIS(Separator):
    """Bayesian annealed signal source separation: samples p(x | m) by annealed Langevin dynamics (Algorithm 1).

    The defaults are the paper's settings (section 3.4): x starts uniform on the prior's data range and takes 100 steps
    at each of ten noise levels from 1 to 0.01, with δ = 2e-5 and γ = σ. The last state still carries noise of the
    smallest level. One denoising step and a projection onto the constraint remove it. Turn both off for the sample of
    the annealed posterior itself. ``temperature=0`` is ascent without noise (equation 12),
    ``levels=1`` is "no noise conditioning" (Figure 3). The loops of the released code, which ends with its last state,
    are the presets "released-mnist", "released-cifar10" and "released-colour". On MNIST its settings (γ² = σ²/2, δ =
    3e-5) are better than the paper's: the noise that the state carries is that of its level; with γ = σ it is 0.89 of
    it.

    Args:
        levels, sigma_max, sigma_min: geometric noise schedule, σ in units of the data. With a prior of discrete levels,
            such as an NCSN, each becomes the nearest of those.
        steps: steps T at each level.
        delta: step size δ at the smallest level.
        temperature: 1 samples, 0 ascends.
        ratio: γ / σ, see `AnnealedPosterior`.
        stability: bound on the step, see `AnnealedLangevin`.
        sequential: whether the sources move one after another, see `AnnealedLangevin`.
        bounded: whether to keep the prior's denoised estimates within its data range, see `Bounded`: for flows, whose
            scores can be wrong enough far from the data for the dynamics to run away.
        denoise: whether to end with the prior's denoised estimate at the smallest level.
        project: whether to end with the projection onto g(x) = m; by default where the mixture has no noise.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> import torch
        >>> from basis import WeightedSum, load_prior, separate
        >>> quick = BASIS(levels=3, steps=2)
        >>> separate(torch.ones(1, 28, 28), load_prior("mnist"), WeightedSum([1, 1]), quick).sources.shape
        torch.Size([1, 2, 1, 28, 28])
    """

    levels: Count = 10
    sigma_max: float = 1.0
    sigma_min: float = 0.01
    steps: Count = 100
    delta: Positive = 2e-5
    temperature: NonNegative = 1.0
    ratio: Positive = 1.0
    stability: Above0 = 1.0
    sequential: bool = False
    bounded: bool = False
    denoise: bool = True
    project: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sampler  # noqa: B018  # raises for noise levels out of range

    @cached_property
    def sampler(self) -> AnnealedLangevin:
        """Langevin dynamics with these settings."""
        sigmas = geometric(self.sigma_max, self.sigma_min, self.levels)
        return AnnealedLangevin(sigmas, self.steps, self.delta, self.temperature, self.stability, self.sequential)

    @property
    def takes_noise(self) -> bool:
        return True

    def stream(self, problem: Problem, noise: Noise) -> Stream:
        mixture = problem.mixture.repeat_interleave(noise.samples, 0)
        prior = Bounded(problem.prior) if self.bounded else problem.prior
        posterior = AnnealedPosterior(prior, problem.mixing, mixture, self.ratio, problem.noise)
        low, high = problem.prior.data_range or (0.0, 1.0)
        x = low + (high - low) * noise.uniform()
        for state in self.sampler.on(posterior.levels).run(posterior, x, noise.normal):
            yield state
        return separation(problem, self._finish(problem, mixture, state))

    @torch.no_grad()
    def _finish(self, problem: Problem, mixture: Tensor, state: State) -> Tensor:
        x = state.x
        if self.denoise:
            x = problem.prior.denoise(x, state.sigma)
        if not problem.noise if self.project is None else self.project:
            x = problem.mixing.project(x, mixture, problem.prior.data_range)
        return x
