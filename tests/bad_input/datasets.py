"""Bad files of data sets."""

from __future__ import annotations

import gzip
import pickle
import struct
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from bad_input import cases, files, goods
from bad_input.case import Case
from bad_input.files import Exploit


def idx(folder: Path, name: str, content: bytes) -> None:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / name).write_bytes(content)


IDX = {
    "empty": b"",
    "text": b"no images",
    "magic": struct.pack(">IIII", 7, 1, 28, 28) + bytes(784),
    "short": struct.pack(">IIII", 2051, 60_000, 28, 28) + bytes(99),
    "huge": struct.pack(">IIII", 2051, 2**31, 2**31, 2**31),
    "zeros": bytes(10_000),
}


CIFAR = {
    "empty": b"",
    "text": b"no batch",
    "short": bytes(3073 * 9),
    "exploit": pickle.dumps(Exploit()),
    "list": pickle.dumps([]),
    "keys": pickle.dumps({b"data": 3, b"labels": []}),
    "strings": pickle.dumps({"data": "x", "labels": "y"}),
    "array": pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}),
    "memory": b"\x80\x04B\xff\xff\xff\xff\x7f\x00\x00\x00.",
}


def bomb(folder: Path) -> None:
    """Write a gigabyte of zeros in a megabyte, behind MNIST's name."""
    (folder / "data").mkdir()
    part = gzip.compress(bytes(2**26), 1)
    with (folder / "data" / "t10k-images-idx3-ubyte.gz").open("wb") as file:
        for _ in range(40):
            file.write(part)


def cifar(content: bytes, binary: bool, folder: Path) -> None:
    place = folder / "data" / ("cifar-10-batches-bin" if binary else "cifar-10-batches-py")
    place.mkdir(parents=True)
    for name in ("test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        (place / f"{name}{'.bin' if binary else ''}").write_bytes(content)


def lsun(content: bytes | float, folder: Path) -> None:
    """Write a database of three pictures, cut to a share, or other bytes in its place."""
    import lmdb

    place = folder / "data" / "church_outdoor_val_lmdb"
    place.mkdir(parents=True)
    if isinstance(content, bytes):
        (place / "data.mdb").write_bytes(content)
        return
    with lmdb.open(str(place), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for i in range(3):
            transaction.put(
                b"%d" % i, (cases.BASE[0] / "colour.png").read_bytes() * (1 if content else 0) or b"no picture"
            )
    (place / "lock.mdb").unlink()
    path = place / "data.mdb"
    if content:
        path.write_bytes(path.read_bytes()[: int(content * path.stat().st_size)])


def pictures(kind: str, folder: Path) -> None:
    place = folder / "photos" / "a"
    place.mkdir(parents=True)
    if kind == "text":
        (place / "x.png").write_text("no picture")
    elif kind == "cut":
        Image.fromarray(goods.PIXELS).save(place / "x.png")
        (place / "x.png").write_bytes((place / "x.png").read_bytes()[:-30])
    elif kind == "loop":
        (place / "again").symlink_to(place)
    elif kind == "dangling":
        (place / "x.png").symlink_to("nowhere")
    elif kind == "large":
        files.large(60_000, place / "x.png")


def static():
    def mixed(data: str, *more: str) -> list[str]:
        return ["make-mixtures", data, "--n", "2", "--out", "mixtures", "--data-dir", "data", *more]

    for kind, content in IDX.items():
        for name in ("t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz"):
            yield Case(f"{name} {kind}", mixed("mnist"), partial(idx, name=name, content=content))
    yield Case("mnist gzip of zeros", mixed("mnist"), bomb)
    yield Case(
        "mnist gzip cut",
        mixed("mnist"),
        partial(idx, name="t10k-images-idx3-ubyte.gz", content=gzip.compress(bytes(99))[:-9]),
    )
    for kind, content in CIFAR.items():
        for binary in (True, False):
            yield Case(f"cifar10 {kind} {binary}", mixed("cifar10"), partial(cifar, content, binary))
    for share in (0.0, 0.05, 0.2, 0.4, 0.6, 0.8):
        yield Case(f"lsun cut {share}", mixed("lsun:church_outdoor,size=8"), partial(lsun, share))
    for kind, content in {"empty": b"", "text": b"no database", "zeros": bytes(9999)}.items():
        yield Case(f"lsun {kind}", mixed("lsun:church_outdoor,size=8"), partial(lsun, content))
    for kind in ("empty", "text", "cut", "loop", "dangling", "large"):
        yield Case(
            f"folder {kind}",
            ["make-mixtures", "folder:photos,size=8", "--n", "2", "--out", "mixtures"],
            partial(pictures, kind),
        )
    for data in ("mnist", "cifar10", "lsun"):
        yield Case(
            f"{data} in no folder", ["make-mixtures", data, "--data-dir", "{base}/good.npy", "--out", "mixtures"]
        )
