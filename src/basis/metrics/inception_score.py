"""How sharply and how variously images are classified."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.metric import UNIT, DataRange
from basis.metrics._features import Extractor, FeatureMetric

SPLITS = 10


class InceptionScore(FeatureMetric):
    """Inception Score: from 1 to the number of classes, the higher the better (Salimans et al. 2016).

    ``exp E_x KL(p(y | x) ‖ E_x p(y | x))`` for the class probabilities of separated images, as mean and standard
    deviation over ten splits; image i goes into split i mod 10. A split keeps two sums, of p and of Σ_y p log p. Real
    images are not looked at.

    Args:
        features: what classifies the images; see `basis.metrics._features.extractor`. The paper's is "inception".
        device: where to compute.
        splits: number of splits.
        data_range: smallest and largest value of the images, or the largest alone: 255 for 8-bit values.

    Raises:
        UsageError: the extractor has no class probabilities.
        DataError: the extractor is not at hand.

    Example:
        >>> score = InceptionScore("mnist-digits", splits=1)
        >>> score.update(torch.zeros(20, 1, 28, 28))
        >>> score.name, round(score.compute()[0], 3)  # twenty times the same image
        ('Inception Score (mnist-digits)', 1.0)
    """

    kind = "Inception Score"

    def __init__(
        self,
        features: str | Path | Extractor = "inception",
        device: str = "cpu",
        splits: int = SPLITS,
        data_range: DataRange = UNIT,
    ) -> None:
        super().__init__(features, device, data_range)
        self.splits, self.count = splits, 0
        self._marginal, self._negentropy = torch.zeros(0), torch.zeros(0)

    def take(self, features: Tensor, logits: Tensor | None, real: bool = False) -> None:
        if real:
            return
        if logits is None:
            raise UsageError(
                f"extractor {self.extractor.name} gives features alone, the Inception Score needs class logits",
                fix="return (features, logits) from its forward",
            )
        log_p = logits.log_softmax(1)
        p = log_p.exp()
        if not len(self._marginal):
            self._marginal = p.new_zeros(self.splits, p.shape[1])
            self._negentropy = p.new_zeros(self.splits)
        split = (self.count + torch.arange(len(p))) % self.splits
        self._marginal.index_add_(0, split, p)
        self._negentropy.index_add_(0, split, (p * log_p).sum(1))
        self.count += len(p)

    def compute(self) -> tuple[float, float | None]:
        """Return mean and standard deviation over the splits; raises `UsageError` where a split has no image."""
        if self.count < self.splits:
            raise UsageError(
                f"{self.name} needs at least {self.splits} images, one a split, got {self.count}", fix="evaluate more"
            )
        n = self._marginal.sum(1)  # probabilities sum to 1
        marginal = self._marginal / n[:, None]
        scores = (self._negentropy / n - torch.xlogy(marginal, marginal).sum(1)).exp()
        spread = scores.std(correction=0).item()
        return scores.mean().item(), None if self.splits == 1 or math.isnan(spread) else spread
