"""LSUN scenes in their published LMDB folders."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from basis.core.dataset import Dataset
from basis.core.errors import DataError, UsageError
from basis.core.settings import Count
from basis.datasets._pictures import cached, check_size, halves, middle, square, tell_together

HELD_OUT = 1_000  # last images of a published training set
MAGIC = 0xBEEFC0DE
META = struct.Struct("<16x 2I 16x I 92x 2Q")  # page header; magic, version; page size; last page, transaction
URL = "http://dl.yf.io/lsun/scenes/{}.zip"


class LSUN(Dataset):
    """LSUN scenes, 3×64×64 (Yu et al. 2015): of each category the published training images, 300 published for test.

    Reads `CATEGORY_train_lmdb/` and `CATEGORY_val_lmdb/` in the root or its `lsun/` folder, as unzipped: LMDB databases
    of WebP or JPEG pictures by key. The last 1,000 training images by key are the validation split, the published
    validation images the test split. Each picture's central square is resized to 64 pixels, as Glow's pipeline does;
    ``short=96`` cuts the middle 64 out of 96 pixels, from which the published Glow models at 64×64 took random parts.

    The first use converts what it reads, at some hundred pictures a second, and keeps it in the user's cache: 12 kB an
    image, all of them in memory when loaded (churches 1.5 GB; of three million bedrooms load a part). Needs `lmdb`:
    ``pip install 'basis-separation[lsun]'``.

    Args:
        root: folder of data sets; by default the one named by BASIS_DATA.
        category: for instance "church_outdoor", or several, "church_outdoor+bedroom", which are the labels 0, 1, … and
            in halves the two groups of the task "split".
        size: height and width of the images.
        short: short side to resize to before the middle is cut out; ``size`` by default: all of a square is kept.
        most: largest number of images of a category in a split, the first by key; all by default.

    Example:
        >>> LSUN(category="church_outdoor+bedroom").groups
        ((0,), (1,))
    """

    def __init__(
        self,
        root: str | Path | None = None,
        category: str = "church_outdoor",
        size: int = 64,
        short: int | None = None,
        most: Count | None = None,
    ) -> None:
        super().__init__(root)
        short = size if short is None else short
        check_size(size, short)
        self.categories, self.size, self.short, self.most = category.split("+"), size, short, most
        self.groups = halves(len(self.categories))

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        parts = [self._category(category, split) for category in self.categories]
        labels = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part) for part in parts]))
        return torch.cat(parts) if len(parts) > 1 else parts[0], labels

    def _category(self, category: str, split: str) -> Tensor:
        path = self._find(f"{category}_{'val' if split == 'test' else 'train'}_lmdb")
        keep = {"train": slice(0, -HELD_OUT), "validation": slice(-HELD_OUT, None), "test": slice(None)}[split]
        with _opened(path) as database:
            keys = [key.decode("latin-1") for key in database.cursor().iternext(keys=True, values=False)]
            keys = keys[keep][: self.most]
            if not keys:
                raise DataError(f"{path} has no images for the {split} split", fix="fetch it anew: it is not whole")

            said: list[str] = []

            def convert(key: str) -> np.ndarray:
                name = f"{path}: the value of key {key}"
                content = BytesIO(database.get(key.encode("latin-1")))
                return middle(square(content, name, self.short, tell=said.append), self.size)

            stamp = (path / "data.mdb").stat()
            facts = [str(path.absolute()), stamp.st_mtime_ns, stamp.st_size, self.size, self.short]
            images = cached("lsun", facts, keys, convert, (3, self.size, self.size))
            tell_together(said, len(keys))
            return images

    def _find(self, name: str) -> Path:
        folders = [self.root / name, self.root / "lsun" / name] if self.root else []
        for folder in folders:
            if (folder / "data.mdb").is_file():
                return folder
        raise DataError(
            f"LSUN: {name}/data.mdb not found in {self.root or '(no folder given)'}",
            fix=f"fetch {URL.format(name)}, unzip it, and pass --data-dir or set BASIS_DATA to where it lies",
        )


def _check_whole(path: Path) -> None:
    """Raise `DataError` for a database that was cut off: reading it by its memory map would end the process.

    Each of the two meta pages at the start says which page is the last; the later transaction's counts. What is no
    database at all is left to lmdb.
    """
    with path.open("rb") as file:
        metas = [_meta(file.read(META.size))]
        if metas[0]:
            file.seek(metas[0][1])
            metas.append(_meta(file.read(META.size)))
    found = [meta for meta in metas if meta]
    if not found:
        return
    _, page, last = max(found)
    size, needed = path.stat().st_size, (last + 1) * page
    if len(found) < 2 or size < needed:
        raise DataError(
            f"{path} is cut off: it has {size:,} bytes, and says that it has {max(needed, 2 * page):,}",
            fix="fetch it anew",
        )


def _meta(content: bytes) -> tuple[int, int, int] | None:
    """Return the transaction, size of a page and number of the last page that a meta page names, if it is one."""
    if len(content) < META.size:
        return None
    magic, _, page, last, transaction = META.unpack(content)
    return (transaction, page, last) if magic == MAGIC and 256 <= page <= 2**16 else None


@contextmanager
def _opened(path: Path) -> Iterator:
    """Give a reading transaction of a database."""
    try:
        import lmdb
    except ImportError as error:
        raise UsageError("LSUN needs lmdb", fix="pip install 'basis-separation[lsun]'") from error
    _check_whole(path / "data.mdb")
    try:
        with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
            yield transaction
    except lmdb.Error as error:
        raise DataError(f"{path} is not an LMDB database that can be read ({error})", fix="fetch it anew") from error
