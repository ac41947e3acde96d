"""Nothing that the library does moves the global random states of torch, numpy or Python."""

import inspect
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

import basis
from basis.core.dataset import DATASETS
from basis.core.metric import METRICS
from basis.core.mixing import MIXINGS
from basis.core.separator import SEPARATORS
from basis.io.checkpoint import PRETRAINED, WEIGHTS, pretrained
from basis.io.loading import untouched

MIXING = basis.WeightedSum([1.0, 1.0])


def states():
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()  # noqa: NPY002


@pytest.fixture(autouse=True)
def nothing_moves():
    before = states()
    yield
    moved = [name for name, a, b in zip(("torch", "numpy", "Python"), before, states(), strict=True) if a != b]
    assert not moved


@pytest.fixture
def prior(arguments):
    from basis.priors.edm import EDM

    with untouched():
        return EDM(**arguments).eval().requires_grad_(False)


@pytest.mark.parametrize("name", pretrained())
def test_loading_a_prior(name):
    assert basis.load_prior(name).shape
    assert basis.load_prior(PRETRAINED / name / WEIGHTS).shape


FEW = {
    "steps": 1,
    "epochs": 1,
    "rounds": 1,
    "refine_steps": 2,
    "critic_steps": 1,
    "latent": 4,
    "sweeps": 2,
    "search": 2,
    "refine": 2,
    "restarts": 2,
    "width": 0.05,
    "levels": 2,
    "iterations": 2,
    "size": 2,
    "samples": 2,
    "candidates": 2,
    "batch": 2,
    "components": 2,
}
UNTRAINED = {"nmf", "supervised", "neural_egg", "adversarial"}


def few(name):
    """The settings of a method that make it short."""
    known = {p.name for p in inspect.signature(SEPARATORS.get(name)).parameters.values()}
    inner = {"best_of": {"steps", "levels"}, "sample": {"steps"}, "search": {"steps"}}.get(name, set())
    return {key: value for key, value in FEW.items() if key in known | inner}


@pytest.mark.parametrize("name", SEPARATORS.names())
def test_separating(prior, name):
    if name in UNTRAINED:
        pytest.skip("has to learn first, see below")
    mixture = torch.linspace(0, 1, 64).reshape(1, 8, 8)
    assert basis.separate(mixture, prior, MIXING, name, **few(name)).sources.shape == (1, 2, 1, 8, 8)


@pytest.mark.parametrize("name", sorted(UNTRAINED))
def test_learning_to_separate(prior, name, tmp_path):
    images = torch.linspace(0, 1, 640).reshape(10, 1, 8, 8)
    settings = {"shape": [1, 8, 8], **few(name)}
    separator = SEPARATORS.make(name, settings)
    for _ in separator.fit([images] * len(set(separator.kinds))):
        pass
    folder = basis.save_separator(separator, settings, tmp_path)
    again = basis.load_separator(folder)
    mixture = torch.linspace(0, 1, 64).reshape(1, 8, 8)
    assert basis.separate(mixture, prior, MIXING, again).sources.shape == (1, 2, 1, 8, 8)


def test_generating(prior):
    assert len(basis.generate(prior, 2))


@pytest.mark.parametrize("name", ["psnr", "ssim", "digits_right"])
def test_measuring(name):
    sources = torch.linspace(0, 1, 2 * 2 * 784).reshape(2, 2, 1, 28, 28)
    settings = {} if name == "digits_right" else {"data_range": (0, 1)}
    assert METRICS.get(name)(**settings)(sources, sources.flip(0)).shape == (2,)


@pytest.mark.parametrize("registry", [DATASETS, METRICS, MIXINGS, SEPARATORS], ids=lambda registry: registry.kind)
def test_finding_what_can_be_chosen(registry):
    assert registry.describe()


COMMANDS = [
    ["list"],
    ["info", "mnist"],
    ["generate", "prior", "--n", "2"],
    ["separate", "mix.npy", "--prior", "prior", "--method", "basis", "--steps", "1", "--levels", "2"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_commands(run_basis, prior, arguments, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    basis.save_prior(prior, arguments, tmp_path / "prior")
    np.save(tmp_path / "mix.npy", np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8))
    code, _, error = run_basis(*command)
    assert (code, error.count("Traceback")) == (0, 0), error


FIRST = """
import random, numpy, torch, basis
from basis.metrics.ssim import SSIM
from basis.priors.edm import EDM
def states(): return torch.get_rng_state().tolist(), str(numpy.random.get_state()), random.getstate()
prior = EDM([1, 8, 8], 0.3, 0.3, [8], [1], [False]).eval().requires_grad_(False)
mixture, images = torch.linspace(0, 1, 64).reshape(1, 8, 8), torch.linspace(0, 1, 2048).reshape(1, 2, 1, 32, 32)
ssim, pair = SSIM((0, 1)), basis.WeightedSum([1, 1])
for act in (lambda: basis.separate(mixture, prior, pair, "blind"), lambda: ssim(images, images)):
    before = states()
    act()
    print([a == b for a, b in zip(before, states())])
"""


def test_the_first_import_of_other_packages():
    """Some packages draw random numbers while they are imported, which happens once in a process."""
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[True, True, True]"] * 2, done.stderr
