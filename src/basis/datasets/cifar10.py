"""CIFAR-10 in its published files, the binary and the python version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from basis.core.dataset import Dataset, missing
from basis.core.errors import DataError, unknown
from basis.datasets._pictures import check_size
from basis.datasets._plain_pickle import plain

HELD_OUT = 5_000  # last images of the published training set
FOLDER, PICKLED = "cifar-10-batches-bin", "cifar-10-batches-py"
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the archive, as published
RECORD = 1 + 3 * 32 * 32  # bytes: a label, then red, green and blue planes
IMAGES = 10_000  # of each file
PARTS = ["animals", "machines"]  # the groups below
TRAIN = [f"data_batch_{i}.bin" for i in range(1, 6)]


class CIFAR10(Dataset):
    """CIFAR-10 photographs, 3×32×32: 45,000 train, 5,000 validation, 10,000 test (Krizhevsky 2009).

    Labels 0 to 9: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck. Reads the published binary
    version, `data_batch_{1…5}.bin` and `test_batch.bin`, in the root or its `cifar-10-batches-bin/` folder, or the
    python version, `data_batch_{1…5}` and `test_batch`, in the root or its `cifar-10-batches-py/`; the latter are
    pickles, of which a restricted reader takes arrays of bytes and plain containers only. Downloads the binary version
    where both are missing and the network allows.

    Args:
        root: folder of the published files; by default the folder named by BASIS_DATA.
        part: "animals" or "machines", for the images of these classes alone, "cifar10:machines"; all by default.
        size: height and width that the images are resized to (bicubic); 32, as published, by default.
    """

    groups = ((2, 3, 4, 5, 6, 7), (0, 1, 8, 9))  # animals, machines

    def __init__(self, root: str | Path | None = None, part: str | None = None, size: int = 32) -> None:
        super().__init__(root)
        check_size(size, size)
        if part is not None and part not in PARTS:
            raise unknown("part of CIFAR-10", str(part), PARTS)
        self.part, self.size = part, size

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        images, labels = self._all(split)
        if self.part is not None:
            chosen = torch.isin(labels, torch.tensor(self.groups[PARTS.index(self.part)]))
            images, labels = images[chosen], labels[chosen]
        return images if self.size == images.shape[-1] else _resized(images, self.size), labels

    def _all(self, split: str) -> tuple[Tensor, Tensor]:
        folder, ending = self._find() or (self._download(), ".bin")
        names = ["test_batch.bin"] if split == "test" else TRAIN
        read = self._read if ending else self._unpickle
        records = np.concatenate([read(_path(folder, ending, name)) for name in names])
        keep = {"train": slice(0, -HELD_OUT), "validation": slice(-HELD_OUT, None), "test": slice(None)}[split]
        images = torch.from_numpy(records[keep, 1:].reshape(-1, 3, 32, 32).copy())
        return images, torch.from_numpy(records[keep, 0].astype(np.int64))

    def _read(self, path: Path) -> np.ndarray:
        try:
            size, content = path.stat().st_size, np.fromfile(path, np.uint8, IMAGES * RECORD)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error})", fix="delete its folder and fetch it again") from error
        if not content.size == size == IMAGES * RECORD or content.reshape(IMAGES, RECORD)[:, 0].max() > 9:
            raise DataError(
                f"{path} is not a batch of CIFAR-10's binary version: expected {IMAGES:,} records of {RECORD} bytes "
                f"that begin with a label from 0 to 9, got {size:,} bytes",
                fix="delete its folder and fetch it again",
            )
        return content.reshape(IMAGES, RECORD)

    def _unpickle(self, path: Path) -> np.ndarray:
        """Return the records of a file of the python version as the binary version has them."""
        try:
            if (size := path.stat().st_size) > 2 * IMAGES * RECORD:
                raise ValueError(f"it has {size:,} bytes")
            batch = plain(path.read_bytes())
            labels, pixels = np.array(batch[b"labels"]), batch[b"data"].value
            shapes = (labels.shape, pixels.shape)
            if shapes != ((IMAGES,), (IMAGES, RECORD - 1)) or not 0 <= labels.min() <= labels.max() <= 9:
                raise ValueError(f"it holds labels and images of shapes {shapes}, expected {IMAGES:,} of each")
        except Exception as error:  # a damaged or hostile pickle raises anything
            reason = str(error).partition("\n")[0]
            raise DataError(
                f"{path} is not a batch of CIFAR-10's python version ({reason})",
                fix="delete its folder and fetch it again",
            ) from error
        return np.concatenate([labels[:, None].astype(np.uint8), pixels], 1)

    def _find(self) -> tuple[Path, str] | None:
        """Return the folder of the files and how their names end."""
        folders = {".bin": (".", FOLDER), "": (".", PICKLED)} if self.root else {}
        places = [(Path(self.root or "") / name, ending) for ending, names in folders.items() for name in names]
        return next((place for place in places if all(_path(*place, name).is_file() for name in TRAIN)), None)

    def _download(self) -> Path:
        import pooch

        folder = self.root or Path(pooch.os_cache("basis"))
        try:
            files = pooch.retrieve(
                URL, f"md5:{MD5}", path=folder, progressbar=False, processor=pooch.Untar(extract_dir=".")
            )
        except Exception as error:
            needed = f"{FOLDER}/{{data_batch_1…5,test_batch}}.bin and {PICKLED}/{{data_batch_1…5,test_batch}}"
            raise missing("CIFAR-10", folder, needed) from error
        return next(Path(file).parent for file in files if file.endswith("test_batch.bin"))


def _resized(images: Tensor, size: int) -> Tensor:
    """Return images, uint8 (N, 3, H, W), resized to size × size; in parts, since floats take four times the memory."""
    parts = [F.interpolate(part.float(), (size, size), mode="bicubic", antialias=True) for part in images.split(1000)]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


def _path(folder: Path, ending: str, name: str) -> Path:
    return folder / name.replace(".bin", ending)
