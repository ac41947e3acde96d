"""Priors on disk: what is written is what is read, and every damaged file is refused in one line with a remedy."""

import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

import basis
from basis.io import checkpoint
from basis.io.checkpoint import CARD, HEADER, WEIGHTS
from basis.io.durable import write_atomically
from basis.io.mark import MARK


@pytest.fixture
def folder(edm, arguments, tmp_path):
    return basis.save_prior(edm, arguments, tmp_path / "prior", card={"data": "none", "steps": 3})


def refused(error, message, *arguments, **keywords):
    with pytest.raises(error, match=message) as caught:
        basis.load_prior(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    assert "To fix: " in str(caught.value)


def test_round_trip(edm, folder):
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    single = folder.parent / "alone.safetensors"
    single.write_bytes((folder / WEIGHTS).read_bytes())
    for source in (folder, str(folder), folder / WEIGHTS, single):
        prior = basis.load_prior(source)
        assert type(prior) is type(edm)
        assert (prior.shape, prior.data_range, prior.mean, prior.std) == (edm.shape, edm.data_range, edm.mean, edm.std)
        assert torch.equal(prior.score(x, 0.3), edm.score(x, 0.3))
        assert not prior.training
        assert not any(parameter.requires_grad for parameter in prior.parameters())


def test_the_card_is_kept_and_holds_the_hash(folder):
    card = json.loads((folder / CARD).read_text())
    sha256 = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert card == {"data": "none", "steps": 3, "sha256": sha256}
    assert basis.load_prior(folder, sha256=sha256).shape == (1, 8, 8)


def test_writing_again_replaces(edm, arguments, folder):
    edm.network.gain.fill_(2.0)
    with pytest.raises(basis.UsageError, match=r"holds a prior already\. To fix: pass overwrite=True"):
        basis.save_prior(edm, arguments, folder)
    assert basis.load_prior(folder).network.gain == 0.5
    basis.save_prior(edm, arguments, folder, overwrite=True)
    assert basis.load_prior(folder).network.gain == 2
    assert sorted(path.name for path in folder.iterdir()) == [MARK, CARD, WEIGHTS]


def test_wrong_hash(folder):
    refused(basis.DataError, "has sha256 .* expected 0000", folder, sha256="0" * 64)
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"sha256": "f" * 64}))
    refused(basis.DataError, "has sha256 .* expected ffff", folder)


def test_one_changed_byte(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    refused(basis.DataError, "damaged or changed", folder)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated(folder, keep):
    content = (folder / WEIGHTS).read_bytes()[:keep]
    (folder / WEIGHTS).write_bytes(content)
    refused(basis.DataError, "has sha256", folder)
    (folder / CARD).unlink()
    refused(basis.DataError, "is not a safetensors file", folder)


def test_not_safetensors(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(2)}, path)
    refused(basis.DataError, "model.pt is not a safetensors file", path)


def rewrite(folder, change=None, header=None):
    """Store the folder's tensors again without a card, changed, under another header."""
    tensors = load_file(folder / WEIGHTS)
    with checkpoint.safetensors.safe_open(folder / WEIGHTS, "pt") as file:
        metadata = file.metadata()
    if change:
        change(tensors)
    path = folder.parent / "changed.safetensors"
    save_file(tensors, path, metadata if header is None else header)
    return path


def test_no_header(folder):
    refused(basis.DataError, "does not say which prior", rewrite(folder, header={}))
    refused(basis.DataError, "does not say which prior", rewrite(folder, header={"format": "pt"}))


CHANGES = {
    "missing": lambda tensors: tensors.pop("network.enter.weight"),
    "left over": lambda tensors: tensors.update({"network.enter.weight.copy": torch.zeros(1)}),
    "misshapen": lambda tensors: tensors.update({"network.enter.weight": torch.zeros(1, 2)}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_tensors_that_do_not_fit(folder, change):
    path = rewrite(folder, CHANGES[change])
    refused(
        basis.DataError,
        "does not hold what it describes: network.enter.weight.* (is missing|is left over|has shape)",
        path,
    )


def header_of(folder, **changes):
    with checkpoint.safetensors.safe_open(folder / WEIGHTS, "pt") as file:
        return {HEADER: json.dumps(json.loads(file.metadata()[HEADER]) | changes)}


def test_unknown_class_in_the_header(folder):
    path = rewrite(folder, header=header_of(folder, prior="edn"))
    refused(basis.UsageError, "unknown kind of prior 'edn'.*did you mean edm", path)


@pytest.mark.parametrize("kind", ["not json", "no class", "other arguments"])
def test_broken_header(folder, kind):
    header = {
        "not json": {HEADER: "{"},
        "no class": {HEADER: "{}"},
        "other arguments": header_of(folder, arguments={"size": 3}),
    }[kind]
    path = rewrite(folder, header=header)
    refused(basis.DataError, f"{path.name} does not describe a prior", path)


def test_broken_card(folder):
    (folder / CARD).write_text("{")
    refused(basis.DataError, f"{CARD} is not a JSON object", folder)


def test_unknown_name(monkeypatch, folder):
    monkeypatch.setattr(checkpoint, "PRETRAINED", folder.parent)
    assert basis.load_prior(folder.name).shape == (1, 8, 8)
    refused(basis.UsageError, "unknown prior 'pior'.*did you mean prior", "pior")
    refused(basis.UsageError, "unknown prior 'pior/prior'", "pior/prior")
    refused(basis.UsageError, "choose one of prior", "zzzz")


def test_folder_without_weights(tmp_path):
    refused(basis.UsageError, f"has no {WEIGHTS}", tmp_path)


class Broken:
    """A file on a disk that is full: takes half of the content."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        raise OSError("no space left on device")


def full_disk(monkeypatch):
    fdopen = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda *arguments: Broken(fdopen(*arguments)))


def no_rename(monkeypatch):
    def replace(*_):
        raise OSError("not permitted")

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("failure", [full_disk, no_rename])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_failed_write_leaves_what_was_there(failure, old, tmp_path, monkeypatch):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    with monkeypatch.context() as patch:
        failure(patch)
        with pytest.raises(OSError, match=r"no space|not permitted"):
            write_atomically(path, b"new content")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if old is None else [old])
    write_atomically(path, b"new content")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"new content"]


def test_a_written_file_can_be_read_by_others(tmp_path):
    write_atomically(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    (tmp_path / "file").chmod(0o600)
    write_atomically(tmp_path / "file", b"again")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
