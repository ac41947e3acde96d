"""Folders of pictures: splits, classes and sizes as stated, converted once."""

import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.core.dataset import SPLITS, open_dataset
from basis.datasets import _pictures
from basis.datasets.folder import Folder, tenth
from basis.evaluate.mixtures import draw_mixtures

DATA = os.environ.get("BASIS_DATA")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BASIS_DATA", raising=False)
    return tmp_path / "cache" / "basis"


def picture(path, level=0, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 255 - level, 7)).save(path)


@pytest.fixture
def plain(tmp_path):
    """A hundred pictures in no order, each of a level that names it."""
    for i in range(100):
        picture(tmp_path / "plain" / f"{i:03d}.png", 2 * i)
    return tmp_path / "plain"


def test_a_plain_folder_is_split_by_the_pictures_paths(plain):
    data = Folder(plain, size=8)
    names = {split: [path.name for path in data.files(split)] for split in SPLITS}
    assert sorted(name for found in names.values() for name in found) == [f"{i:03d}.png" for i in range(100)]
    assert names["test"] == [f"{i:03d}.png" for i in range(100) if tenth(f"{i:03d}.png") == 0]
    assert names["validation"] == [f"{i:03d}.png" for i in range(100) if tenth(f"{i:03d}.png") == 1]
    assert 70 <= len(names["train"]) <= 90
    for split in SPLITS:
        images, labels = data.images(split)
        assert (images.dtype, images.shape) == (torch.uint8, (len(names[split]), 3, 8, 8))
        assert images[:, 0, 0, 0].tolist() == [2 * int(name[:3]) for name in names[split]]
        assert labels.tolist() == [0] * len(images)


def test_new_pictures_move_no_other(plain):
    before = set(Folder(plain).files("test"))
    for i in range(100, 150):
        picture(plain / f"{i:03d}.png")
    after = Folder(plain).files("test")
    assert before == {path for path in after if path.name < "100"}
    assert len(after) > len(before)


def test_the_tenths_are_even():
    counts = np.bincount([tenth(f"folder/{i}.jpg") for i in range(5000)], minlength=10)
    assert np.abs(counts - 500).max() < 5 * np.sqrt(5000 * 0.09)


@pytest.mark.parametrize("validation", ["validation", "val", "valid"])
def test_folders_of_splits_and_classes(tmp_path, validation):
    for split, kinds in {"train": ("dome", "apse"), validation: ("dome",), "test": ("apse", "tower/left")}.items():
        for kind in kinds:
            picture(tmp_path / split / kind / "x.png", 10 * len(kind))
    data = Folder(tmp_path, size=8)
    assert data.classes == ["apse", "dome", "tower"]
    assert data.groups == ((0,), (1, 2))
    found = {split: data.images(split) for split in SPLITS}
    assert {split: labels.tolist() for split, (_, labels) in found.items()} == {
        "train": [0, 1], "validation": [1], "test": [0, 2],
    }  # fmt: skip
    assert found["test"][0][:, 0, 0, 0].tolist() == [40, 100]


def test_a_tenth_of_the_training_folder_is_held_out(tmp_path):
    for i in range(60):
        picture(tmp_path / "train" / f"{i}.png")
    picture(tmp_path / "test" / "0.png")
    data = Folder(tmp_path)
    assert [path.parent.name for path in data.files("test")] == ["test"]
    assert [path.name for path in data.files("validation")] == sorted(
        f"{i}.png" for i in range(60) if tenth(f"{i}.png") == 1
    )
    assert len(data.files("train")) + len(data.files("validation")) == 60


def test_hidden_files_and_others_are_no_pictures(tmp_path):
    for name in ("train/.hidden.png", ".git/x.png", "train/notes.txt"):
        picture(tmp_path / "x.png")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / "x.png").rename(tmp_path / name)
    picture(tmp_path / "train" / "SHOUTING.JPG")
    assert [path.name for split in SPLITS for path in Folder(tmp_path).files(split)] == ["SHOUTING.JPG"]


def striped(path, size=(40, 24)):
    """Red left and right of a green central square."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[..., 0] = 255
    edge = (size[0] - size[1]) // 2
    image[:, edge : edge + size[1]] = (0, 255, 0)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)


def test_the_central_square_is_kept(tmp_path):
    striped(tmp_path / "train" / "a.png")
    images, _ = Folder(tmp_path, size=12).images("train")
    assert (images[0].float().mean((1, 2)) == torch.tensor([0.0, 255.0, 0.0])).all()


def test_short_cuts_out_the_middle(tmp_path):
    gradient = np.tile(np.arange(96, dtype=np.uint8), (96, 1))
    (tmp_path / "train").mkdir()
    Image.fromarray(gradient).save(tmp_path / "train" / "a.png")
    images, _ = Folder(tmp_path, size=64, short=96, channels=1).images("train")
    assert torch.equal(images[0, 0], torch.arange(16, 80, dtype=torch.uint8).expand(64, 64))


def test_crops_are_parts_at_places_that_the_path_decides(tmp_path):
    """Each pixel of this picture tells its row and its column."""
    row, column = np.mgrid[:96, :96].astype(np.uint8)
    for folder in ("here", "there"):
        (tmp_path / folder / "train" / "a").mkdir(parents=True)
        (tmp_path / folder / "train" / "b").mkdir()
        for name in ("a/a.png", "b/b.png"):
            Image.fromarray(np.stack([row, column, row], -1)).save(tmp_path / folder / "train" / name)
    found = {}
    for folder in ("here", "there"):
        data = Folder(tmp_path / folder, size=32, short=96, crops=30)
        parts = [data.images(split) for split in ("train", "validation") if data.files(split)]
        images, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        found[folder] = images
        assert labels.bincount().tolist() == [30, 30]
        top, left = images[:, 0, 0, 0].int(), images[:, 1, 0, 0].int()
        for i, image in enumerate(images):
            assert np.array_equal(image[0], row[top[i] : top[i] + 32, :32])
            assert np.array_equal(image[1], column[:32, left[i] : left[i] + 32])
        assert len({(a.item(), b.item()) for a, b in zip(top, left, strict=True)}) > 50
        assert top.min() < 10 < 54 < top.max() <= 64
    assert torch.equal(found["here"], found["there"])


def test_crops_refused():
    with pytest.raises(basis.UsageError, match="'crops' of Folder takes a whole number"):
        Folder(".", crops=0)


def test_pictures_are_converted_once(plain, cache, monkeypatch):
    first = Folder(plain, size=4).images("train")[0]
    original, calls = _pictures.square, []
    monkeypatch.setattr("basis.datasets.folder.square", lambda *a: calls.append(a) or original(*a))
    assert torch.equal(Folder(plain, size=4).images("train")[0], first)
    assert calls == []
    assert len(list(cache.rglob("*.npy"))) == 1
    changed = Folder(plain, size=4).files("train")[5]
    picture(changed, 201)
    os.utime(changed, ns=(1, 1))
    assert Folder(plain, size=4).images("train")[0][5, 0, 0, 0] == 201
    assert len(calls) == len(first)
    Folder(plain, size=5).images("train")
    assert len(list(cache.rglob("*.npy"))) == 3


def test_a_conversion_that_was_stopped_goes_on(plain, cache, monkeypatch):
    monkeypatch.setattr(_pictures, "PART", 10 * 3 * 8 * 8)
    files = Folder(plain, size=8).files("train")
    original, calls = _pictures.square, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 35:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr("basis.datasets.folder.square", stopped)
    with pytest.raises(KeyboardInterrupt):
        Folder(plain, size=8).images("train")
    assert sorted(path.name for path in cache.rglob("*.*")) == ["00000.npy", "00001.npy", "00002.npy"]
    images = Folder(plain, size=8).images("train")[0]
    assert len(calls) == 35 + len(files) - 30
    assert images[:, 0, 0, 0].tolist() == [2 * int(path.stem) for path in files]


def test_a_cache_that_cannot_be_written(plain, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(basis.DataError, match=r"cannot write converted pictures.*To fix: .*XDG_CACHE_HOME"):
        Folder(plain).images("test")


def test_damaged_pictures_are_named(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    with pytest.raises(basis.DataError, match=r"broken\.png is damaged or cannot be read.*To fix: fetch or export it"):
        Folder(tmp_path).images("train")


def test_an_empty_split(tmp_path):
    picture(tmp_path / "train" / "x.png")
    with pytest.raises(basis.DataError, match=r"has no pictures in its test split\. To fix: add more .*test"):
        Folder(tmp_path).images("test")


def test_where_the_folder_is(plain, tmp_path, monkeypatch):
    for data in (Folder(tmp_path, "plain"), Folder(None, str(plain)), open_dataset("folder:plain", tmp_path)):
        assert data.folder == plain
    monkeypatch.chdir(tmp_path)
    assert Folder("/elsewhere", "plain").folder == Path("plain")
    for root, path in ((None, ""), (tmp_path, "missing")):
        with pytest.raises(basis.DataError, match=r"no folder of pictures at .*To fix: name one, for instance folder:"):
            Folder(root, path).images("train")


@pytest.mark.parametrize(
    "settings", [{"size": 0}, {"size": 2.5}, {"size": True}, {"size": 64, "short": 32}, {"channels": 2}, {"size": 9999}]
)
def test_sizes_refused(settings):
    with pytest.raises(basis.UsageError, match=r"expected whole 1 <= size <= short|takes a whole number"):
        Folder(".", **settings)


# Settings in the name


def test_a_name_with_settings():
    data = open_dataset("folder:photos/garden,size=32,channels=1", "/data")
    assert (data.path, data.size, data.short, data.channels) == ("photos/garden", 32, 32, 1)
    assert (data.root, data.spec) == (Path("/data"), "folder:photos/garden,size=32,channels=1")
    assert open_dataset("folder:2020").path == "2020"
    assert open_dataset("folder:size=16").size == 16
    assert open_dataset("cifar10").spec == "cifar10"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("foldr:x", "unknown data set 'foldr'. To fix: did you mean folder"),
        ("folder:x,sise=3", "unknown setting of data set 'folder': 'sise'. To fix: did you mean size"),
        ("folder:x,3", "unknown setting of data set 'folder': '3'"),
        ("mnist:x", "unknown setting of data set 'mnist': 'x'. To fix: choose one of none"),
    ],
)
def test_names_refused(spec, message):
    with pytest.raises(basis.UsageError, match=re.escape(message)):
        open_dataset(spec)


def test_mixtures_of_a_folder(tmp_path):
    for kind in ("a", "b"):
        for i in range(3):
            picture(tmp_path / "test" / kind / f"{i}.png", 60 * i)
    data = open_dataset("folder:size=8", tmp_path)
    drawn = draw_mixtures(data, task="split", n=5)
    assert drawn.info["data"] == "folder:size=8"
    assert drawn.info["labels"] == [[0, 1]] * 5


def test_two_at_once_agree(plain, cache):
    found = []
    threads = [threading.Thread(target=lambda: found.append(Folder(plain, size=6).images("train")[0])) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(*found)
    assert len(list(cache.rglob("*.*"))) == 1


@pytest.mark.slow
def test_the_church_like_set():
    """Counts and channel means as its README has them, where the set is at hand."""
    if not DATA or not (Path(DATA) / "church-like").is_dir():
        pytest.skip("needs the church-like set: set BASIS_DATA to the folder that holds church-like/")
    data = open_dataset("folder:church-like,size=64", DATA)
    found = {split: data.images(split) for split in SPLITS}
    assert data.classes == ["apse", "bell_tower", "dome_outer", "flying_buttress"]
    assert found["test"][1].bincount().tolist() == [50, 170, 142, 70]
    assert len(found["train"][0]) + len(found["validation"][0]) == 3141
    pixels = torch.cat([images for images, _ in found.values()]).double() / 255
    np.testing.assert_allclose(pixels.mean((0, 2, 3)), [0.4711, 0.4899, 0.5057], atol=1e-4)
