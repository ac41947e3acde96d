"""`basis calibrate`, and the calibration at the end of `basis train`."""

import json
import shutil

import pytest
import torch

import basis
from basis.core.dataset import open_dataset
from cli.shared import fails
from train.shared import RECIPE


@pytest.fixture
def own(prior, tmp_path):
    """A prior folder of this test's own."""
    return shutil.copytree(prior, tmp_path / "prior")


def known(folder):
    return json.loads((folder / "calibration.json").read_text())


def test_calibrate_by_a_data_set_does_what_python_does(cli, own):
    pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")
    result = cli("calibrate", own, "digits", "--n", 2, "--seed", 3)
    assert (result.code, result.err) == (0, [])
    assert f"{own / 'calibration.json'}: " in result.out
    images = open_dataset("digits").images("validation")[0].float() / 255
    prior = basis.load_prior(own)
    expected = basis.calibrate(prior, images, n=2, seed=3)
    assert prior.calibration.quantiles == pytest.approx(expected.quantiles, abs=1e-4)
    assert prior.calibration.limits.keys() == {1, 2, 3, 4}
    for count, limit in expected.limits.items():
        assert prior.calibration.limits[count] == pytest.approx(limit, rel=1e-3)
    facts = known(own)
    assert (facts["data"], facts["n"], facts["seed"]) == ("digits, validation split", 2, 3)
    assert facts["command"].startswith("basis calibrate ")


def test_calibrate_by_its_own_samples(cli, own):
    assert cli("calibrate", own, "--n", 4).code == 0
    assert known(own)["data"] == "the prior's own samples"


def test_a_calibration_is_kept_unless_overwrite(cli, own):
    assert cli("calibrate", own, "--n", 4).code == 0
    before = (own / "calibration.json").read_bytes()
    fails(cli("calibrate", own, "--n", 5), 2, "calibrated already", "--overwrite")
    assert (own / "calibration.json").read_bytes() == before
    assert cli("calibrate", own, "--n", 5, "--overwrite").code == 0
    assert known(own)["n"] == 5


def test_a_file_of_somebody_else_is_kept(cli, own):
    (own / "calibration.json").write_text('{"notes": "mine"}')
    fails(cli("calibrate", own, "--n", 4), 2, "basis did not write it")
    assert (own / "calibration.json").read_text() == '{"notes": "mine"}'


def test_calibrate_says_what_it_takes(cli, own, tmp_path):
    fails(cli("calibrate", tmp_path / "nothing"), 2, "unknown prior")
    fails(cli("calibrate", "cifar10-colour", "--n", 1), 2, "grayscale")
    torch.save({}, tmp_path / "x.pth")
    assert cli("calibrate", tmp_path / "x.pth").code in (1, 2)
    assert not (tmp_path / "calibration.json").exists()


def test_info_says_whether_a_prior_is_calibrated(cli, own):
    assert "not calibrated" in cli("info", own).out
    cli("calibrate", own, "--n", 4)
    assert "not calibrated" not in cli("info", own).out


def test_train_calibrates_at_its_end(cli, tmp_path):
    pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("calibrate = 0", "calibrate = 2"))
    result = cli("train", tmp_path / "tiny.toml", "--out", tmp_path / "run")
    assert result.code == 0
    assert f"{tmp_path / 'run'}: calibrating" in result.out
    assert (known(tmp_path / "run")["data"], known(tmp_path / "run")["n"]) == ("digits, validation split", 2)
    assert basis.load_prior(tmp_path / "run").calibration is not None
    written = (tmp_path / "run" / "calibration.json").stat().st_mtime_ns
    assert cli("train", tmp_path / "tiny.toml", "--out", tmp_path / "run", "--resume").code == 0
    assert (tmp_path / "run" / "calibration.json").stat().st_mtime_ns == written
