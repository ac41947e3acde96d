"""Data sets in the IDX files of MNIST, as several were published after it."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from basis.core.dataset import Dataset, missing
from basis.core.errors import DataError
from basis.io.limits import check_file

HELD_OUT = 5_000  # last images of the published training set
SIDE = 28
LARGEST = 16 + 60_000 * SIDE**2  # bytes of the largest file, unpacked: no more are read
AGAIN = "delete it and fetch it again"


class IDX(Dataset):
    """Images, 1×28×28, and labels from `{train,t10k}-{images-idx3,labels-idx1}-ubyte`, plain or `.gz`.

    They are looked for in the root, in the set's own folders there, and in `raw/` below these, as torchvision lays them
    out; a dot may stand before `idx`, and each file may lie in a folder of its own name. Where there are several, the
    first with the published hash is taken. What is missing is downloaded where the network allows.

    Attributes:
        title: the set's name.
        folders: names of its own folders; downloads go to the first.
        url: where the `.gz` are published.
        md5: hashes of the unpacked files, if they are known.
        gz_md5: hashes of the `.gz`, if they are the same everywhere.
    """

    title: ClassVar[str]
    folders: ClassVar[tuple[str, ...]]
    url: ClassVar[str]
    md5: ClassVar[dict[str, str]] = {}
    gz_md5: ClassVar[dict[str, str]] = {}
    groups = ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        part = "t10k" if split == "test" else "train"
        images = self._read(f"{part}-images-idx3-ubyte", 3)
        labels = self._read(f"{part}-labels-idx1-ubyte", 1)
        if len(images) != len(labels) or images.shape[1:] != (SIDE, SIDE) or (len(labels) and labels.max() > 9):
            raise DataError(
                f"{self.title}: expected images of {SIDE}×{SIDE} and as many labels from 0 to 9, got shapes "
                f"{images.shape} and {labels.shape}",
                fix="fetch the files again",
            )
        keep = {"train": slice(0, -HELD_OUT), "validation": slice(-HELD_OUT, None), "test": slice(None)}[split]
        return torch.from_numpy(images[keep][:, None]), torch.from_numpy(labels[keep]).long()

    def _read(self, name: str, dimensions: int) -> np.ndarray:
        """Return the array of the first file of that name that is the published one."""
        errors = []
        for path in self._find(name) or [self._download(name)]:
            try:
                return _array(path, self._content(path, name), dimensions)
            except DataError as error:
                errors.append(error)
        raise errors[0]

    def _content(self, path: Path, name: str) -> bytes:
        """Return what is in a file, unpacked, after comparing its hash with the published one."""
        packed = path.suffix == ".gz"
        content = _bytes(path)
        if packed:
            self._check_hash(path, content, self.gz_md5.get(name), name, "md5")
            try:
                content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(LARGEST + 1)
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"{path} cannot be read ({error})", fix=AGAIN) from error
        if len(content) > LARGEST:
            raise DataError(f"{path} unpacks to more than the {LARGEST:,} bytes of any file of {self.title}", fix=AGAIN)
        self._check_hash(path, content, self.md5.get(name), name, "uncompressed md5")
        if not packed and name not in self.md5 and not {part.lower() for part in path.absolute().parts} & self._names():
            raise DataError(
                f"{path} may be of another data set: there is no published hash of {self.title}'s files, unpacked",
                fix=f"put it into a folder named {self.folders[0]}, or give {name}.gz",
            )
        return content

    def _check_hash(self, path: Path, content: bytes, expected: str | None, name: str, kind: str) -> None:
        if expected and hashlib.md5(content).hexdigest() != expected:
            raise DataError(
                f"{path} is not the published {name} of {self.title}: its {kind} is not {expected}", fix=AGAIN
            )

    def _names(self) -> set[str]:
        return {folder.lower() for folder in self.folders}

    def _find(self, name: str) -> list[Path]:
        if not self.root:
            return []
        places = [self.root, *(self.root / folder for folder in self.folders)]
        dotted = name.replace("-idx", ".idx")
        files = [name, f"{name}.gz", dotted, f"{dotted}.gz", f"{name}/{name}", f"{dotted}/{dotted}"]
        paths = [place / below / file for place in places for below in ("", "raw") for file in files]
        return [path for path in paths if path.is_file()]

    def _download(self, name: str) -> Path:
        import pooch

        folder = (self.root or Path(pooch.os_cache("basis"))) / self.folders[0]
        known = f"md5:{self.gz_md5[name]}" if name in self.gz_md5 else None
        try:
            return Path(pooch.create(folder, self.url, registry={f"{name}.gz": known}).fetch(f"{name}.gz"))
        except Exception as error:
            raise missing(self.title, folder, f"{name}[.gz]") from error


def _bytes(path: Path) -> bytes:
    check_file(path)
    if (size := path.stat().st_size) > LARGEST:
        raise DataError(f"{path} has {size:,} bytes, expected at most {LARGEST:,}", fix=AGAIN)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})", fix="check its permissions") from error


def _array(path: Path, content: bytes, dimensions: int) -> np.ndarray:
    """Return the array of bytes that an IDX file holds."""
    header = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:header]) if len(content) >= header else ()
    if content[:4] != bytes([0, 0, 8, dimensions]) or int(np.prod(shape, dtype=object)) != len(content) - header:
        raise DataError(f"{path} is not an IDX file of bytes in {dimensions} dimensions, or is cut off", fix=AGAIN)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
