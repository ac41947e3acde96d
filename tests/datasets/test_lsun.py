"""LSUN is read from LMDB folders of the published layout."""

import io
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.core.dataset import open_dataset
from basis.datasets import lsun
from basis.datasets.lsun import LSUN

lmdb = pytest.importorskip("lmdb", reason="LSUN needs lmdb")


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BASIS_DATA", raising=False)
    monkeypatch.setattr(lsun, "HELD_OUT", 3)


def encoded(level, kind="WEBP", size=(341, 256)):
    """Return a picture as the published databases hold them: 256 pixels at the short side, in a lossy format."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (level, 255 - level, 40)).save(buffer, kind, quality=95)
    return buffer.getvalue()


def write(folder, values):
    """Write a database as the published ones are: a folder with data.mdb and lock.mdb, values by hexadecimal key."""
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
    assert {path.name for path in folder.iterdir()} == {"data.mdb", "lock.mdb"}


def key(i):
    """Return a key of forty hexadecimal digits, sorted as the number."""
    return f"{i:08x}" + "0123456789abcdef" * 2


@pytest.fixture
def church(tmp_path):
    """Twelve training and four validation pictures whose red level names them, written in no order."""
    order = np.random.default_rng(0).permutation(12)
    write(
        tmp_path / "church_outdoor_train_lmdb",
        {key(i): encoded(20 * int(i), "JPEG" if i % 2 else "WEBP") for i in order},
    )
    write(tmp_path / "church_outdoor_val_lmdb", {key(i): encoded(50 * i) for i in range(4)})
    return tmp_path


def check(images, levels):
    assert (images.dtype, images.shape) == (torch.uint8, (len(levels), 3, 64, 64))
    colours = torch.tensor([[level, 255 - level, 40] for level in levels])[:, :, None, None]
    assert (images.int() - colours).abs().max() <= 4  # lossy formats


def test_the_published_layout(church):
    data = LSUN(church)
    for split, levels in {
        "train": range(0, 180, 20), "validation": range(180, 240, 20), "test": range(0, 200, 50),
    }.items():  # fmt: skip
        images, labels = data.images(split)
        check(images, list(levels))
        assert labels.tolist() == [0] * len(levels)


def test_in_a_folder_of_its_own(church):
    (church / "lsun").mkdir()
    (church / "church_outdoor_val_lmdb").rename(church / "lsun" / "church_outdoor_val_lmdb")
    check(LSUN(church).images("test")[0], [0, 50, 100, 150])


def test_reading_writes_nothing_beside_the_data(church):
    before = {path: path.stat().st_mtime_ns for path in church.rglob("*_lmdb/*")}
    LSUN(church).images("train")
    assert before == {path: path.stat().st_mtime_ns for path in church.rglob("*_lmdb/*")}


def test_the_central_square_is_resized(tmp_path):
    """The formula of Glow's pipeline: crop min(h, w) in the middle, then resize."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (100, 161, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True)
    write(tmp_path / "tower_val_lmdb", {key(0): buffer.getvalue()})
    image = LSUN(tmp_path, "tower").images("test")[0][0]
    square = Image.fromarray(pixels[:, 30:130]).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(image.permute(1, 2, 0), np.asarray(square))


def test_several_categories_and_a_part_of_each(church):
    write(church / "bedroom_train_lmdb", {key(i): encoded(200) for i in range(8)})
    data = open_dataset("lsun:church_outdoor+bedroom,most=4", church)
    images, labels = data.images("train")
    check(images, [0, 20, 40, 60, 200, 200, 200, 200])
    assert labels.tolist() == [0] * 4 + [1] * 4
    assert data.groups == ((0,), (1,))


def test_pictures_are_converted_once(church, monkeypatch):
    first = LSUN(church).images("train")[0]
    monkeypatch.setattr(lsun, "square", None)
    assert torch.equal(LSUN(church).images("train")[0], first)


def test_a_damaged_value_is_named(tmp_path):
    write(tmp_path / "church_outdoor_val_lmdb", {key(0): encoded(0), key(1): encoded(9)[:60]})
    with pytest.raises(basis.DataError, match=rf"value of key {key(1)} is damaged or cannot be read"):
        LSUN(tmp_path).images("test")


def test_a_damaged_database(tmp_path):
    (tmp_path / "church_outdoor_val_lmdb").mkdir()
    (tmp_path / "church_outdoor_val_lmdb" / "data.mdb").write_bytes(b"\0" * 8192)
    with pytest.raises(basis.DataError, match=r"is not an LMDB database that can be read.*To fix: fetch it anew"):
        LSUN(tmp_path).images("test")


def test_too_few_images(tmp_path):
    write(tmp_path / "church_outdoor_train_lmdb", {key(i): encoded(0) for i in range(3)})
    with pytest.raises(basis.DataError, match="has no images for the train split"):
        LSUN(tmp_path).images("train")


@pytest.mark.parametrize("root", [None, "nowhere"])
def test_missing_files_say_where_to_get_them(root):
    with pytest.raises(basis.DataError) as caught:
        LSUN(root, "bedroom").images("train")
    for part in ("bedroom_train_lmdb/data.mdb not found", "scenes/bedroom_train_lmdb.zip", "--data-dir", "BASIS_DATA"):
        assert part in str(caught.value)


def test_without_lmdb(church, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(basis.UsageError, match=r"LSUN needs lmdb\. To fix: pip install 'basis-separation\[lsun\]'"):
        LSUN(church).images("train")


def test_most_refused():
    with pytest.raises(basis.UsageError, match="'most' of LSUN takes a whole number"):
        LSUN(most=0)


def test_mixtures_on_the_command_line(church, tmp_path, monkeypatch):
    from basis.cli import main

    write(church / "bedroom_val_lmdb", {key(i): encoded(200) for i in range(4)})
    spec = "lsun:church_outdoor+bedroom,size=8"
    command = ["make-mixtures", spec, "--task", "split", "--n", "2", "--data-dir", church, "--out", tmp_path / "mix"]
    monkeypatch.setattr(sys, "argv", ["basis", *map(str, command)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    info = json.loads((tmp_path / "mix" / "mixtures.json").read_text())
    assert (info["data"], info["labels"]) == (spec, [[0, 1], [0, 1]])
