"""The 8×8 digits that come with scikit-learn: real data without a download."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from basis.core.dataset import Dataset
from basis.core.errors import UsageError

PARTS = {"train": slice(0, 1297), "validation": slice(1297, 1497), "test": slice(1497, None)}
LEVELS = 16  # the published grey levels are 0 to 16


class Digits(Dataset):
    """Handwritten digits of scikit-learn, 1×8×8: 1,297 train, 200 validation, 300 test (Alpaydin & Kaynak 1998)."""

    groups = ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise UsageError(
                "the digits data set needs scikit-learn", fix="pip install 'basis-separation[digits]'"
            ) from error
        data = load_digits()
        images = np.round(data.images[PARTS[split]] * (255 / LEVELS)).astype(np.uint8)
        return torch.from_numpy(images)[:, None], torch.from_numpy(data.target[PARTS[split]]).long()
