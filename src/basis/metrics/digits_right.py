"""Whether separated digits can be read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.metric import UNIT, DataRange, Metric, scaled
from basis.metrics._features import load_classifier

BATCH, DIGITS = 500, 10  # images at a time, and labels that there are


class DigitsRight(Metric):
    """Whether the digits of a mixture are read right from its separated sources: 1 or 0; the mean is a share.

    A bundled classifier of 99.4 % test accuracy reads every source; a mixture is right where the labels read are the
    true ones, in any order within a kind of source. For MNIST, where FID means little.

    Args:
        labels: true labels of the mixtures, (B, K), in any order; by default what the classifier reads in the true
            sources.
        device: where to compute.
        data_range: smallest and largest value of the sources, or the largest alone: 255 for 8-bit values.
        kinds: K numbers; sources of the same number may change places, see `basis.align`. All may by default.

    Example:
        >>> x = torch.zeros(1, 2, 1, 28, 28)
        >>> x[0, 0, 0, 5:23, 13:15] = 1.0  # something like a one
        >>> DigitsRight()(x, x), DigitsRight([[1, 7]])(x, x)
        (tensor([1.], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """

    unit = "share"

    def __init__(
        self,
        labels: Tensor | Sequence[Sequence[int]] | None = None,
        device: str = "cpu",
        data_range: DataRange = UNIT,
        kinds: Sequence[int] | None = None,
    ) -> None:
        self.labels = None if labels is None else torch.as_tensor(labels)
        self.network = load_classifier(device=device)
        self.device, self.data_range, self.kinds = device, data_range, kinds

    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        true = self.read(target, exact=True) if self.labels is None else self.labels
        read = self.read(estimate)
        if true.shape != read.shape:
            raise UsageError(
                f"expected the labels of mixtures {tuple(read.shape)}, got {tuple(true.shape)}",
                fix="give a label for each source",
            )
        kinds = DIGITS * torch.tensor([0] * read.shape[1] if self.kinds is None else self.kinds)
        return ((read + kinds).sort(1).values == (true + kinds).sort(1).values).all(1).double()

    @torch.no_grad()
    def read(self, x: Tensor, exact: bool = False) -> Tensor:
        """Return the digit read in each source, (B, K), of sources (B, K, 1, 28, 28); ``exact`` as in `scaled`."""
        if tuple(x.shape[2:]) != (1, 28, 28):
            raise UsageError(
                f"digits are read from sources (B, K, 1, 28, 28), got {tuple(x.shape)}",
                fix="bring them to this shape, or leave this metric out",
            )
        parts = scaled(x.flatten(0, 1), self.data_range, exact).clamp(0, 1).split(BATCH)
        return torch.cat([self.network(part.to(self.device)).argmax(1).cpu() for part in parts]).unflatten(
            0, x.shape[:2]
        )
