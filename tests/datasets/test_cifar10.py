"""CIFAR-10 is read from its published files, fetched where they are missing, and refused where they are not right."""

import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import basis
from basis.core.dataset import SPLITS, open_dataset
from basis.datasets import cifar10
from basis.datasets.cifar10 import CIFAR10, FOLDER, RECORD, TRAIN

NAMES = [*TRAIN, "test_batch.bin"]


@pytest.fixture(scope="module")
def real():
    root = os.environ.get("BASIS_DATA")
    if not root or not (Path(root) / FOLDER).is_dir():
        pytest.skip(f"needs CIFAR-10: set BASIS_DATA to the folder that holds {FOLDER}/")
    return {split: CIFAR10(root).images(split) for split in SPLITS}


def test_the_published_statistics(real):
    """Channel means of the 50,000 training images as published; 137 of our copy's images are re-encoded."""
    total = sum(real[split][0].double().sum((0, 2, 3)) for split in ("train", "validation"))
    mean = total / (50_000 * 1024 * 255)
    np.testing.assert_allclose(mean, [0.49139968, 0.48215841, 0.44653091], atol=2e-6)
    counts = [len(real[split][0]) for split in SPLITS]
    assert counts == [45_000, 5_000, 10_000]
    assert real["test"][1].bincount().tolist() == [1000] * 10
    assert real["train"][1][:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]


def test_images_stand_upright_in_their_colours(real):
    """The first ship on open sea of the test set (index 1): its sky is brighter than its hull, blue at least as red."""
    image = real["test"][0][1].float()
    assert image.shape == (3, 32, 32)
    assert image[:, :6].mean() > image[:, 18:24].mean()


def test_animals_and_machines(real):
    root = os.environ["BASIS_DATA"]
    images, labels = real["test"]
    for part, group in zip(("animals", "machines"), CIFAR10.groups, strict=True):
        some, of = open_dataset(f"cifar10:{part}", root).images("test")
        assert set(of.tolist()) == set(group)
        assert torch.equal(some, images[torch.isin(labels, torch.tensor(group))])
    large = open_dataset("cifar10:machines,size=64", root).images("test")[0]
    assert large.shape == (4000, 3, 64, 64)
    small = F.avg_pool2d(large[:50].float(), 2)
    assert (small - some[:50]).abs().mean() < 4  # the same pictures
    with pytest.raises(basis.UsageError, match="unknown part of CIFAR-10 'plants'"):
        open_dataset("cifar10:plants", root)


@pytest.fixture
def small(monkeypatch):
    """Six files of the format with eight records each, accepted in place of the published ones."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(cifar10, "IMAGES", 8)
    monkeypatch.setattr(cifar10, "HELD_OUT", 10)
    monkeypatch.delenv("BASIS_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    files = {name: rng.integers(0, 256, (8, RECORD), np.uint8) for name in NAMES}
    for records in files.values():
        records[:, 0] %= 10
    return files


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in files.items():
        (folder / name).write_bytes(records.tobytes())


def check(data, files):
    train = np.concatenate([files[name] for name in TRAIN])
    for split, records in {"train": train[:-10], "validation": train[-10:], "test": files["test_batch.bin"]}.items():
        images, labels = data.images(split)
        assert np.array_equal(images.flatten(1).numpy(), records[:, 1:])
        assert images.shape[1:] == (3, 32, 32)
        assert labels.tolist() == records[:, 0].tolist()


@pytest.mark.parametrize("folder", [".", FOLDER])
def test_binary_files(small, tmp_path, folder):
    write(tmp_path / folder, small)
    check(CIFAR10(tmp_path), small)


@pytest.mark.parametrize("damage", ["short", "label"])
def test_a_file_that_is_not_of_the_format(small, tmp_path, damage):
    write(tmp_path, small)
    path = tmp_path / "data_batch_3.bin"
    content = bytearray(path.read_bytes())
    if damage == "label":
        content[RECORD] = 10
    path.write_bytes(bytes(content[:-5] if damage == "short" else content))
    with pytest.raises(basis.DataError, match=r"data_batch_3\.bin is not a batch of CIFAR-10.* To fix: delete"):
        CIFAR10(tmp_path).images("train")
    CIFAR10(tmp_path).images("test")


@pytest.fixture
def served(small, tmp_path, monkeypatch):
    """The archive on a web server of this machine; yields the paths that were asked for."""
    buffer, asked = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, records in small.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size = records.size
            archive.addfile(entry, io.BytesIO(records.tobytes()))
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "cifar-10-binary.tar.gz").write_bytes(buffer.getvalue())

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=tmp_path / "served")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setattr(cifar10, "URL", f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz")
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(buffer.getvalue()).hexdigest())
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_download(small, served, tmp_path):
    check(CIFAR10(tmp_path / "data"), small)
    check(CIFAR10(tmp_path / "data"), small)
    assert len(served) == 1


def test_a_download_that_is_not_the_published_file_is_refused(served, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "MD5", "0" * 32)
    with pytest.raises(basis.DataError, match=r"CIFAR-10: .* not found .* To fix: pass --data-dir or set BASIS_DATA"):
        CIFAR10(tmp_path / "data").images("test")
    assert not list((tmp_path / "data").rglob("*.bin"))
