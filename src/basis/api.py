"""The two functions that most programs need: `separate` and `stream`."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch import Tensor

from basis.core.arrays import as_tensor, plain_torch
from basis.core.assessment import assess as assessed
from basis.core.counted import counted
from basis.core.errors import DataError, UnlikelyMixtureWarning, UsageError
from basis.core.limits import check_request
from basis.core.loading import unwrapped
from basis.core.mixing import Mixing, range_of
from basis.core.modes import interchangeable
from basis.core.noise import Noise
from basis.core.prior import Prior, Product
from basis.core.sampler import State
from basis.core.separator import Problem, Run, Separation, Separator, choose, join
from basis.core.settings import Count, NonNegative, Whole, takes
from basis.presets import resolve

UNLIKELY = "the sources found are unlike what this prior knows: it did not make this mixture, or the separation failed"
UNLIKELY_FIX = (
    "check light against dark (1 - x), size, scale, weights, noise and number of sources, take another prior, or spend "
    "more evaluations"
)
TOLERANCE = 0.1  # share of the range that a mixture may lie outside of it
NOISE = 6.0  # standard deviations of noise that it may lie outside beside that


def separate(
    mixture: Tensor | np.ndarray,
    prior: Prior | Sequence[Prior],
    mixing: Mixing,
    method: str | Separator | None = None,
    *,
    budget: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
    samples: int = 1,
    index: Sequence[int] | None = None,
    batch_size: int | None = None,
    assess: bool = True,
    **settings,
) -> Separation:
    """Separate mixtures into their sources.

    Args:
        mixture: one mixture (C, H, W) or B of them (B, C, H, W), in the units that the mixing gives: within [0, Σ α]
            for a weighted sum of images in [0, 1]. Torch or numpy.
        prior: what sources look like: one prior for all, or one for each source.
        mixing: how the sources were mixed, for instance ``WeightedSum([1.0, 1.0])``.
        method: name of a preset or of a separator (see `basis list`), or a separator; by default "quality",
            or "paper" with priors of discrete noise levels or unbounded values (`basis.presets.preferred`).
        budget: instead of a method: evaluations of the prior that may be spent for each source, everything included.
        noise: standard deviation σ_y >= 0 of Gaussian noise in the mixture, in its units. The sources then need not mix
            to it exactly: the residual of right ones is near σ_y². 0 for exact mixtures.
        seed: fixes the result, whatever the batch size, order or device.
        samples: posterior samples n per mixture.
        index: number of each mixture in its data set, which with the seed fixes its random stream; 0 to B-1 by
            default.
        batch_size: mixtures at a time; all by default. (The network sees as many images at a time as memory allows.)
        assess: whether to say what the result is worth, see `Assessment`: three evaluations of the prior for each
            source beside those of the method, and beside a budget.
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
        >>> import basis
        >>> prior = basis.load_prior("mnist")
        >>> result = separate(np.zeros((1, 28, 28)), prior, basis.WeightedSum([1.0, 1.0]), "basis", levels=3, steps=2)
        >>> result.sources.shape
        torch.Size([1, 2, 1, 28, 28])
    """
    return stream(
        mixture, prior, mixing, method, budget=budget, noise=noise, seed=seed, samples=samples, index=index,
        batch_size=batch_size, assess=assess, **settings,
    ).result  # fmt: skip


def stream(
    mixture: Tensor | np.ndarray,
    prior: Prior | Sequence[Prior],
    mixing: Mixing,
    method: str | Separator | None = None,
    *,
    budget: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
    samples: int = 1,
    index: Sequence[int] | None = None,
    batch_size: int | None = None,
    assess: bool = True,
    **settings,
) -> Run:
    """Separate step by step: iterate over the states, then read ``.result``. Arguments are those of `separate`.

    Example:
        >>> import basis
        >>> prior = basis.load_prior("mnist")
        >>> run = stream(torch.zeros(1, 28, 28), prior, basis.WeightedSum([1.0, 1.0]), "basis", levels=3, steps=2)
        >>> sum(1 for state in run)
        6
    """
    problem = pose(mixture, prior, mixing, noise)
    priors = [problem.prior.distinct[i] for i in problem.prior.order]
    separator = choose(*resolve(method, settings, budget, priors, mixing))
    if noise and not separator.takes_noise:
        raise UsageError(
            f"method {method if isinstance(method, str) else type(separator).__name__} takes exact mixtures, got noise "
            f"{noise:g}",
            fix="leave noise out, or take a method that knows of it, such as fast, quality or paper",
        )
    count = len(problem.mixture)
    index = list(range(count) if index is None else index)
    batch_size = count if batch_size is None else batch_size
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
    return Run(_batches(separator, problem, seed, samples, index, batch_size, assess))


@plain_torch()
def pose(mixture: Tensor | np.ndarray, prior: Prior | Sequence[Prior], mixing: Mixing, noise: float = 0.0) -> Problem:
    """Return the problem after checking that mixture, prior and mixing fit each other; raises what `separate` does."""
    if not isinstance(mixing, Mixing):
        raise UsageError(f"expected a mixing, got {mixing!r}", fix="for instance basis.WeightedSum([1.0, 1.0])")
    priors: list = list(prior) if isinstance(prior, list | tuple) else [prior] * mixing.sources
    if strange := [entry for entry in priors if not isinstance(entry, Prior)]:
        compiled, inside = hasattr(strange[0], "_orig_mod"), isinstance(unwrapped(strange[0]), Prior)
        fix = "give the prior that is inside of it, its .module" if inside else "see basis.load_prior"
        raise UsageError(
            f"expected a prior or one for each source, got {type(strange[0]).__name__}",
            fix="use basis.Accelerated(prior, 'no', compile=True)" if compiled else fix,
        )
    if not takes(NonNegative, noise):
        raise UsageError(
            f"noise must be a standard deviation of at least 0, got {noise}", fix="for instance noise=0.05"
        )
    if len(priors) != mixing.sources:
        raise UsageError(
            f"the mixing has {mixing.sources} sources, got {len(priors)} priors",
            fix="give one prior for all sources, or one for each",
        )
    devices = {str(prior.device) for prior in priors}
    if len(devices) > 1 or "meta" in devices:
        raise UsageError(
            f"the priors are on {' and '.join(sorted(devices))}, expected one device with their weights",
            fix="move them with .to(device), or give the device to basis.load_prior",
        )
    product = Product(priors)
    mixture = as_tensor(mixture, device=product.device)
    shape = tuple(mixing(torch.zeros(1, *product.shape, device=product.device)).shape[1:])
    if tuple(mixture.shape) == shape:
        mixture = mixture[None]
    if tuple(mixture.shape[1:]) != shape or not len(mixture):
        raise DataError(
            f"expected a mixture of shape {shape} or a batch of them, got {tuple(mixture.shape)}",
            fix=f"bring it to {'×'.join(map(str, shape))} (channels × height × width), or choose another prior",
        )
    if not torch.isfinite(mixture).all():
        raise DataError("the mixture has NaN or infinite values", fix="replace them before separating")
    problem = Problem(mixture, product, mixing, noise)
    _check_range(problem)
    return problem


def _check_range(problem: Problem) -> None:
    """Compare the mixture's values with what sources within the prior's support can mix to, and what noise adds."""
    mixture, support = problem.mixture, problem.prior.support
    if support is None:
        return
    low, high = range_of(problem.mixing, problem.prior.shape, support, mixture.device)
    slack = TOLERANCE * (high - low) + NOISE * problem.noise
    if mixture.min() < low - slack or mixture.max() > high + slack:
        noisy = f", and noise of {problem.noise:g}" if problem.noise else ""
        raise DataError(
            f"the mixture has values from {mixture.min():.3g} to {mixture.max():.3g}, expected {low:.3g} to {high:.3g}"
            f"{noisy}",
            fix="scale it to what the mixing gives for sources in "
            f"[{support[0]:g}, {support[1]:g}] (8-bit values: divide by 255), or state its weights or its noise",
        )


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
    result = dataclasses.replace(result, kinds=tuple(interchangeable(problem.prior, problem.mixing)))
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
