"""Peak signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from basis.core.metric import DataRange, Metric, Values, best_order, known, pairwise_psnr
from basis.core.separator import Separation


class PSNR(Metric):
    """Mean over the sources of the peak signal-to-noise ratio, in dB (Table 2).

    Args:
        data_range: smallest and largest value of the data, or its width; see `psnr`. There is no default.
    """

    unit = "dB"

    def __init__(self, data_range: DataRange) -> None:
        self.data_range = data_range

    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        return pairwise_psnr(estimate, target, self.data_range).diagonal(dim1=1, dim2=2).mean(1)


def psnr(
    estimate: Values | Separation,
    target: Values,
    data_range: DataRange | None = None,
    kinds: Sequence[int] | None = None,
) -> Tensor:
    """Return the PSNR of separated sources in dB, for each mixture, under the best assignment.

    ``10 log10 (width² / MSE)`` for each source, averaged over the K sources, width that of the data's range.

    Args:
        estimate: a separation, which knows its data range and kinds; or estimated sources, (B, K, *S), in any order
            within a kind, torch or numpy.
        target: true sources, (B, K, *S).
        data_range: smallest and largest value of the data, to which estimates are clamped; or the width alone, for
            instance 255 for 8-bit values, with which nothing is clamped. By default that of the separation's prior;
            arrays have none, and need it. Values of plainly another range are refused.
        kinds: K numbers; only sources of the same number may change places, see `align`. All may by default.

    Returns:
        PSNR for each mixture, (B,), float64; at most 100 dB.

    Raises:
        UsageError: the shapes differ or are not (B, K, ...), the values are not of that range, or there is no range.

    Example:
        >>> import torch
        >>> psnr(torch.tensor([[[0.6], [0.1]]]), torch.tensor([[[0.0], [0.5]]]), data_range=(0.0, 1.0))
        tensor([20.0000], dtype=torch.float64)
    """
    values, data_range, kinds = known(estimate, data_range, kinds)
    table = pairwise_psnr(values, target, data_range)
    order = best_order(table, kinds)
    return table.gather(1, order[:, None]).squeeze(1).mean(1)
