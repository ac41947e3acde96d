"""A signal that no file of the library knows: lines of 64 values in [-1, 1], from training to files, end to end."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import basis

pytest.importorskip("accelerate", reason="training needs the extra 'train'")

from basis.core.dataset import open_dataset
from basis.evaluate.evaluation import evaluate
from basis.evaluate.mixtures import draw_mixtures
from basis.train.loop import train
from basis.train.recipe import read_recipe

SHAPE, SUM = (1, 64), basis.WeightedSum([1.0, 1.0])
POINTS = """
[basis.datasets]
waves = waves_of_a_plugin:Waves
"""
SOURCE = '''
"""Sines and steps of 64 values in [-1, 1]."""

import math

import torch

from basis.core.dataset import Dataset


class Waves(Dataset):
    """Sines and steps."""

    groups, data_range = ((0,), (1,)), (-1.0, 1.0)

    def load(self, split):
        count = {"train": 256, "validation": 64, "test": 32}[split]
        generator = torch.Generator().manual_seed(count)
        phase, frequency, size = torch.rand(3, count, 1, 1, generator=generator)
        labels = torch.arange(count) % 2
        x = torch.sin(2 * math.pi * (phase + (1 + 3 * frequency) * torch.linspace(0, 1, 64)))
        x = torch.where(labels[:, None, None] == 0, x, x.sign())
        return (0.5 + 0.5 * size) * x, labels
'''
RECIPE = """
prior = "edm"
data = "waves"
steps = 100
learning_rate = 0.02
batch = 32
warmup = 5
ema = 64
unit_weights = true
every = 100
calibrate = 2
flip = true
shift = 3

[arguments]
shape = [1, 64]
mean = 0.0
std = 0.6
widths = [8, 16]
blocks = [1, 1]
attention = [false, true]
patch = 4
data_range = [-1.0, 1.0]

[noise]
std = 1.2
"""
METHODS = {
    "average": {},
    "fast": {"steps": 3},
    "quality": {"steps": 3, "candidates": 2},
    "paper": {"levels": 2, "steps": 2},
    "basis": {"levels": 2, "steps": 2},
    "sample": {"steps": 3},
    "best_of": {"samples": 2, "levels": 2, "steps": 2},
    "search": {"steps": 3, "candidates": 2, "batch": 2},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder on the path with the data set as another package adds it by entry points, and the recipe."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "waves_of_a_plugin.py").write_text(SOURCE)
    about = folder / "waves_of_a_plugin-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: waves-of-a-plugin\nVersion: 0\n")
    (about / "entry_points.txt").write_text(POINTS)
    (folder / "waves.toml").write_text(RECIPE)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def folder(place):
    """A prior of lines, trained by the recipe."""
    *_, last = train(read_recipe(place / "waves.toml"), open_dataset("waves"), place / "prior")
    assert last.held_out < 0.8  # of 1, where it knows the mean and the deviation alone
    return place / "prior"


@pytest.fixture(scope="module")
def prior(folder):
    return basis.load_prior(folder)


@pytest.fixture(scope="module")
def drawn(place):
    return draw_mixtures(open_dataset("waves"), "test", "split", n=3)


def test_the_data_are_in_their_own_units(drawn, prior):
    assert (prior.shape, prior.data_range) == (SHAPE, drawn.data_range) == (SHAPE, (-1.0, 1.0))
    assert drawn.sources.shape == (3, 2, *SHAPE)
    assert drawn.sources.min() < -0.5


@pytest.mark.parametrize("method", METHODS)
def test_every_method_separates_lines(prior, drawn, method):
    settings = dict(METHODS[method])
    samples = settings.pop("samples", 1)
    found = basis.separate(drawn.mixture, prior, SUM, method, samples=samples, assess=False, **settings)
    assert found.sources.shape == (3, 2, *SHAPE)
    assert found.sources.abs().max() <= 1
    measured = evaluate(found, drawn.sources)
    error = (basis.reorder(found.sources, basis.align(found, drawn.sources)) - drawn.sources).square().mean(-1)
    expected = (10 * torch.log10(4 / error.double())).mean((1, 2))  # width 2
    torch.testing.assert_close(measured.psnr, expected, atol=1e-3, rtol=0)
    assert measured.ssim is None


def test_a_method_that_learns_lines(drawn):
    images, labels = open_dataset("waves").images("train")
    arguments = {"shape": SHAPE, "kinds": (0, 1), "widths": [8, 8], "steps": 30, "batch": 16, "learning_rate": 0.01}
    supervised = basis.core.separator.choose("supervised", arguments)
    for _ in supervised.fit([images[labels == k] for k in (0, 1)]):
        pass
    prior = basis.GaussianMixture([1.0], torch.zeros(1, *SHAPE), torch.eye(64)[None])
    found = basis.separate(drawn.mixture, prior, SUM, supervised, assess=False)
    average = basis.separate(drawn.mixture, prior, SUM, "average", assess=False)
    gain = basis.psnr(found, drawn.sources, (-1, 1)) - basis.psnr(average, drawn.sources, (-1, 1))
    assert gain.mean() > 0.3


def test_methods_of_other_data_say_so(prior, drawn):
    """Factors and masks are of values that are not negative, and two networks are of images."""
    images = [open_dataset("waves").images("train")[0]]
    with pytest.raises(basis.UsageError, match=r"'blind' needs sources without negative values.*To fix: choose"):
        basis.separate(drawn.mixture, prior, SUM, "blind")
    with pytest.raises(basis.DataError, match=r"values outside \[0, 1\]. To fix: scale"):
        next(basis.core.separator.choose("nmf", {"shape": SHAPE}).fit(images))
    for name in ("neural_egg", "adversarial"):
        with pytest.raises(basis.UsageError, match=rf"'{name}' takes images \(C, H, W\), got shape \(1, 64\)"):
            basis.core.separator.choose(name, {"shape": SHAPE})


def test_samples_of_the_prior_itself(prior):
    found = basis.generate(prior, 2)
    assert found.shape == (2, *SHAPE)
    assert found.abs().max() <= 1


def test_longer_lines_by_windows(prior):
    long = basis.Windowed(prior, (100,))
    mixture = torch.zeros(1, 100)
    found = basis.separate(mixture, long, SUM, "fast", steps=2, assess=False)
    assert found.sources.shape == (1, 2, 1, 100)


def test_numbers_of_sources(prior, drawn):
    found = basis.count_sources(drawn.mixture[:1], prior, most=2, method="average")
    assert found.counts.shape == (1,)
    torch.testing.assert_close(found.chances.sum(), torch.tensor(1.0))


# The command line


def test_separate_files(run_basis, folder, drawn, tmp_path):
    """One line, with and without its channel, and a batch; sources come out as arrays, pictures show lines."""
    m = drawn.mixture.numpy()
    np.save(tmp_path / "one.npy", m[0])
    np.save(tmp_path / "bare.npy", m[0, 0])
    np.save(tmp_path / "batch.npy", m[:2])
    names, out = [tmp_path / f"{name}.npy" for name in ("one", "bare", "batch")], tmp_path / "out"
    options = ("--prior", folder, "--method", "fast", "--steps", 3, "--samples", 2, "--out", out)
    code, _, err = run_basis("separate", *names, *options)
    assert code == 0, err
    files = sorted(path.name for path in (out / "one").iterdir() if not path.name.startswith("."))
    assert set(files) >= {"source_1.npy", "source_2.npy", "sources.npy", "samples.npy", "panel.png", "anneal.gif"}
    assert not [name for name in files if name.startswith("source") and name.endswith(".png")]
    one, bare, batch = (np.load(out / name / "sources.npy") for name in ("one", "bare", "batch/00000"))
    assert one.shape == (2, *SHAPE)
    np.testing.assert_array_equal(np.load(out / "one" / "source_2.npy"), one[1])
    np.testing.assert_array_equal(one, bare)
    np.testing.assert_allclose(one, batch, atol=1e-5)
    np.testing.assert_allclose(one.sum(0), m[0], atol=0.3)
    panel = np.asarray(Image.open(out / "one" / "panel.png").convert("L"))
    assert panel.shape[1] > 5 * 224  # mixture, two sources, re-mix and error
    assert (panel < 100).any()


def test_a_long_line_by_windows(run_basis, folder, tmp_path):
    np.save(tmp_path / "long.npy", np.zeros((1, 100), np.float32))
    options = ("--prior", folder, "--method", "average", "--out", tmp_path / "out")
    code, _, err = run_basis("separate", tmp_path / "long.npy", *options)
    assert code == 1
    assert "the prior takes 1×64 (channels × length). To fix: pass --windows" in err
    code, _, err = run_basis("separate", tmp_path / "long.npy", *options, "--windows")
    assert code == 0, err
    assert "100 values by 3 windows of 64" in err


def test_a_picture_is_no_line(run_basis, folder, tmp_path):
    Image.new("L", (64, 1)).save(tmp_path / "line.png")
    code, _, err = run_basis("separate", tmp_path / "line.png", "--prior", folder, "--out", tmp_path / "out")
    assert code == 1
    assert "line.png is a picture, the prior takes signals of shape (1, 64). To fix: save exact values as .npy" in err


def test_train_evaluate_count_and_generate(run_basis, place, folder, drawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.toml").write_text(RECIPE.replace("steps = 100", "steps = 8"))
    code, out, err = run_basis("train", "short.toml", "--out", tmp_path / "again")
    assert code == 0, err
    assert basis.load_prior(tmp_path / "again").calibration is not None, (out, err)
    figures = tmp_path / "figures.json"
    options = ("--prior", folder, "--method", "average", "--task", "split", "--n", 3, "--json", figures)
    code, _, err = run_basis("evaluate", "waves", *options)
    assert code == 0, err
    average = basis.separate(drawn.mixture, basis.load_prior(folder), SUM, "average", assess=False)
    found = json.loads(figures.read_text())
    np.testing.assert_allclose(found["psnr"], basis.psnr(average, drawn.sources), atol=1e-4)
    assert run_basis("make-mixtures", "waves", "--n", 3, "--out", "mixed")[0] == 0
    assert run_basis("evaluate", "mixed", "--prior", folder, "--method", "average", "--n", 3)[0] == 0
    np.save("m.npy", drawn.mixture[0])
    code, out, err = run_basis("count", "m.npy", "--prior", folder, "--most", 2, "--method", "average")
    assert code == 0, err
    assert "m.npy: " in out
    code, _, err = run_basis("generate", folder, "--n", 2, "--out", "samples.png")
    assert code == 0, err
    assert Image.open("samples.png").width > 2 * 224
    settings = [part for entry in ("widths=[8]", "steps=2", "batch=4") for part in ("--set", entry)]
    code, _, err = run_basis("fit", "supervised", "--data", "waves", "--task", "split", "--out", "fits/s", *settings)
    assert code == 0, err
    np.save("m.npy", drawn.mixture[0])
    code, _, err = run_basis("separate", "m.npy", "--prior", folder, "--method", "fits/s", "--out", "learned")
    assert code == 0, err
