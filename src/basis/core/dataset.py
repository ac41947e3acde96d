"""Data sets: images with labels, in their published formats."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor

from basis.core.errors import DataError, UsageError
from basis.core.registry import Registry

SPLITS = ("train", "validation", "test")


class Dataset(ABC):
    """A labelled set of images in three disjoint splits.

    "validation" is the part of the published training images that is held out for tuning; "test" is for final figures.

    Args:
        root: folder of the published files; by default the folder named by BASIS_DATA.
    """

    groups: tuple[tuple[int, ...], tuple[int, ...]]
    """The two groups of labels of the class-split task (section 5, "Class conditional separation")."""

    def __init__(self, root: str | Path | None = None) -> None:
        root = root or os.environ.get("BASIS_DATA")
        self.root = Path(root) if root else None

    @abstractmethod
    def load(self, split: str) -> tuple[Tensor, Tensor]:
        """Return the images, uint8 (N, C, H, W), and their labels, int64 (N,)."""

    def images(self, split: str) -> tuple[Tensor, Tensor]:
        """Return `load(split)` after checking the split's name."""
        if split not in SPLITS:
            raise UsageError(f"unknown split '{split}'", fix=f"choose one of {', '.join(SPLITS)}")
        return self.load(split)


DATASETS = Registry("data set", "basis.datasets", Dataset)


def missing(name: str, folder: Path | None, needed: str) -> DataError:
    """Return the error for a data set that is neither on disk nor to be downloaded."""
    where = f"in {folder}" if folder else "(no folder given)"
    return DataError(
        f"{name}: {needed} not found {where}",
        fix="pass --data-dir or set BASIS_DATA to the folder that holds it, or connect to the internet to download it",
    )
