"""Metrics compare estimated sources with the true ones, whatever order they came out in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from basis.core.arrays import as_tensor
from basis.core.errors import UsageError
from basis.core.registry import Registry
from basis.core.separator import Separation
from basis.core.settings import Finite, takes

Values = Tensor | np.ndarray
DataRange = float | Sequence[float]
UNIT = (0.0, 1.0)
TRUE, ESTIMATED = 0.01, 0.5  # parts of the data's range by which values may be outside of it, see `comparable`
EXACT = 1e-10  # mean squared error below which an example counts as exact: 100 dB where the range is 1


class Figure(ABC):
    """What separations are worth, as a number with a unit."""

    unit: str


class Metric(Figure):
    """A figure of merit, computed for each mixture so that means, medians and intervals can follow."""

    @abstractmethod
    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return one figure per mixture, (B,), of aligned sources (B, K, *S)."""


class SetMetric(Figure):
    """A figure of a set of examples, fed part by part in any order; memory does not grow with their number.

    Attributes:
        name: what to print beside the figure; holds the name of what saw the examples.
    """

    name: str

    @abstractmethod
    def update(self, examples: Tensor, real: bool = False) -> None:
        """Take in examples, (N, *S): separated ones, or real ones to compare them with."""

    @abstractmethod
    def compute(self) -> tuple[float, float | None]:
        """Return the figure and its standard deviation over parts of the set, where it has one."""


METRICS = Registry("metric", "basis.metrics", Figure)


def pairwise_psnr(estimate: Values, target: Values, data_range: DataRange | None) -> Tensor:
    """Return the PSNR in dB of each estimated source i against each true source j, (B, K, K); see `psnr`."""
    return _pairwise(*comparable(estimate, target, data_range))


def _pairwise(estimate: Tensor, target: Tensor, width: float) -> Tensor:
    a, b = (x.flatten(2) / width for x in (estimate, target))
    error = (a[:, :, None] - b[:, None, :]).square().mean(-1)
    return -10 * torch.log10(error.clamp_min(EXACT))


def known(
    estimate: Values | Separation, data_range: DataRange | None, kinds: Sequence[int] | None
) -> tuple[Values, DataRange | None, Sequence[int] | None]:
    """Return estimated sources with their data range and kinds; a separation knows its own, where they are None."""
    if not isinstance(estimate, Separation):
        return estimate, data_range, kinds
    own = estimate.data_range if data_range is None else data_range
    return estimate.sources, own, estimate.kinds if kinds is None else kinds


def comparable(estimate: Values, target: Values, data_range: DataRange | None) -> tuple[Tensor, Tensor, float]:
    """Return estimated and true sources, (B, K, *S), float64, and the width of the data's range, checked against it.

    Args:
        estimate, target: torch or numpy arrays of any real type. Integers keep their values: 8-bit ones want
            ``data_range=255``.
        data_range: smallest and largest value of the data, to which estimates are clamped; or its width alone, with
            which nothing is clamped. There is no default: figures in dB mean nothing without it.

    Raises:
        UsageError: no data range; shapes that differ or are not (B, K, ...); values that are not finite; true values
            that are more than a hundredth of the range outside of it; estimates of a mixture that are outside of it by
            more than half of it in the root mean square, which is another range and not a sampler's error.
    """
    estimate, target = _stacks(estimate, target)
    if data_range is None:
        raise UsageError(
            f"expected data_range as (smallest, largest) or as a positive number, got None for sources that do not say "
            f"it (values from {target.min():.4g} to {target.max():.4g})",
            fix="give the separation itself in place of its sources, or data_range=prior.data_range",
        )
    low, high = ends(data_range)
    width = high - low
    if not isinstance(data_range, Sequence):  # it may begin anywhere
        low, high = target.max().item() - width, target.min().item() + width
    if high < low or target.min() < low - TRUE * width or target.max() > high + TRUE * width:
        raise _another_range("the true sources", target, data_range)
    inside = estimate.clamp(low, high)
    if ((estimate - inside).flatten(1).square().mean(1).sqrt() > ESTIMATED * width).any():
        raise _another_range("the estimated sources", estimate, data_range)
    return inside if isinstance(data_range, Sequence) else estimate, target, width


def _stacks(estimate: Values, target: Values) -> tuple[Tensor, Tensor]:
    """Return estimated and true sources in float64, (B, K, *S) both, and finite."""
    estimate = as_tensor(estimate, "the estimate", dtype=torch.float64)
    target = as_tensor(target, "the target", estimate.device, torch.float64)
    if estimate.shape != target.shape or estimate.dim() < 3 or not estimate.numel():
        raise UsageError(
            f"expected two stacks of sources of one shape (B, K, ...), got {tuple(estimate.shape)} and "
            f"{tuple(target.shape)}",
            fix="bring both to (mixtures, sources, *shape)",
        )
    if not torch.isfinite(estimate).all() or not torch.isfinite(target).all():
        raise UsageError("the sources have NaN or infinite values", fix="leave such mixtures out, and count them")
    return estimate, target


def scaled(values: Values, data_range: DataRange = UNIT, exact: bool = False) -> Tensor:
    """Return images, (N, *S), float32, with their data's range moved to [0, 1], checked against it.

    Args:
        values: torch or numpy, of any real type.
        data_range: smallest and largest value of the data; a number stands for (0, number).
        exact: whether they are true ones, which keep to the range; estimates may leave it, see `comparable`.
    """
    low, high = ends(data_range)
    x = as_tensor(values, "the images")
    outside = (x - x.clamp(low, high)).flatten(1)
    off = outside.abs().amax() / TRUE if exact else outside.square().mean(1).sqrt().amax() / ESTIMATED
    if off > high - low:
        raise _another_range("the images", x, data_range)
    return x if (low, high) == UNIT else (x - low) / (high - low)


def ends(data_range: DataRange) -> tuple[float, float]:
    """Return the smallest and the largest value of a data range; a number stands for (0, number)."""
    low, high = data_range if isinstance(data_range, Sequence) and len(data_range) == 2 else (0.0, data_range)
    if not (takes(Finite, low) and takes(Finite, high) and low < high):  # type: ignore[operator]
        raise UsageError(
            f"expected data_range as (smallest, largest) or as a positive number, got {data_range!r}",
            fix="for instance data_range=(0.0, 1.0), or 255 for 8-bit values",
        )
    return float(low), float(high)  # type: ignore[arg-type]


def _another_range(what: str, values: Tensor, data_range: DataRange) -> UsageError:
    return UsageError(
        f"{what} have values from {values.min():.4g} to {values.max():.4g}, expected data_range={data_range!r}",
        fix="say their range, for instance data_range=255 for 8-bit values, or scale them (8-bit: divide by 255)",
    )


def align(
    estimate: Values | Separation,
    target: Values,
    data_range: DataRange | None = None,
    kinds: Sequence[int] | None = None,
) -> Tensor:
    """Return which estimated source belongs to each true one.

    The assignment with the largest sum of PSNR over the sources, for each mixture (the evaluation of Table 2), among
    those that exchange sources of one kind.

    Args:
        estimate: a separation, which knows its data range and kinds; or estimated sources, (B, K, *S), torch or numpy.
        target: true sources, (B, K, *S).
        data_range: smallest and largest value of the data, or its width, see `comparable`. Without it the order is
            that of the smallest errors, with nothing clamped: it does not depend on the unit.
        kinds: K numbers; sources of the same number may change places, see `basis.core.modes.interchangeable`: with
            different weights or priors the order is known, and `Separation.kinds` keeps it. All may by default.

    Returns:
        Indices (B, K), int64: ``estimate[b, order[b, k]]`` goes with ``target[b, k]``; see `reorder`.

    Raises:
        UsageError: the shapes differ or are not (B, K, ...), or the values are of another range.

    Example:
        >>> target = torch.tensor([[[0.0, 0.1], [0.8, 0.9]]])
        >>> align(target.flip(1), target), align(target.flip(1), target, kinds=[0, 1])
        (tensor([[1, 0]]), tensor([[0, 1]]))
    """
    values, data_range, kinds = known(estimate, data_range, kinds)
    if data_range is not None:
        return best_order(pairwise_psnr(values, target, data_range), kinds)
    found, true = _stacks(values, target)
    return best_order(_pairwise(found, true, (true.max() - true.min()).item() or 1.0), kinds)


def best_order(table: Tensor, kinds: Sequence[int] | None = None) -> Tensor:
    """Return the assignment with the largest sum, as `align`, for figures of source i against truth k, (B, K, K).

    Example:
        >>> best_order(torch.tensor([[[0.1, 0.9], [0.3, 0.8]]]))
        tensor([[1, 0]])
    """
    from scipy.optimize import linear_sum_assignment  # takes a quarter of a second, and few need it

    kind = torch.tensor([0] * table.shape[1] if kinds is None else list(kinds))
    if len(kind) != table.shape[1]:
        raise UsageError(
            f"expected the kind of each of {table.shape[1]} sources, got {list(kinds or ())}",
            fix="give a number for each source, equal ones for sources that may change places",
        )
    apart = (kind[:, None] != kind).to(table.device)
    table = table.masked_fill(apart, table.min().item() - len(kind) * (table.max() - table.min()).item() - 1.0)
    orders = [linear_sum_assignment(rows, maximize=True)[1] for rows in table.transpose(1, 2).cpu().numpy()]
    return torch.as_tensor(np.array(orders), dtype=torch.int64, device=table.device).reshape(table.shape[:2])


def reorder(estimate: Tensor, order: Tensor) -> Tensor:
    """Return the sources (B, K, *S) in the order (B, K) that `align` found.

    Example:
        >>> target = torch.tensor([[[0.0], [0.8]]])
        >>> mixed_up = target.flip(1)
        >>> torch.equal(reorder(mixed_up, align(mixed_up, target)), target)
        True
    """
    whole = not (order.is_floating_point() or order.is_complex())
    if order.shape != estimate.shape[:2] or not whole or (order.sort(1)[0] != torch.arange(order.shape[1])).any():
        raise UsageError(
            f"expected an order of the {estimate.shape[1]} sources for each of {len(estimate)} mixtures, got a "
            f"{str(order.dtype)[6:]} {tuple(order.shape)}",
            fix="give what `align` returns",
        )
    return torch.stack([sources[index] for sources, index in zip(estimate, order, strict=True)])
