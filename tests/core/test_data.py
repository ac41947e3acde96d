"""Data sets are the published ones, and mixtures are drawn from them as promised."""

import functools
import gzip
import hashlib
import http.server
import json
import os
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import basis
from basis.core.dataset import DATASETS, SPLITS, Dataset, Together, open_dataset
from basis.datasets import _idx
from basis.datasets.cifar10 import CIFAR10
from basis.datasets.lsun import LSUN
from basis.datasets.mnist import MNIST
from basis.evaluate.mixtures import INFO, draw_mixtures, first, load_mixtures, save_mixtures

# MNIST, the real files


@pytest.fixture(scope="module")
def real():
    """The three splits of MNIST, where its files are at hand."""
    root = os.environ.get("BASIS_DATA")
    name = "train-images-idx3-ubyte"
    if not root or not any(
        (Path(root) / f"{folder}{name}{end}").is_file() for folder in ("", "mnist/") for end in ("", ".gz")
    ):
        pytest.skip("needs the MNIST files: set BASIS_DATA to the folder that holds them or their folder mnist/")
    return {split: MNIST(root).images(split) for split in SPLITS}


def test_mnist_has_the_published_statistics(real):
    pixels = torch.cat([real["train"][0], real["validation"][0]])
    assert pixels.shape == (60_000, 1, 28, 28)
    assert pixels.double().mean().item() / 255 == pytest.approx(0.13066, abs=5e-6)
    assert pixels.double().std().item() / 255 == pytest.approx(0.30811, abs=5e-6)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_mnist_has_the_published_labels(real):
    labels = torch.cat([real["train"][1], real["validation"][1]])
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert real["test"][1][:5].tolist() == [7, 2, 1, 0, 4]
    assert real["test"][1].bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_mnist_splits(real):
    assert [len(real[split][0]) for split in SPLITS] == [55_000, 5_000, 10_000]
    prints = {split: {hashlib.md5(x.numpy().tobytes()).digest() for x in images} for split, (images, _) in real.items()}
    assert [len(prints[split]) for split in SPLITS] == [55_000, 5_000, 10_000]  # no image of MNIST is there twice
    assert not prints["train"] & prints["validation"]
    assert not prints["train"] & prints["test"]
    assert not prints["validation"] & prints["test"]


# Two data sets as one


def test_two_data_sets_as_one(monkeypatch):
    def loading(value, labels):
        images = torch.full((len(labels), 3, 4, 4), value, dtype=torch.uint8)
        return lambda self, split: (images, torch.tensor(labels))

    monkeypatch.setattr(LSUN, "load", loading(10, [0, 0, 0]))
    monkeypatch.setattr(CIFAR10, "load", loading(200, [0, 9, 3, 3]))
    data = open_dataset("lsun:church_outdoor & cifar10:size=64")
    images, labels = data.images("test")
    assert labels.tolist() == [0, 0, 0, 1, 10, 4, 4]
    assert images[:, 0, 0, 0].tolist() == 3 * [10] + 4 * [200]
    assert data.groups[0] == (0,)
    assert sorted(data.groups[1]) == [*range(1, 11)]
    drawn = draw_mixtures(data, "test", "split", n=5)
    assert drawn.info["data"] == "lsun:church_outdoor & cifar10:size=64"
    assert torch.equal(drawn.sources[:, :, 0, 0, 0] * 255, torch.tensor([[10.0, 200.0]]).expand(5, 2))
    monkeypatch.setattr(CIFAR10, "load", lambda self, split: (torch.zeros(1, 3, 8, 8), torch.zeros(1)))
    with pytest.raises(
        basis.UsageError, match=r"'lsun:church_outdoor' are \(3, 4, 4\), those of 'cifar10.* \(3, 8, 8\)"
    ):
        data.images("test")


# MNIST, small files of the same format


def idx(array):
    """Return an array as an IDX file (http://yann.lecun.com/exdb/mnist)."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


RNG = np.random.default_rng(0)
ARRAYS = {
    "train-images-idx3-ubyte": RNG.integers(0, 256, (12, 28, 28), np.uint8),
    "train-labels-idx1-ubyte": RNG.integers(0, 10, 12, np.uint8),
    "t10k-images-idx3-ubyte": RNG.integers(0, 256, (5, 28, 28), np.uint8),
    "t10k-labels-idx1-ubyte": RNG.integers(0, 10, 5, np.uint8),
}


@pytest.fixture
def small(monkeypatch):
    """Four files of MNIST's format, accepted in their place."""
    files = {name: idx(array) for name, array in ARRAYS.items()}
    monkeypatch.setattr(MNIST, "md5", {name: hashlib.md5(content).hexdigest() for name, content in files.items()})
    monkeypatch.setattr(_idx, "HELD_OUT", 4)
    monkeypatch.delenv("BASIS_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return files


def write(folder, files, compress):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (f"{name}.gz" if compress else name)).write_bytes(gzip.compress(content) if compress else content)


def check(data):
    """Compare all three splits with the arrays."""
    parts = {"train": ("train", slice(0, 8)), "validation": ("train", slice(8, 12)), "test": ("t10k", slice(None))}
    for split, (part, keep) in parts.items():
        images, labels = data.images(split)
        assert np.array_equal(images[:, 0].numpy(), ARRAYS[f"{part}-images-idx3-ubyte"][keep])
        assert labels.tolist() == ARRAYS[f"{part}-labels-idx1-ubyte"][keep].tolist()
        assert images.shape[1:] == (1, 28, 28)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("folder", [".", "mnist"])
def test_idx_files(small, tmp_path, monkeypatch, compress, folder):
    write(tmp_path / folder, small, compress)
    check(MNIST(tmp_path))
    monkeypatch.setenv("BASIS_DATA", str(tmp_path))
    check(MNIST())


@pytest.mark.parametrize("damage", ["other", "truncated", "flipped", "no gzip"])
def test_a_corrupt_file_is_named(small, tmp_path, damage):
    write(tmp_path, small, compress=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    content = path.read_bytes()
    broken = bytearray(content)
    broken[500] ^= 255
    replacement = {
        "other": gzip.compress(small["train-images-idx3-ubyte"]),
        "truncated": content[:-50],
        "flipped": bytes(broken),
        "no gzip": b"<html>",
    }
    path.write_bytes(replacement[damage])
    with pytest.raises(basis.DataError, match=r"t10k-images-idx3-ubyte\.gz .*To fix: delete it and fetch it again"):
        MNIST(tmp_path).images("test")
    assert len(MNIST(tmp_path).images("train")[0]) == 8


@pytest.fixture
def server(tmp_path):
    """A web server on this machine; yields its folder, its address and the paths that were asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_download(small, server, tmp_path, monkeypatch):
    folder, url, asked = server
    write(folder, small, compress=True)
    monkeypatch.setattr(MNIST, "url", url)
    check(MNIST(tmp_path / "data"))
    check(MNIST(tmp_path / "data"))
    assert sorted(asked) == sorted(f"/{name}.gz" for name in small)  # once each
    assert {path.parent.name for path in (tmp_path / "data").rglob("*ubyte*")} == {"mnist"}


def test_download_without_a_folder_goes_to_the_cache(small, server, tmp_path, monkeypatch):
    folder, url, asked = server
    write(folder, small, compress=True)
    monkeypatch.setattr(MNIST, "url", url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    check(MNIST())
    check(MNIST())
    assert len(asked) == 4
    assert not list(folder.parent.glob("*ubyte*"))


def test_a_download_that_is_not_the_published_file_is_refused(small, server, tmp_path, monkeypatch):
    folder, url, _ = server
    changed = small | {"t10k-images-idx3-ubyte": idx(255 - ARRAYS["t10k-images-idx3-ubyte"])}
    write(folder, changed, compress=True)
    monkeypatch.setattr(MNIST, "url", url)
    with pytest.raises(basis.DataError, match=r"t10k-images-idx3-ubyte.gz is not the published .* To fix: delete it"):
        MNIST(tmp_path / "data").images("test")


def test_a_file_that_the_server_lacks(small, server, tmp_path, monkeypatch):
    monkeypatch.setattr(MNIST, "url", server[1])
    with pytest.raises(basis.DataError, match=r"train-images-idx3-ubyte\[\.gz\] not found"):
        MNIST(tmp_path / "data").images("train")
    assert not list((tmp_path / "data").rglob("*ubyte*"))


def test_offline(small, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(MNIST, "url", f"http://127.0.0.1:{port}/")
    with pytest.raises(basis.DataError) as caught:
        MNIST(tmp_path / "data").images("test")
    message = str(caught.value)
    assert message.startswith(f"MNIST: t10k-images-idx3-ubyte[.gz] not found in {tmp_path / 'data' / 'mnist'}")
    for remedy in ("--data-dir", "BASIS_DATA", "connect to the internet"):
        assert remedy in message
    assert "\n" not in message


# Every data set that is at hand


def test_splits_by_name():
    with pytest.raises(basis.UsageError, match=r"unknown split 'val'\. To fix: choose one of train, validation, test"):
        MNIST("nowhere").images("val")


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")
    return DATASETS.get("digits")()


def test_digits_are_scikit_learns(digits):
    from sklearn.datasets import load_digits

    published = load_digits()
    parts = [digits.images(split) for split in SPLITS]
    assert [len(images) for images, _ in parts] == [1297, 200, 300]
    images, labels = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    assert (images.dtype, images.min(), images.max()) == (torch.uint8, 0, 255)
    np.testing.assert_allclose(images[:, 0] / 255, published.images / 16, atol=0.5 / 255)
    assert labels.tolist() == published.target.tolist()  # in order, hence the splits are disjoint


# Mixtures


class Few(Dataset):
    """Seven images, each of one level that names it; label i for image i."""

    groups = ((0, 1, 2), (3, 4, 5, 6))

    def load(self, split):
        levels = torch.arange(7, dtype=torch.uint8) * 30 + SPLITS.index(split)
        return levels[:, None, None, None].expand(7, 1, 2, 2).clone(), torch.arange(7)


def same(a, b):
    return torch.equal(a.mixture, b.mixture) and torch.equal(a.sources, b.sources) and a.info == b.info


def test_mixtures_are_drawn_the_same_again():
    assert same(draw_mixtures(Few(), n=20, seed=3), draw_mixtures(Few(), n=20, seed=3))
    assert not same(draw_mixtures(Few(), n=20, seed=3), draw_mixtures(Few(), n=20, seed=4))


@pytest.mark.parametrize("task", ["agnostic", "split"])
def test_a_mixture_does_not_depend_on_how_many_there_are(task):
    many, few = draw_mixtures(Few(), task=task, n=20), draw_mixtures(Few(), task=task, n=7)
    assert torch.equal(many.sources[:7], few.sources)
    assert many.info["index"][:7] == few.info["index"]


@pytest.mark.parametrize(("task", "sources"), [("agnostic", 2), ("agnostic", 7), ("split", 3), ("split", 6)])
def test_no_image_twice_in_a_mixture(task, sources):
    drawn = draw_mixtures(Few(), task=task, sources=sources, n=60)
    assert all(len(set(chosen)) == sources for chosen in drawn.info["index"])


def test_what_is_recorded_is_what_was_mixed():
    weights = [0.5, 2.0, -1.0]
    drawn = draw_mixtures(Few(), "validation", sources=3, n=10, weights=weights)
    levels = torch.tensor(drawn.info["index"]) * 30 + 1
    assert torch.equal(drawn.sources[:, :, 0, 0, 0], levels / 255)
    torch.testing.assert_close(drawn.mixture[:, 0, 1, 1], (levels / 255) @ torch.tensor(weights))
    assert drawn.weights == tuple(weights)
    assert drawn.info["labels"] == drawn.info["index"]
    assert (drawn.info["split"], drawn.info["task"], drawn.info["seed"]) == ("validation", "agnostic", 0)


def test_the_split_task_draws_from_the_groups_in_turn():
    labels = np.array(draw_mixtures(Few(), task="split", sources=3, n=200).info["labels"])
    assert [set(column) for column in labels.T] == [{0, 1, 2}, {3, 4, 5, 6}, {0, 1, 2}]


def test_images_are_drawn_evenly():
    """Counts of 4,000 draws from 7 images, within five standard deviations of a uniform choice."""
    counts = np.bincount(np.ravel(draw_mixtures(Few(), n=2000).info["index"]), minlength=7)
    assert np.abs(counts - 4000 / 7).max() < 5 * np.sqrt(4000 / 7 * 6 / 7)


@pytest.mark.parametrize("wrong", [{"sources": 1}, {"n": 0}, {"seed": -1}, {"weights": [1.0, 1.0, 1.0]}, {"task": "x"}])
def test_mixtures_refused(wrong):
    with pytest.raises(basis.UsageError):
        draw_mixtures(Few(), **wrong)


def test_mixtures_on_disk(digits, tmp_path):
    drawn = draw_mixtures(digits, task="split", n=4, seed=2, weights=[0.3, 0.7])
    save_mixtures(drawn, tmp_path / "a" / "b")
    loaded = load_mixtures(tmp_path / "a" / "b")
    assert torch.equal(loaded.mixture, drawn.mixture)
    assert torch.equal(loaded.sources, drawn.sources)
    assert loaded.weights == (0.3, 0.7)
    assert drawn.info | {"n": 4, "weights": [0.3, 0.7]} == loaded.info
    assert drawn.info["data"] == "digits"
    assert torch.equal(first(loaded, 3).sources, drawn.sources[:3])


DAMAGE = {
    "no information": lambda folder: (folder / INFO).unlink(),
    "not JSON": lambda folder: (folder / INFO).write_text("{"),
    "a list": lambda folder: (folder / INFO).write_text("[]"),
    "no mixtures": lambda folder: (folder / INFO).write_text(json.dumps({"n": 0, "weights": [1, 1]})),
    "no weights": lambda folder: (folder / INFO).write_text(json.dumps({"n": 3})),
    "one is missing": lambda folder: (folder / "00002.npz").unlink(),
    "one is cut off": lambda folder: (folder / "00001.npz").write_bytes((folder / "00001.npz").read_bytes()[:-60]),
    "one is empty": lambda folder: (folder / "00001.npz").write_bytes(b""),
    "one has no sources": lambda folder: np.savez(folder / "00001.npz", mixture=np.zeros((1, 2, 2), np.float32)),
    "one has another size": lambda folder: np.savez(folder / "00001.npz", mixture=np.zeros(1), sources=np.zeros(1)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_of_mixtures(tmp_path, damage):
    save_mixtures(draw_mixtures(Few(), n=3), tmp_path)
    DAMAGE[damage](tmp_path)
    with pytest.raises(basis.DataError, match=r"is not a folder of mixtures .*To fix: write one with `basis make-mix"):
        load_mixtures(tmp_path)


class Waves(Dataset):
    """Ten signals of four values in [-2, 2], stored as they are."""

    groups = ((0,), (1,))
    data_range = (-2.0, 2.0)

    def load(self, split):
        x = torch.linspace(-2, 2, 40).reshape(10, 1, 4)
        return x, torch.arange(10) % 2


def test_mixtures_of_signals_in_their_own_units(tmp_path):
    drawn = draw_mixtures(Waves(), n=5, seed=1)
    assert drawn.data_range == (-2.0, 2.0)
    assert torch.equal(drawn.sources, Waves().load("test")[0][torch.tensor(drawn.info["index"])])
    torch.testing.assert_close(drawn.mixture, drawn.sources.sum(1))
    save_mixtures(drawn, tmp_path / "waves")
    again = load_mixtures(tmp_path / "waves")
    assert again.data_range == (-2.0, 2.0)
    assert torch.equal(again.sources, drawn.sources)


def test_8_bits_stand_for_the_data_range():
    stored = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(Waves().values(stored), torch.tensor([-2.0, -1.2, 2.0]))
    assert torch.equal(Few().values(stored), stored.float() / 255)
    assert Few().data_range == (0.0, 1.0)
    assert "data_range" not in draw_mixtures(Few(), n=1).info  # folders that were written before stay what they are


def test_two_data_sets_together_have_one_range():
    with pytest.raises(basis.UsageError, match="data sets of one data range"):
        Together(Few(), Waves())
