"""What a prior may be told of its examples and noise levels: checked once, for every kind of prior."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path

import torch
from torch import nn

from basis.core.errors import UsageError, shown

LARGEST = 2**31  # values of one example


def falling(levels: Sequence) -> bool:
    """Return whether noise levels are decreasing positive finite numbers, at least one.

    Example:
        >>> falling([1.0, 0.1]), falling([0.1, 1.0]), falling([1.0, 0.0]), falling(["1.0"])
        (True, False, False, False)
    """
    if not levels or not all(isinstance(level, Real) and not isinstance(level, bool) for level in levels):
        return False
    return all(a > b for a, b in itertools.pairwise([math.inf, *levels, 0.0]))


def shape_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of an example; raises `UsageError` where it is none, or of more than 2³¹ values."""
    sides = list(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else []
    if not sides or not all(isinstance(side, Integral) and side >= 1 for side in sides):
        raise UsageError(
            f"expected the shape of an example, whole numbers of at least 1, got {shown(shape)}",
            fix="for instance (1, 28, 28)",
        )
    if math.prod(sides) > LARGEST:
        raise UsageError(
            f"an example of shape {shown(tuple(sides))} has {math.prod(sides):,} values, expected at most {LARGEST:,}",
            fix="choose smaller examples, or raise basis.core.checks.LARGEST",
        )
    return tuple(int(side) for side in sides)


def data_range_of(data_range: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and largest value of the data; raises `UsageError` where they are not that."""
    ends = list(data_range) if isinstance(data_range, Sequence) and not isinstance(data_range, str) else []
    if len(ends) != 2 or not all(isinstance(end, Real) and math.isfinite(end) for end in ends) or not ends[0] < ends[1]:
        raise UsageError(
            f"expected the smallest and largest value of the data as data_range, got {shown(data_range)}",
            fix="for instance (0.0, 1.0), or None where there is no limit",
        )
    return ends[0], ends[1]


def levels_of(levels: Sequence[float]) -> tuple[float, ...]:
    """Return noise levels; raises `UsageError` where they are not positive, finite and decreasing."""
    if not falling(levels):
        raise UsageError(
            f"expected noise levels that are positive and decrease, got {shown([*levels])}",
            fix="for instance [1.0, 0.1]",
        )
    return tuple(levels)


def weights_of(weights: Iterable[float], fix: str) -> tuple[float, ...]:
    """Return weights as numbers; raises `UsageError` unless they are finite and at least one is not zero.

    Example:
        >>> weights_of([1, 0.5], fix="")
        (1.0, 0.5)
    """
    values = weights.tolist() if hasattr(weights, "tolist") else weights
    entries = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else []
    numbers = [float(entry) for entry in entries if isinstance(entry, Real) and math.isfinite(entry)]
    if len(numbers) < len(entries) or not any(numbers):
        raise UsageError(f"expected at least one weight, finite and not all zero, got {shown(values)}", fix=fix)
    return tuple(numbers)


def path_of(source: object, what: str) -> Path:
    """Return a path; raises `UsageError`, with what was expected, for what cannot be one."""
    if not isinstance(source, str | Path):
        raise UsageError(f"expected {what}, got {shown(source)}", fix="give it as text or as a pathlib.Path")
    try:
        Path(source).exists()
    except (OSError, ValueError) as error:  # too long, a NUL in it, a loop of links
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{shown(str(source))} is no path ({reason})", fix=f"give {what}") from error
    return Path(source)


def device_of(device: object) -> torch.device:
    """Return a device; raises `UsageError` for one that is not there."""
    try:
        if not isinstance(device, str | torch.device):
            raise TypeError
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:  # NotImplementedError is a RuntimeError
        raise UsageError(f"device '{device}' is not available here", fix="use device cpu") from error
    return torch.device(device)


def image_of(shape: Sequence[int], of: str) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of an image; raises `UsageError`, naming the kind of prior, for any other."""
    sides = shape_of(shape)
    if len(sides) != 3:
        raise UsageError(f"{of} takes images (C, H, W), got shape {shown(sides)}", fix="for instance (1, 28, 28)")
    return sides[0], sides[1], sides[2]


def grid_of(shape: Sequence[int], of: str) -> tuple[int, ...]:
    """Return the shape (C, L) or (C, H, W) of a signal; raises `UsageError`, naming the kind of prior, for any other.

    Example:
        >>> grid_of([1, 64], "EDM")
        (1, 64)
    """
    sides = shape_of(shape)
    if len(sides) not in (2, 3):
        raise UsageError(
            f"{of} takes signals (C, L) or images (C, H, W), got shape {shown(sides)}",
            fix="for instance (1, 64) or (1, 28, 28)",
        )
    return sides


def unwrapped(network: object) -> object:
    """Return the network inside of what `torch.compile`, DataParallel and DistributedDataParallel make of it."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(network, parallel) or hasattr(network, "_orig_mod"):
        network = network.module if isinstance(network, parallel) else network._orig_mod
    return network
