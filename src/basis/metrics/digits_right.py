"""Whether separated digits can be read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.metric import Metric
from basis.metrics._features import load_classifier

BATCH = 500  # images at a time


class DigitsRight(Metric):
    """Whether the digits of a mixture are read right from its separated sources: 1 or 0; the mean is a share.

    A bundled classifier of 99.4 % test accuracy reads every source; a mixture is right where the labels read are the
    true ones in some order. For MNIST, where FID means little.

    Args:
        labels: true labels of the mixtures, (B, K), in any order; by default what the classifier reads in the true
            sources.
        device: where to compute.

    Example:
        >>> x = torch.zeros(1, 2, 1, 28, 28)
        >>> x[0, 0, 0, 5:23, 13:15] = 1.0  # something like a one
        >>> DigitsRight()(x, x), DigitsRight([[1, 7]])(x, x)
        (tensor([1.], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """

    unit = "share"

    def __init__(self, labels: Tensor | Sequence[Sequence[int]] | None = None, device: str = "cpu") -> None:
        self.labels = None if labels is None else torch.as_tensor(labels)
        self.network = load_classifier(device=device)
        self.device = device

    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        true = self.read(target) if self.labels is None else self.labels
        read = self.read(estimate)
        if true.shape != read.shape:
            raise UsageError(f"expected the labels of mixtures {tuple(read.shape)}, got {tuple(true.shape)}")
        return (read.sort(1).values == true.sort(1).values).all(1).double()

    @torch.no_grad()
    def read(self, x: Tensor) -> Tensor:
        """Return the digit read in each source, (B, K), of sources in [0, 1], (B, K, 1, 28, 28)."""
        if tuple(x.shape[2:]) != (1, 28, 28):
            raise UsageError(f"digits are read from sources (B, K, 1, 28, 28), got {tuple(x.shape)}")
        parts = x.flatten(0, 1).to(self.device, torch.float32).clamp(0, 1).split(BATCH)
        return torch.cat([self.network(part).argmax(1).cpu() for part in parts]).unflatten(0, x.shape[:2])
