"""`basis.separate` of paths, pictures, names and weights: the same as of arrays, priors and mixings."""

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.core.separator import Run
from cli.shared import IMAGE, MIXTURE, PIXELS, QUICK, make_prior

HALF = [0.5, 0.5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_prior(tmp_path_factory.mktemp("priors") / "tiny", seed=0, mean=0.3)


@pytest.fixture(scope="module")
def prior(folder):
    return basis.load_prior(folder)


def same(found, wanted):
    assert torch.equal(found.samples, wanted.samples)
    assert torch.equal(found.mixture, wanted.mixture)


@pytest.fixture
def wanted(prior):
    """Of the picture, as the mean of its sources."""
    return basis.separate(IMAGE, prior, basis.WeightedSum(HALF), **QUICK)


def test_a_picture_by_its_path_with_a_prior_by_its_folder(folder, tmp_path, wanted):
    for mode in ("L", "RGB"):
        Image.fromarray(PIXELS).convert(mode).save(tmp_path / "mix.png")
        same(basis.separate(str(tmp_path / "mix.png"), folder, weights=HALF, **QUICK), wanted)
    same(basis.separate(tmp_path / "mix.png", [folder, folder], weights=HALF, **QUICK), wanted)


def test_a_picture_of_pil(prior, wanted):
    same(basis.separate(Image.fromarray(PIXELS), prior, weights=HALF, **QUICK), wanted)


def test_the_command_line_does_the_same(run_basis, folder, tmp_path, wanted):
    Image.fromarray(PIXELS).save(tmp_path / "mix.png")
    options = ["--prior", folder, "--weights", "0.5,0.5", "--method", "basis", "--steps", 2, "--levels", 2]
    assert run_basis("separate", tmp_path / "mix.png", *options, "--out", tmp_path / "out")[0] == 0
    np.testing.assert_allclose(np.load(tmp_path / "out/mix/sources.npy"), wanted.sources[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [".npy", ".npz", ".pt"])
def test_a_file_of_an_array(prior, tmp_path, kind):
    file = tmp_path / f"mix{kind}"
    save = {".npy": np.save, ".npz": np.savez, ".pt": lambda path, x: torch.save(torch.from_numpy(x), path)}
    save[kind](file, MIXTURE)
    wanted = basis.separate(MIXTURE, prior, basis.WeightedSum([1.0, 1.0]), **QUICK)
    same(basis.separate(file, prior, weights=[1.0, 1.0], **QUICK), wanted)


def test_height_and_width_of_one_channel(prior):
    wanted = basis.separate(MIXTURE, prior, weights=[1, 1], **QUICK)
    same(basis.separate(MIXTURE[0], prior, weights=[1, 1], **QUICK), wanted)


def test_a_bundled_example_by_name():
    found = basis.separate("example:two-a", "mnist", weights=HALF, method="average")
    assert found.sources.shape == (1, 2, 1, 28, 28)


def test_names_are_loaded_once(folder, prior, monkeypatch):
    loaded = []
    monkeypatch.setattr("basis.opening.load_prior", lambda name: loaded.append(name) or prior)
    run = basis.stream(MIXTURE, [folder, folder, prior], weights=[1, 1, 1], **QUICK)
    assert isinstance(run, Run)
    assert loaded == [folder]


WRONG = {
    "neither": ((MIXTURE,), {}, "a mixing or weights, got neither"),
    "both": ((MIXTURE,), {"mixing": basis.WeightedSum(HALF), "weights": HALF}, "got a mixing and weights"),
    "progress": ((MIXTURE,), {"weights": [1, 1], "progress": 3}, "progress as a bool or a function, got 3"),
    "size": ((MIXTURE[0, 1:],), {"weights": [1, 1]}, r"expected a mixture of shape \(1, 8, 8\)"),
    "no file": (("none.png",), {"weights": HALF}, "none.png does not exist"),
    "no example": (("example:one",), {"weights": HALF}, "unknown example"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(prior, name):
    arguments, settings, words = WRONG[name]
    with pytest.raises(basis.BasisError, match=words):
        basis.separate(*arguments, prior=prior, **QUICK | settings)


def test_unknown_names():
    with pytest.raises(basis.UsageError, match=r"unknown prior 'mnsit'.*did you mean mnist"):
        basis.separate(MIXTURE, "mnsit", weights=[1, 1])


def test_progress_by_a_function_sees_every_state_and_changes_nothing(prior):
    states, two = [], np.stack([MIXTURE, MIXTURE])
    found = basis.separate(two, prior, weights=[1, 1], batch_size=1, progress=states.append, **QUICK)
    assert [state.sigma for state in states] == [1.0, 1.0, pytest.approx(0.01), pytest.approx(0.01)] * 2
    same(found, basis.separate(two, prior, weights=[1, 1], batch_size=1, **QUICK))


def test_progress_by_a_bar_is_on_standard_error(prior, capsys):
    basis.separate(np.stack([MIXTURE, MIXTURE]), prior, weights=[1, 1], batch_size=1, progress=True, **QUICK)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "8/8" in captured.err
    assert "sigma 0.010" in captured.err
    basis.separate(MIXTURE, prior, weights=[1, 1], **QUICK)
    assert capsys.readouterr().err == ""
