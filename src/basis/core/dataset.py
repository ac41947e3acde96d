"""Data sets: examples of a signal with labels, in their published formats."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from basis.core.errors import DataError, UsageError, shown, unknown
from basis.core.registry import Registry
from basis.core.settings import Typed, from_text, kinds

SPLITS = ("train", "validation", "test")


class Dataset(Typed, ABC):
    """A labelled set of examples in three disjoint splits.

    "validation" is the part of the published training examples that is held out for tuning; "test" is for final
    figures. How a data set stores its examples is its own business; `values` gives them in units of the data.

    Args:
        root: folder of the published files; by default the folder named by BASIS_DATA.

    Attributes:
        spec: how `open_dataset` is told to make it again, for instance "folder:photos,size=32".
    """

    spec: str
    data_range: tuple[float, float] = (0.0, 1.0)
    """Smallest and largest value of its examples, (0, 1) for pictures."""
    groups: tuple[tuple[int, ...], tuple[int, ...]]
    """The two groups of labels of the class-split task (section 5, "Class conditional separation")."""

    def __init__(self, root: str | Path | None = None) -> None:
        root = root or os.environ.get("BASIS_DATA")
        self.root = Path(root) if root else None
        self.spec = DATASETS.name_of(type(self))

    @abstractmethod
    def load(self, split: str) -> tuple[Tensor, Tensor]:
        """Return the examples as they are stored, (N, *S), and their labels, int64 (N,).

        Examples are floats in units of the data, or uint8, which saves memory: 0 to 255 stand for the data range.
        """

    def values(self, stored: Tensor) -> Tensor:
        """Return stored examples, (N, *S), as float32 in units of the data, within the data range."""
        if stored.dtype != torch.uint8:
            return stored.float()
        low, high = self.data_range
        unit = stored.float() / 255
        return unit if (low, high) == (0.0, 1.0) else low + (high - low) * unit

    def images(self, split: str) -> tuple[Tensor, Tensor]:
        """Return `load(split)`, examples as they are stored, after checking the split's name."""
        if split not in SPLITS:
            raise UsageError(f"unknown split '{split}'", fix=f"choose one of {', '.join(SPLITS)}")
        return self.load(split)


class Together(Dataset):
    """Examples of two data sets as one, those of each a group of the task "split": mixtures of one with the other.

    Labels of the second come after those of the first.

    Args:
        first, second: data sets whose examples have one shape and one data range.

    Example:
        >>> open_dataset("lsun:church_outdoor & cifar10:animals,size=64").spec
        'lsun:church_outdoor & cifar10:animals,size=64'
    """

    def __init__(self, first: Dataset, second: Dataset) -> None:
        if first.data_range != second.data_range:
            raise UsageError(
                f"values of '{first.spec}' are in {first.data_range}, those of '{second.spec}' in {second.data_range}",
                fix="take data sets of one data range",
            )
        self.root, self.first, self.second, self.data_range = first.root, first, second, first.data_range
        self.spec = f"{first.spec}{AND}{second.spec}"

    @property
    def groups(self) -> tuple[tuple[int, ...], tuple[int, ...]]:  # type: ignore[override]
        one, two = (sorted(label for group in data.groups for label in group) for data in (self.first, self.second))
        return tuple(one), tuple(max(one) + 1 + label for label in two)

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        (one, labels), (two, others) = self.first.images(split), self.second.images(split)
        if one.shape[1:] != two.shape[1:]:
            raise UsageError(
                f"examples of '{self.first.spec}' are {tuple(one.shape[1:])}, those of '{self.second.spec}' "
                f"{tuple(two.shape[1:])}",
                fix="make them of one shape, for instance with size=64",
            )
        if one.dtype != two.dtype:
            one, two = self.first.values(one), self.second.values(two)
        return torch.cat([one, two]), torch.cat([labels, max(self.groups[0]) + 1 + others])


DATASETS = Registry("data set", "basis.datasets", Dataset, joint="-")
AND = " & "  # between the names of two data sets


def open_dataset(spec: str, root: str | Path | None = None) -> Dataset:
    """Return the data set that a text names: ``NAME``, or ``NAME:VALUE,KEY=VALUE,…`` with settings.

    A first value without a key is text, and the data set's first setting. Others are JSON, or text where they are not.
    Two such texts with " & " between them are one data set, see `Together`.

    Args:
        spec: for instance "cifar10", "lsun:bedroom" or "folder:photos/garden,size=32".
        root: folder of the data sets; by default the folder named by BASIS_DATA.

    Raises:
        UsageError: no such data set, or settings that it does not have.

    Example:
        >>> data = open_dataset("folder:photos,size=32")
        >>> type(data).__name__, data.path, data.size
        ('Folder', 'photos', 32)
    """
    if not isinstance(spec, str):
        raise UsageError(
            f"expected the name of a data set, got {shown(spec)}", fix="for instance mnist, see `basis list`"
        )
    if AND in spec:
        first, _, second = spec.partition(AND)
        return Together(open_dataset(first, root), open_dataset(second, root))
    name, _, rest = spec.partition(":")
    cls = DATASETS.get(name)
    known = [key for key in inspect.signature(cls).parameters if key != "root"]
    settings: dict[str, object] = {}
    for place, entry in enumerate(filter(None, rest.split(","))):
        key, equals, value = entry.partition("=")
        if not equals and place == 0 and known:
            settings[known[0]] = entry
        elif not equals or key not in known:
            raise unknown(f"setting of data set '{name}':", key, known or ["none"])
        else:
            settings[key] = from_text(value, kinds(cls).get(key, Any))
    data = cls(root, **settings)
    data.spec = spec
    return data


def missing(name: str, folder: Path | None, needed: str) -> DataError:
    """Return the error for a data set that is neither on disk nor to be downloaded."""
    where = f"in {folder}" if folder else "(no folder given)"
    return DataError(
        f"{name}: {needed} not found {where}",
        fix="pass --data-dir or set BASIS_DATA to the folder that holds it, or connect to the internet to download it",
    )
