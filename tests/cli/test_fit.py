"""`basis fit`, and what it wrote as a --method of other commands."""

import json

import numpy as np
import pytest

import basis
from basis.io.learned import load_separator
from cli.shared import MIXTURE, fails

pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")

FEW = ("--data", "digits", "--set", "components=3", "--set", "iterations=20")


@pytest.fixture
def folder(cli, tmp_path):
    result = cli("fit", "nmf", *FEW, "--task", "split", "--seed", 4, "--out", tmp_path / "fit")
    assert result.code == 0, result
    assert result.out.startswith(f"{tmp_path / 'fit'}: 2 steps, loss 0.")
    return tmp_path / "fit"


def test_fit_writes_what_was_learned_and_how(folder):
    nmf = load_separator(folder)
    assert (nmf.kinds, nmf.components, nmf.seed, tuple(nmf.atoms.shape)) == ((0, 1), 3, 4, (2, 3, 64))
    assert nmf.atoms.max() > 0
    card = json.loads((folder / "card.json").read_text())
    assert (card["data"], card["split"], card["task"], card["steps"]) == ("digits", "train", "split", 2)
    assert sum(card["images"]) == 1297
    assert "fit nmf --data digits" in card["command"]


def test_a_folder_is_a_method(folder, cli, array, prior, out):
    result = cli("separate", array, "--prior", prior, "--method", folder, "--out", out)
    assert result.code == 0, result
    expected = basis.separate(MIXTURE, basis.load_prior(prior), basis.WeightedSum([1, 1]), load_separator(folder))
    np.testing.assert_allclose(np.load(out / "array" / "sources.npy"), expected.sources[0].numpy(), rtol=0, atol=1e-6)
    result = cli("evaluate", "digits", "--prior", prior, "--method", folder, "--n", 3, "--task", "split")
    assert result.code == 0, result
    assert "mean dB" in result.out


def test_info_describes_a_fitted_method(folder, cli):
    for source in (folder, folder / "model.safetensors"):
        result = cli("info", source)
        assert result.code == 0, result
        head, parameters, weights, *card = result.out.splitlines()
        assert head == f"{source}: NMF of 2 sources of 1×8×8 (C×H×W), of kinds 0, 1"
        assert parameters == f"parameters: {2 * 3 * 64}"
        assert weights == f"weights: {folder / 'model.safetensors'} (0.0 MiB)"
        assert json.loads("\n".join(card)) == json.loads((folder / "card.json").read_text())
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"x")
    fails(cli("info", folder), 1, "has sha256", "damaged or changed")


def test_results_carry_the_hash_of_what_was_learned(folder, cli, array, prior, out, tmp_path):
    sha256 = json.loads((folder / "card.json").read_text())["sha256"]
    for option, method in (("--resume", folder), ("--overwrite", folder / "model.safetensors")):
        assert cli("separate", array, "--prior", prior, "--method", method, "--out", out, option).code == 0
        facts = json.loads((out / "array" / "result.json").read_text())
        assert (facts["method"], facts["method_sha256"]) == (str(method), sha256)
    options = ("--prior", prior, "--n", 3, "--task", "split", "--overwrite", "--json", tmp_path / "figures.json")
    for method, expected in ((folder, sha256), ("average", None)):
        assert cli("evaluate", "digits", "--method", method, *options).code == 0
        assert json.loads((tmp_path / "figures.json").read_text())["method_sha256"] == expected


def test_a_name_comes_before_a_folder_of_that_name(folder, cli, array, prior, out, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder.rename(folder.parent / "average")
    assert cli("separate", array, "--prior", prior, "--method", "average", "--out", out).code == 0
    assert json.loads((out / "array" / "result.json").read_text())["method_sha256"] is None


def test_weights_are_learned_by_those_that_need_them(cli, tmp_path):
    settings = ("--set", "widths=[8]", "--set", "steps=1", "--out", tmp_path / "fit")
    assert cli("fit", "supervised", "--data", "digits", "--weights", "0.2,0.3,0.5", *settings).code == 0
    method = load_separator(tmp_path / "fit")
    assert (method.alphas, method.kinds) == ((0.2, 0.3, 0.5), (0, 0, 0))


def test_what_fit_refuses(cli, tmp_path, folder, array, prior, monkeypatch):
    fails(cli("fit", "average", "--data", "digits"), 2, "'average' has nothing to learn", "--method average")
    fails(cli("fit", "nfm", "--data", "digits"), 2, "unknown method 'nfm'", "did you mean nmf?")
    fails(cli("fit", "nmf", *FEW, "--task", "splitt"), 2, "unknown task 'splitt'")
    fails(cli("fit", "nmf", *FEW, "--weights", "1,2"), 2, "unknown setting of method 'nmf': 'alphas'")
    fails(cli("fit", "neural_egg", "--data", "digits"), 2, "got kinds [0, 0]", "--task split")
    fails(cli("fit", "supervised", "--data", "digits", "--set", "steps=0"), 2, "'steps' of method 'supervised' takes")
    fails(cli("separate", array, "--prior", prior, "--method", "nmf"), 2, "'nmf' has to learn", "basis fit nmf")
    fails(cli("separate", array, "--prior", prior, "--method", tmp_path), 2, "has no model.safetensors")
    fails(cli("separate", array, "--prior", prior, "--method", prior), 1, "does not hold a separator", "basis fit")
    fails(cli("separate", array, "--prior", folder, "--method", "average"), 1, "does not describe a prior")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("basis.separators.nmf.factorise", stop)
    stopped = cli("fit", "nmf", *FEW, "--out", tmp_path / "stopped")
    assert (stopped.code, (tmp_path / "stopped").exists()) == (130, False)
    assert "nothing is written" in stopped.err[0]
