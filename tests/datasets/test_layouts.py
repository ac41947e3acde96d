"""Data sets in the layouts that people have: as torchvision, Kaggle and the authors lay them out."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

import basis
from basis.core.dataset import DATASETS, open_dataset
from basis.datasets import _idx

NAMES = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw", "kmnist": "KMNIST/raw"}
PARTS = {"train-images-idx3-ubyte": (12, 28, 28), "train-labels-idx1-ubyte": (12,),
         "t10k-images-idx3-ubyte": (5, 28, 28), "t10k-labels-idx1-ubyte": (5,)}  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Nothing outside of the test's own folders, and no network."""
    monkeypatch.delenv("BASIS_DATA", raising=False)
    monkeypatch.setattr(_idx, "HELD_OUT", 4)
    monkeypatch.setattr(_idx.IDX, "url", "http://127.0.0.1:9/", raising=False)
    for name in NAMES:
        monkeypatch.setattr(DATASETS.get(name), "url", "http://127.0.0.1:9/")


def arrays(name):
    """Return the arrays of a small set of its own."""
    rng = np.random.default_rng(sorted(NAMES).index(name))
    return {part: rng.integers(0, 10 if len(shape) == 1 else 256, shape, np.uint8) for part, shape in PARTS.items()}


def files(name, monkeypatch):
    """Return files of a set by name, and take their hashes for the published ones."""
    content = {
        part: struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
        for part, array in arrays(name).items()
    }
    packed = {part: gzip.compress(plain, mtime=0) for part, plain in content.items()}
    kind = "md5" if name == "mnist" else "gz_md5"
    hashed = content if name == "mnist" else packed
    monkeypatch.setattr(DATASETS.get(name), kind, {k: hashlib.md5(v).hexdigest() for k, v in hashed.items()})
    return content, packed


def write(folder, contents, rename=str):
    for part, content in contents.items():
        path = folder / rename(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def check(name, root):
    expected = arrays(name)
    data = open_dataset(name, root)
    images, labels = data.images("test")
    assert np.array_equal(images[:, 0], expected["t10k-images-idx3-ubyte"])
    assert labels.tolist() == expected["t10k-labels-idx1-ubyte"].tolist()
    assert np.array_equal(data.images("train")[0][:, 0], expected["train-images-idx3-ubyte"][:8])
    assert np.array_equal(data.images("validation")[0][:, 0], expected["train-images-idx3-ubyte"][8:])


def dotted(part):
    return part.replace("-idx", ".idx")


RENAMES = {
    "published": str,
    "with a dot": dotted,
    "each in a folder": lambda part: f"{part}/{part}",
    "with a dot, each in a folder": lambda part: f"{dotted(part)}/{dotted(part)}",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rename", RENAMES)
def test_plain_files(name, rename, tmp_path, monkeypatch):
    plain, _ = files(name, monkeypatch)
    write(tmp_path / NAMES[name], plain, RENAMES[rename])
    check(name, tmp_path)
    check(name, tmp_path / NAMES[name].partition("/")[0])
    check(name, tmp_path / NAMES[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", [".", "raw", None])
@pytest.mark.parametrize("rename", ["published", "with a dot"])
def test_packed_files(name, folder, rename, tmp_path, monkeypatch):
    _, packed = files(name, monkeypatch)
    write(tmp_path / (folder or NAMES[name]), packed, lambda part: f"{RENAMES[rename](part)}.gz")
    check(name, tmp_path)


def test_torchvision_leaves_both_and_all_sets_in_one_root(tmp_path, monkeypatch):
    for name, folder in NAMES.items():
        plain, packed = files(name, monkeypatch)
        write(tmp_path / folder, plain)
        write(tmp_path / folder, packed, lambda part: f"{part}.gz")
    for name in NAMES:
        check(name, tmp_path)


def test_files_of_another_set_in_the_root_are_passed_over(tmp_path, monkeypatch):
    write(tmp_path, files("mnist", monkeypatch)[0])
    write(tmp_path, files("kmnist", monkeypatch)[1], lambda part: f"{part}.gz")
    write(tmp_path / "fashion", files("fashion-mnist", monkeypatch)[0])
    for name in NAMES:
        check(name, tmp_path)


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_plain_files_that_do_not_say_which_set_they_are_of(name, tmp_path, monkeypatch):
    write(tmp_path, files(name, monkeypatch)[0])
    with pytest.raises(basis.DataError, match=rf"may be of another data set.*To fix: put it into .* {name}"):
        open_dataset(name, tmp_path).images("test")


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_packed_files_of_another_set_are_refused(name, tmp_path, monkeypatch):
    _, packed = files("mnist", monkeypatch)
    write(tmp_path, packed, lambda part: f"{part}.gz")
    with pytest.raises(basis.DataError, match=r"is not the published t10k-images-idx3-ubyte of .*: its md5 is not"):
        open_dataset(name, tmp_path).images("test")


DAMAGE = {
    "cut off": (lambda content: content[:-1], "is not an IDX file of bytes in 3 dimensions, or is cut off"),
    "a header alone": (lambda content: content[:9], "is not an IDX file"),
    "of labels": (lambda content: content[:3] + b"\1" + content[4:], "is not an IDX file of bytes in 3 dimensions"),
    "huge": (lambda content: content[:4] + b"\xff" * 12 + content[16:], "is not an IDX file"),
    "empty": (lambda content: b"", "is not an IDX file"),
    "of another size": (
        lambda content: content[:8] + struct.pack(">2I", 14, 56) + content[16:],
        r"expected images of 28×28 and as many labels from 0 to 9, got shapes \(5, 14, 56\) and \(5,\)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_plain_files(damage, tmp_path, monkeypatch):
    plain, _ = files("kmnist", monkeypatch)
    change, message = DAMAGE[damage]
    write(tmp_path / "kmnist", plain | {"t10k-images-idx3-ubyte": change(plain["t10k-images-idx3-ubyte"])})
    with pytest.raises(basis.DataError, match=message) as caught:
        open_dataset("kmnist", tmp_path).images("test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_missing_files_say_where_they_are_looked_for(name, tmp_path):
    with pytest.raises(basis.DataError, match=rf"t10k-images-idx3-ubyte\[\.gz\] not found in .*{name}.*--data-dir"):
        open_dataset(name, tmp_path).images("test")


def test_names(run_basis):
    assert {"fashion-mnist", "kmnist", "mnist"} <= set(DATASETS.names())
    assert type(open_dataset("fashion_mnist")) is type(open_dataset("fashion-mnist"))
    assert open_dataset("fashion-mnist").spec == "fashion-mnist"
    assert DATASETS.get("fashion-mnist")("x").spec == "fashion-mnist"
    with pytest.raises(basis.UsageError, match="did you mean fashion-mnist"):
        open_dataset("fashion-mnis")
    code, out, _ = run_basis("list")
    assert code == 0
    assert "  fashion-mnist        Fashion-MNIST, articles of clothing" in out
    assert "  kmnist               Kuzushiji-MNIST, cursive Japanese" in out
