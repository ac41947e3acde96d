"""Prior.from_pretrained, save_pretrained and push_to_hub; the hub is a folder here."""

import copy
import shutil
import sys
from pathlib import Path

import pytest
import torch

import basis
from basis.core.plausibility import CALIBRATION
from basis.io.saving import CARD, WEIGHTS


@pytest.fixture
def mixture():
    eye = torch.eye(4)
    return basis.GaussianMixture([0.25, 0.75], means=torch.rand(2, 1, 2, 2), covariances=torch.stack([eye, 2 * eye]))


def same(first, second):
    x = torch.rand(2, *first.shape, generator=torch.Generator().manual_seed(0))
    assert type(first) is type(second)
    assert (first.shape, first.data_range, first.levels) == (second.shape, second.data_range, second.levels)
    assert torch.allclose(first.denoise(x, 0.5), second.denoise(x, 0.5), atol=1e-6)


def test_a_prior_comes_back(mixture, edm, tmp_path):
    """Its arguments are those that it was made from: arrays, and numbers, by place and by name."""
    for i, prior in enumerate((mixture, edm, copy.deepcopy(edm))):
        folder = prior.save_pretrained(tmp_path / str(i), {"summary": "mine"})
        same(basis.Prior.from_pretrained(folder), prior)
        same(basis.load_prior(folder), prior)
        assert '"summary": "mine"' in (folder / CARD).read_text()


def test_a_prior_that_was_loaded_comes_back_with_its_calibration(tmp_path):
    prior = basis.Prior.from_pretrained("mnist")
    again = basis.Prior.from_pretrained(prior.save_pretrained(tmp_path / "prior"))
    same(again, prior)
    assert again.calibration == prior.calibration is not None


def test_another_class_refuses():
    assert basis.Glow.from_pretrained("glow-mnist").shape == (1, 28, 28)
    with pytest.raises(basis.UsageError, match="mnist is a EDM, expected a Glow"):
        basis.Glow.from_pretrained("mnist")


def test_what_is_there_is_kept(mixture, tmp_path):
    mixture.save_pretrained(tmp_path / "prior")
    with pytest.raises(basis.UsageError, match="holds a prior already"):
        mixture.save_pretrained(tmp_path / "prior")
    mixture.save_pretrained(tmp_path / "prior", overwrite=True)


def test_what_no_file_describes(mixture, tmp_path):
    with pytest.raises(basis.UsageError, match="Rescaled was made from prior, a GaussianMixture"):
        basis.Rescaled(mixture, scale=2.0).save_pretrained(tmp_path / "prior")
    assert not (tmp_path / "prior").exists()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that is a folder, by the names of huggingface_hub."""
    module = pytest.importorskip("huggingface_hub")
    root = tmp_path / "hub"

    def create_repo(self, name, *, private, exist_ok):
        (root / name).mkdir(parents=True, exist_ok=exist_ok)
        (root / name / ".private").write_text(str(private))

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message, revision):
        for name in allow_patterns:
            if (Path(folder_path) / name).exists():
                shutil.copy(Path(folder_path) / name, root / repo_id / name)
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(name, *, allow_patterns, revision):
        if not (root / name).is_dir():
            raise OSError(f"404 {name}\nmore")
        target = tmp_path / "cache" / name / str(revision)
        target.mkdir(parents=True, exist_ok=True)
        for pattern in allow_patterns:
            if (root / name / pattern).exists():
                shutil.copy(root / name / pattern, target / pattern)
        return str(target)

    monkeypatch.setattr(module.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(module.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(module, "snapshot_download", snapshot_download)
    return root


def test_to_the_hub_and_back(hub):
    prior = basis.Prior.from_pretrained("mnist")
    assert prior.push_to_hub("me/mine", private=True) == "https://hub/me/mine/commit/1"
    assert sorted(path.name for path in (hub / "me/mine").iterdir()) == sorted([".private", CALIBRATION, CARD, WEIGHTS])
    assert (hub / "me/mine/.private").read_text() == "True"
    for name in ("me/mine", "hub:me/mine", "me/mine@v2"):
        again = basis.Prior.from_pretrained(name)
        same(again, prior)
        assert again.calibration == prior.calibration


def test_what_is_not_ours_is_left_to_diffusers(hub, monkeypatch, mixture):
    (hub / "google/ddpm").mkdir(parents=True)
    asked = []
    monkeypatch.setattr("basis.io.pretrained.load_prior", lambda *given: asked.append(given) or mixture)
    assert basis.Prior.from_pretrained("google/ddpm@main") is mixture
    assert asked == [("hub:google/ddpm@main", "cpu")]


def test_errors_of_the_hub(hub, mixture, monkeypatch):
    with pytest.raises(basis.DataError, match=r"me/none could not be downloaded \(OSError: 404 me/none\)"):
        basis.Prior.from_pretrained("me/none")
    with pytest.raises(basis.UsageError, match="expected a repository OWNER/NAME, got mine"):
        mixture.push_to_hub("mine")

    def refuse(*_, **__):
        raise PermissionError("401 log in")

    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", refuse)
    with pytest.raises(basis.DataError, match=r"could not be written \(PermissionError: 401 log in\).*hf auth login"):
        mixture.push_to_hub("me/mine")


def test_without_huggingface_hub(mixture, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(basis.UsageError, match=r"pip install 'basis-separation\[hub\]'"):
        mixture.push_to_hub("me/mine")
