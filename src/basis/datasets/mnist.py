"""MNIST in its published IDX files."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from basis.core.dataset import Dataset, missing
from basis.core.errors import DataError

HELD_OUT = 5_000  # last images of the published training set
URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MD5 = {  # of the uncompressed files: gzip bytes differ from mirror to mirror
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class MNIST(Dataset):
    """MNIST handwritten digits, 1×28×28: 55,000 train, 5,000 validation, 10,000 test (LeCun et al. 1998).

    Reads `{train,t10k}-{images-idx3,labels-idx1}-ubyte`, plain or `.gz`, in the root or its `mnist/` folder; downloads
    them there where they are missing and the network allows.
    """

    groups = ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        part = "t10k" if split == "test" else "train"
        images = torch.from_numpy(self._read(f"{part}-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28))
        labels = torch.from_numpy(self._read(f"{part}-labels-idx1-ubyte", 8)).long()
        keep = {"train": slice(0, -HELD_OUT), "validation": slice(-HELD_OUT, None), "test": slice(None)}[split]
        return images[keep], labels[keep]

    def _read(self, name: str, header: int) -> np.ndarray:
        path = self._find(name) or self._download(name)
        try:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read ({error})", fix="delete it and fetch it again") from error
        if hashlib.md5(content).hexdigest() != MD5[name]:
            raise DataError(
                f"{path} is not the published {name}: its uncompressed md5 is not {MD5[name]}",
                fix="delete it and fetch it again",
            )
        return np.frombuffer(content, np.uint8, offset=header).copy()

    def _find(self, name: str) -> Path | None:
        folders = [self.root, self.root / "mnist"] if self.root else []
        candidates = [folder / file for folder in folders for file in (name, f"{name}.gz")]
        return next((path for path in candidates if path.is_file()), None)

    def _download(self, name: str) -> Path:
        import pooch

        folder = self.root / "mnist" if self.root else Path(pooch.os_cache("basis")) / "mnist"
        try:
            return Path(pooch.create(folder, URL, registry={f"{name}.gz": None}).fetch(f"{name}.gz"))
        except Exception as error:
            raise missing("MNIST", folder, f"{name}[.gz]") from error
