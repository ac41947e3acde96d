"""Kernel distance between the features of two sets of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.metric import UNIT, DataRange
from basis.metrics._features import Extractor, FeatureMetric

SUBSETS = 100
SIZE = 1000  # images of each kind in a subset
MOST = 10_000  # features of each kind that are kept


class KID(FeatureMetric):
    """Kernel distance of features: unbiased, so that it compares across numbers of images (Bińkowski et al. 2018).

    Squared maximum mean discrepancy under ``k(f, f') = (f·f' / D + 1)³``, as mean and standard deviation over subsets
    of at most 1,000 images of each kind. Of either kind at most 10,000 features are kept, a uniform sample of all
    that were seen (Vitter 1985, algorithm R). The discrepancy is computed by torchmetrics.

    Args:
        features: what sees the images; see `basis.metrics._features.extractor`.
        device: where to compute features.
        subsets: number of subsets.
        size: images of each kind in a subset; all that are kept where these are fewer.
        most: features of each kind that are kept.
        seed: fixes the sample and the subsets.
        data_range: smallest and largest value of the images, or the largest alone: 255 for 8-bit values.

    Raises:
        UsageError: torchmetrics is not installed.
        DataError: the features are not at hand.

    Example:
        >>> kid, images = KID("mnist-digits", subsets=1), torch.rand(30, 1, 28, 28)
        >>> kid.update(images, real=True)
        >>> kid.update(images / 4)
        >>> kid.name, kid.compute()[0] > 0
        ('KID (mnist-digits)', True)
    """

    kind = "KID"

    def __init__(
        self,
        features: str | Path | Extractor = "inception",
        device: str = "cpu",
        subsets: int = SUBSETS,
        size: int = SIZE,
        most: int = MOST,
        seed: int = 0,
        data_range: DataRange = UNIT,
    ) -> None:
        super().__init__(features, device, data_range)
        self.subsets, self.size, self.most, self.seed = subsets, size, most, seed
        self._kept = {kind: _Reservoir(most, (seed, kind)) for kind in (False, True)}

    def take(self, features: Tensor, logits: Tensor | None, real: bool = False) -> None:
        self._kept[real].add(features)

    def compute(self) -> tuple[float, float | None]:
        """Return mean and standard deviation over the subsets; raises `UsageError` for fewer than two of a kind."""
        try:
            from torchmetrics.image.kid import poly_mmd
        except ImportError as error:
            raise UsageError("KID needs torchmetrics", fix="pip install 'basis-separation[metrics]'") from error
        fake, real = self._kept[False].rows(), self._kept[True].rows()
        size = min(self.size, len(fake), len(real))
        if size < 2:
            raise UsageError(f"{self.name} needs at least two separated and two real images", fix="evaluate more")
        rng, found = np.random.default_rng((self.seed, 2)), []
        for _ in range(self.subsets):
            f, r = (rows[rng.permutation(len(rows))[:size]] for rows in (fake, real))
            found.append(poly_mmd(r, f).item())
        return float(np.mean(found)), float(np.std(found)) if self.subsets > 1 else None


class _Reservoir:
    """A uniform sample of at most ``most`` of all rows that were added."""

    def __init__(self, most: int, seed: tuple[int, ...]) -> None:
        self.most, self.seen, self._rng = most, 0, np.random.default_rng(seed)
        self._rows: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        for row in rows:
            self.seen += 1
            if len(self._rows) < self.most:
                self._rows.append(row.clone())  # a view would keep its whole part
            elif (place := int(self._rng.integers(self.seen))) < self.most:
                self._rows[place] = row.clone()

    def rows(self) -> Tensor:
        return torch.stack(self._rows) if self._rows else torch.zeros(0, 1)
