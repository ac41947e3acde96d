"""What is to be separated, after checking that mixture, priors and mixing fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from basis.core.arrays import as_tensor, plain_torch
from basis.core.checks import unwrapped
from basis.core.errors import DataError, UsageError
from basis.core.mixing import Mixing, range_of
from basis.core.prior import Prior, Product
from basis.core.settings import NonNegative, takes

TOLERANCE = 0.1  # share of the range that a mixture may lie outside of it
NOISE = 6.0  # standard deviations of noise that it may lie outside beside that


@dataclass(frozen=True, eq=False)
class Problem:
    """Mixtures to separate: ``m = g(x)`` with ``x ~ p``.

    Args:
        mixture: (B, *M).
        prior: p over stacks of K sources, (K, *S).
        mixing: g.
        noise: standard deviation of the mixture's noise, in its units: ``m = g(x) + noise · n``, n ~ N(0, I).
    """

    mixture: Tensor
    prior: Product
    mixing: Mixing
    noise: float = 0.0


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
    if shape[0] == 1 and tuple(mixture.shape) == shape[1:]:  # (H, W) of one channel
        mixture = mixture[None, None]
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
    """Compare the mixture's values with what sources within the prior's data range can mix to, and what noise adds."""
    mixture, data_range = problem.mixture, problem.prior.data_range
    if data_range is None:
        return
    low, high = range_of(problem.mixing, problem.prior.shape, data_range, mixture.device)
    slack = TOLERANCE * (high - low) + NOISE * problem.noise
    if mixture.min() < low - slack or mixture.max() > high + slack:
        noisy = f", and noise of {problem.noise:g}" if problem.noise else ""
        raise DataError(
            f"the mixture has values from {mixture.min():.3g} to {mixture.max():.3g}, expected {low:.3g} to {high:.3g}"
            f"{noisy}",
            fix="scale it to what the mixing gives for sources in "
            f"[{data_range[0]:g}, {data_range[1]:g}] (8-bit values: divide by 255), or state its weights or its noise",
        )
