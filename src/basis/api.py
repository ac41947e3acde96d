"""The functions that most programs need: `separate`, `stream` and `generate`."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from basis.core.arrays import plain_torch
from basis.core.assessment import assess as assessed
from basis.core.errors import UnlikelyMixtureWarning, UsageError
from basis.core.mixing import Mixing
from basis.core.modes import interchangeable
from basis.core.noise import Noise
from basis.core.prior import Prior, Product
from basis.core.problem import Problem, pose
from basis.core.sampler import Sampler, State
from basis.core.schedule import karras
from basis.core.separator import Run, Separation, Separator, choose, join
from basis.core.settings import Count, Whole, takes
from basis.io.limits import check_request
from basis.io.presets import resolve
from basis.opening import array_of, mixing_of, priors_of, watch
from basis.priors.wrappers.counted import counted
from basis.samplers.annealed_langevin import AnnealedLangevin
from basis.samplers.heun import Heun

if TYPE_CHECKING:
    from basis.opening import Known, Mixture

UNLIKELY = "the sources found are unlike what this prior knows: it did not make this mixture, or the separation failed"
UNLIKELY_FIX = (
    "check light against dark (1 - x), size, scale, weights, noise and number of sources, take another prior, or spend "
    "more evaluations"
)
HIGHEST, LOWEST, STEPS, RHO, CHURN = 10.0, 0.01, 30, 7.0, 10.0  # of `generate`; levels in widths of the data's range


def separate(
    mixture: Mixture,
    prior: Known | Sequence[Known],
    mixing: Mixing | None = None,
    method: str | Separator | None = None,
    *,
    weights: Sequence[float] | None = None,
    budget: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
    samples: int = 1,
    index: Sequence[int] | None = None,
    batch_size: int | None = None,
    assess: bool = True,
    progress: bool | Callable[[State], object] = False,
    **settings,
) -> Separation:
    """Separate mixtures into their sources.

    Args:
        mixture: one mixture (C, H, W) or B of them (B, C, H, W), in the units that the mixing gives: within [0, Σ α]
            for a weighted sum of images in [0, 1]; (H, W) where there is one channel. Torch or numpy; a picture of PIL,
            in [0, 1]; or the path of a picture, a `.npy`, `.npz` or `.pt`. A picture is taken as it is, as the command
            line takes it with --weights: ``weights=[0.5, 0.5]`` for the mean of two sources.
        prior: what sources look like: one prior for all, or one for each source; or their names, folders or files, see
            `load_prior`.
        mixing: how the sources were mixed, for instance ``WeightedSum([1.0, 1.0])``.
        method: name of a preset or of a separator (see `basis list`), or a separator; by default "quality",
            or "paper" with priors of discrete noise levels or unbounded values (`basis.io.presets.preferred`).
        weights: in place of a mixing: the weights α of a weighted sum, one for each source.
        budget: instead of a method: evaluations of the prior that may be spent for each source, everything included.
        noise: standard deviation σ_y >= 0 of Gaussian noise in the mixture, in its units. The sources then need not mix
            to it exactly: the residual of right ones is near σ_y². 0 for exact mixtures.
        seed: fixes the result, whatever the batch size, order or device.
        samples: posterior samples n per mixture.
        index: number of each mixture in its data set, which with the seed fixes its random stream; by default 0 to B-1.
        batch_size: mixtures at a time; all by default. (A network sees as many images at a time as memory allows.)
        assess: whether to say what the result is worth, see `Assessment`: three evaluations of the prior for each
            source beside those of the method, and beside a budget.
        progress: True shows a bar on standard error; a function is called with each state, see `State`.
        **settings: settings of the method by name, for instance ``steps=50``.

    Returns:
        The separation: ``sources`` (B, K, C, H, W) in [0, 1], ``samples`` (B, n, K, C, H, W), ``residual`` (B,).

    Warns:
        UnlikelyMixtureWarning: no sources of these priors could have made the mixture, by the priors' own measure.

    Raises:
        UsageError: an argument is not as described; noise with a method that takes none.
        DataError: the mixture has the wrong shape, NaN, or values out of range.
        DivergenceError: the sampler left the finite numbers; names the level and the step.

    Reference:
        Jayaram & Thickstun, "Source separation with deep generative priors", ICML 2020, Algorithm 1.

    Example:
        >>> result = separate(torch.zeros(28, 28), "mnist", weights=[1.0, 1.0], method="basis", levels=3, steps=2)
        >>> result.sources.shape
        torch.Size([1, 2, 1, 28, 28])
    """
    run = stream(
        mixture, prior, mixing, method, weights=weights, budget=budget, noise=noise, seed=seed, samples=samples,
        index=index, batch_size=batch_size, assess=assess, **settings,
    )  # fmt: skip
    return watch(run, progress).result


def stream(
    mixture: Mixture,
    prior: Known | Sequence[Known],
    mixing: Mixing | None = None,
    method: str | Separator | None = None,
    *,
    weights: Sequence[float] | None = None,
    budget: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
    samples: int = 1,
    index: Sequence[int] | None = None,
    batch_size: int | None = None,
    assess: bool = True,
    **settings,
) -> Run:
    """Separate step by step: iterate over the states, then read ``.result``.

    Arguments are those of `separate`, but for ``progress``.

    Example:
        >>> import basis
        >>> prior = basis.load_prior("mnist")
        >>> run = stream(torch.zeros(1, 28, 28), prior, basis.WeightedSum([1.0, 1.0]), "basis", levels=3, steps=2)
        >>> sum(1 for state in run)
        6
    """
    mixing, known = mixing_of(mixing, weights), priors_of(prior)
    problem = pose(array_of(mixture, known), known, mixing, noise)
    priors = [problem.prior.distinct[i] for i in problem.prior.order]
    separator = choose(*resolve(method, settings, budget, priors, mixing))
    if noise and not separator.takes_noise:
        raise UsageError(
            f"method {method if isinstance(method, str) else type(separator).__name__} takes exact mixtures, got noise "
            f"{noise:g}",
            fix="leave noise out, or take a method that knows of it, such as fast, quality or paper",
        )
    count = len(problem.mixture)
    index, batch_size = list(range(count) if index is None else index), count if batch_size is None else batch_size
    if len(index) != count:
        raise UsageError(
            f"expected an index for each of {count} mixtures, got {len(index)}", fix="leave it out for 0, 1, 2, …"
        )
    for name, value, least in (
        ("samples", samples, 1),
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
        ("index", min(index), 0),
    ):
        if not takes(Count if least else Whole, value):
            raise UsageError(
                f"{name} must be a whole number of at least {least}, got {value}", fix=f"pass {name}={least}"
            )
    check_request(f"samples={samples}", 4 * count * samples * math.prod(problem.prior.shape), fix="ask for fewer")
    return Run(_batches(separator, problem, seed, samples, index, batch_size, assess), math.ceil(count / batch_size))


@plain_torch()
def generate(prior: Prior, n: int = 16, seed: int = 0, sampler: Sampler | None = None, batch_size: int = 32) -> Tensor:
    """Draw samples of a prior: the first thing to look at where separations look wrong.

    Each depends on the seed and its own number alone. They start from N(c, σ_1²) with c the middle of the prior's
    data range and σ_1 the sampler's largest noise level.

    Args:
        prior: what to draw from.
        n: number of samples.
        seed: fixes the samples.
        sampler: any; by default `Heun` with some churn on 30 noise levels (59 evaluations of each sample) or, for
            priors of discrete levels, `AnnealedLangevin` at these, 100 steps each of a size that suits them.
        batch_size: samples at a time.

    Returns:
        Samples, (n, *S), clamped to the prior's data range.

    Raises:
        UsageError: n or batch_size below 1, seed below 0.
        DivergenceError: a sample is not finite.

    Example:
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> generate(unit, n=3).shape
        torch.Size([3, 1])
    """
    if not (isinstance(prior, Prior) and isinstance(sampler, Sampler | None)):
        raise UsageError(
            f"expected a prior and a sampler or None, got {type(prior).__name__} and {type(sampler).__name__}",
            fix="see basis.load_prior and basis.Heun",
        )
    if not (takes(Count, n) and takes(Count, batch_size) and takes(Whole, seed)):
        raise UsageError(
            f"expected whole n >= 1, batch_size >= 1 and seed >= 0, got {n}, {batch_size} and {seed}",
            fix="give numbers",
        )
    check_request(f"n={n}", 4 * n * math.prod(prior.shape), fix="draw fewer samples")
    low, high = prior.data_range or (0.0, 1.0)
    if sampler is None and prior.levels is None:
        sampler = Heun(karras(HIGHEST * (high - low), LOWEST * (high - low), STEPS, RHO), churn=CHURN)
    sampler = sampler or AnnealedLangevin(torch.tensor(sorted(prior.levels or (), reverse=True)), delta=None)
    target, centre, parts = Product([prior]), (low + high) / 2 if prior.data_range else 0.0, []
    for start in range(0, n, batch_size):
        noise = Noise(target.shape, seed, range(start, min(start + batch_size, n)), device=prior.device)
        x = centre + sampler.levels[0] * noise.normal()
        for state in sampler.run(target, x, noise.normal):
            x = state.x
        parts.append(x[:, 0])
    found = torch.cat(parts)
    return found.clamp(low, high) if prior.data_range else found


def _batches(
    separator: Separator, problem: Problem, seed: int, samples: int, index: list[int], size: int, assess: bool
) -> Generator[State, None, Separation]:
    parts, (prior, meter) = [], counted(problem.prior)
    for start in range(0, len(index), size):
        part = dataclasses.replace(problem, mixture=problem.mixture[start : start + size], prior=prior)
        noise = Noise(prior.shape, seed, index[start : start + size], samples, part.mixture.device)
        meter.examples = 0
        found = yield from separator.stream(part, noise)
        if found.evaluations is None:
            spent = meter.spent(len(part.mixture) * problem.mixing.sources)
            found = dataclasses.replace(found, evaluations=torch.full((len(part.mixture),), spent))
        parts.append(found)
    result = parts[0] if len(parts) == 1 else join(problem, parts)
    kinds, data_range = tuple(interchangeable(problem.prior, problem.mixing)), problem.prior.data_range
    result = dataclasses.replace(result, kinds=kinds, data_range=data_range)
    if not assess:
        return result
    worth = assessed(problem, result, size, separator.asks_prior)
    warn_of(worth.doubtful, len(index))
    return dataclasses.replace(result, assessment=worth)


def warn_of(unlikely: Sequence[int], count: int) -> None:
    """Warn of the mixtures with these numbers, if any, of ``count``."""
    if unlikely:
        which = ", ".join(map(str, unlikely[:8])) + (", …" if len(unlikely) > 8 else "")
        message = f"mixture {which} of {count}: {UNLIKELY}. To fix: {UNLIKELY_FIX}"
        warnings.warn(message, UnlikelyMixtureWarning, stacklevel=3)
