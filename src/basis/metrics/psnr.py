"""Peak signal-to-noise ratio."""

from __future__ import annotations

from torch import Tensor

from basis.core.metric import Metric, align, pairwise_psnr, reorder


class PSNR(Metric):
    """Mean over the sources of the peak signal-to-noise ratio, in dB, data in [0, 1] (Table 2)."""

    unit = "dB"

    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        return pairwise_psnr(estimate, target).diagonal(dim1=1, dim2=2).mean(1)


def psnr(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the PSNR of separated sources in dB, for each mixture, under the best assignment.

    ``-10 log10 MSE`` for each source, averaged over the K sources; data in [0, 1], estimates clamped to it.

    Args:
        estimate: estimated sources, (B, K, *S), in any order.
        target: true sources, (B, K, *S).

    Returns:
        PSNR for each mixture, (B,), float64; 100 dB where the error is below 1e-10.

    Raises:
        UsageError: the shapes differ or are not (B, K, ...).

    Example:
        >>> import torch
        >>> psnr(torch.tensor([[[0.6], [0.1]]]), torch.tensor([[[0.0], [0.5]]]))
        tensor([20.0000], dtype=torch.float64)
    """
    return PSNR()(reorder(estimate, align(estimate, target)), target)
