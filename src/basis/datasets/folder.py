"""Any folder of pictures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from basis.core.dataset import Dataset
from basis.core.errors import DataError
from basis.core.settings import Count
from basis.datasets._pictures import cached, check_size, halves, middle, square, tell_together
from basis.signals.image import BACKGROUND, SUFFIXES

NAMES = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
TENTHS = {0: "test", 1: "validation"}  # of pictures that lie in no split's folder


class Folder(Dataset):
    """Pictures in a folder, cropped and resized to squares; sub-folders may be splits and classes.

    Folders `train`, `validation` (or `val`, `valid`) and `test` at the top are the splits. The pictures of a split that
    has no folder are a tenth of the others, those of `train/` where there is one: the MD5 of a picture's path decides,
    so that pictures which come or go later move no other. Below, the first folder on the way to a picture is its class;
    labels number the classes of all splits in alphabetical order. The two groups of the task "split" are the first and
    the second half of the classes.

    Converted pictures are kept in the user's cache; changed files are converted again.

    Args:
        root: folder of data sets; by default the one named by BASIS_DATA.
        path: the folder, in the root, or else from where the program runs; the root itself by default.
        size: height and width of the images.
        short: short side to resize to before the middle is cut out; ``size`` by default: all of a square is kept.
        channels: 3 for colour, 1 for grey.
        crops: how many parts to cut out of each picture: 1 is the middle, more are at random places, which the
            picture's path decides. A prior for `Windowed` wants parts of pictures as large as those to come:
            ``folder:photos,size=32,short=512,crops=50``.
        background: colour that transparent parts show, a name or "#rrggbb".

    Warns:
        DataWarning: pictures had transparent parts, or 16-bit colour that is read with 8 bits.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> where = tempfile.mkdtemp()
        >>> Image.new("RGB", (40, 30)).save(f"{where}/a.png")
        >>> [split for split in ("train", "validation", "test") if Folder(where).files(split)]
        ['train']
    """

    def __init__(
        self,
        root: str | Path | None = None,
        path: str = "",
        size: int = 64,
        short: int | None = None,
        channels: int = 3,
        crops: Count = 1,
        background: str = BACKGROUND,
    ) -> None:
        super().__init__(root)
        short = size if short is None else short
        check_size(size, short, channels)
        self.path, self.size, self.short, self.channels, self.crops = str(path), size, short, channels, crops
        self.background = str(background)

    @property
    def folder(self) -> Path:
        """Where the pictures are."""
        places = [self.root / self.path] if self.root else []
        places += [Path(self.path)] if self.path else []
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise DataError(
                f"no folder of pictures at {' or '.join(map(str, places)) or '(none given)'}",
                fix="name one, for instance folder:photos, or pass --data-dir",
            )
        return found

    @property
    def groups(self) -> tuple[tuple[int, ...], tuple[int, ...]]:  # type: ignore[override]
        """The two halves of the classes."""
        return halves(len(self.classes))

    @property
    def classes(self) -> list[str]:
        """Names of the classes; "" stands for pictures in no class's folder."""
        return _classes(self._splits())

    def files(self, split: str) -> list[Path]:
        """Return the pictures of a split, sorted."""
        return [path for path, _ in self._splits()[split]]

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        splits = self._splits()
        found = splits[split]
        if not found:
            raise DataError(
                f"{self.folder} has no pictures in its {split} split",
                fix=f"add more pictures, or put some into {self.folder / split}",
            )
        numbers = {kind: i for i, kind in enumerate(_classes(splits))}
        stamps = [(str(path.absolute()), path.stat().st_mtime_ns, path.stat().st_size) for path, _ in found]
        facts = [self.size, self.short, self.channels, self.crops, self.background]
        said: list[str] = []
        shape = (self.crops, self.channels, self.size, self.size)
        images = cached("folder", facts, stamps, lambda stamp: self._parts(Path(stamp[0]), said.append), shape)
        tell_together(said, len(found))
        labels = torch.tensor([numbers[kind] for _, kind in found])
        return images.flatten(0, 1), labels.repeat_interleave(self.crops)

    def _parts(self, path: Path, tell: Callable[[str], None]) -> np.ndarray:
        """Return what is cut out of a picture, (crops, C, size, size)."""
        picture = square(path, str(path), self.short, self.channels, self.background, tell)
        if self.crops == 1:
            return middle(picture, self.size)[None]
        relative = path.relative_to(self.folder.absolute()).as_posix()
        rng = np.random.default_rng(list(hashlib.md5(relative.encode()).digest()))
        corners = rng.integers(0, self.short - self.size + 1, (self.crops, 2))
        return np.stack([picture[:, top : top + self.size, left : left + self.size] for top, left in corners])

    def _splits(self) -> dict[str, list[tuple[Path, str]]]:
        """Return the pictures of each split with their classes."""
        folder = self.folder
        present = {NAMES[entry.name] for entry in folder.iterdir() if entry.is_dir() and entry.name in NAMES}
        splits: dict[str, list[tuple[Path, str]]] = {"train": [], "validation": [], "test": []}
        for path in sorted(_pictures(folder)):
            *above, name = path.relative_to(folder).parts
            split = NAMES[above.pop(0)] if above and above[0] in NAMES else "train"
            if split == "train":
                wanted = TENTHS.get(tenth("/".join((*above, name))), "train")
                split = "train" if wanted in present else wanted
            splits[split].append((path, above[0] if above else ""))
        return splits


def _pictures(folder: Path) -> Iterator[Path]:
    """Yield the pictures at any depth of a folder, without hidden files and folders, links to folders, and pipes."""
    left = [str(folder)]
    while left:
        try:
            entries = [entry for entry in os.scandir(left.pop()) if not entry.name.startswith(".")]
        except OSError as error:
            raise DataError(f"{folder} holds a folder that cannot be read ({error.strerror})", fix="move it") from error
        left += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        names = [entry for entry in entries if os.path.splitext(entry.name)[1].lower() in SUFFIXES]
        yield from (Path(entry.path) for entry in names if entry.is_file())


def _classes(splits: dict[str, list[tuple[Path, str]]]) -> list[str]:
    return sorted({kind for found in splits.values() for _, kind in found})


def tenth(path: str) -> int:
    """Return a number from 0 to 9 that the text alone decides, each as likely.

    Example:
        >>> tenth("apse/00000.png")
        7
    """
    return int(hashlib.md5(path.encode()).hexdigest(), 16) % 10
