"""Fréchet distance between the features of two sets of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from basis.core.errors import UsageError
from basis.core.metric import UNIT, DataRange
from basis.metrics._features import Extractor, FeatureMetric


class FID(FeatureMetric):
    """Fréchet distance of features: between separated and real images, 0 for the same set (Heusel et al. 2017).

    ``‖μ - μ'‖² + tr(Σ + Σ' - 2 (Σ Σ')^½)`` for means μ and covariances Σ of the features, in float64; sums of features
    and of their products are all that is kept. Falls with the number of images, so that only figures of one number,
    one extractor and one set of real images compare. Computed by torchmetrics.

    Args:
        features: what sees the images; see `basis.metrics._features.extractor`. The paper's is "inception".
        device: where to compute features.
        data_range: smallest and largest value of the images, or the largest alone: 255 for 8-bit values.

    Raises:
        UsageError: torchmetrics is not installed.
        DataError: the features are not at hand.

    Example:
        >>> fid, images = FID("mnist-digits"), torch.rand(50, 1, 28, 28)
        >>> fid.update(images, real=True)
        >>> fid.update(images)
        >>> fid.name, round(fid.compute()[0], 3) + 0.0
        ('FID (mnist-digits)', 0.0)
    """

    kind = "FID"

    def __init__(
        self, features: str | Path | Extractor = "inception", device: str = "cpu", data_range: DataRange = UNIT
    ) -> None:
        super().__init__(features, device, data_range)
        self._state: Any = None

    def take(self, features: Tensor, logits: Tensor | None, real: bool = False) -> None:
        if self._state is None:
            self._state = self._begin(features.shape[1])
        self._state.update(features, real=real)

    def compute(self) -> tuple[float, None]:
        """Return the distance; raises `UsageError` unless two images of each kind at least were given."""
        kinds = ("real", "fake")
        if self._state is None or min(int(getattr(self._state, f"{kind}_features_num_samples")) for kind in kinds) < 2:
            raise UsageError(f"{self.name} needs at least two separated and two real images", fix="evaluate more")
        return self._state.compute().item(), None

    def _begin(self, dimensions: int) -> Any:
        try:
            from torchmetrics.image.fid import FrechetInceptionDistance
        except ImportError as error:
            raise UsageError("FID needs torchmetrics", fix="pip install 'basis-separation[metrics]'") from error
        same = nn.Identity()
        same.num_features = dimensions  # type: ignore[assignment]
        return FrechetInceptionDistance(feature=same).set_dtype(torch.float64)
