"""Weights and card change together: for readers at any moment, and beside the user's own files."""

import json
import shutil
import threading

import pytest
import torch

import basis
from basis.io.checkpoint import CARD, WEIGHTS, read_card
from basis.io.output import MARK, READY
from basis.priors.edm import EDM


def gain(folder):
    return basis.load_prior(folder).network.gain.item()


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def save(arguments):
    def call(folder, value, **options):
        torch.manual_seed(0)
        prior = EDM(**arguments)
        prior.network.gain.data.fill_(value)
        return basis.save_prior(prior, arguments, folder, {"gain": value}, **options)

    return call


def test_files_of_the_user_stay(save, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    save(tmp_path, 0.5)
    save(tmp_path, 0.25, overwrite=True)
    assert gain(tmp_path) == 0.25
    assert sorted(content(tmp_path)) == [MARK, CARD, WEIGHTS, "thesis.tex"]
    assert content(tmp_path)["thesis.tex"] == b"precious"


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
@pytest.mark.parametrize("overwrite", [True, False])
def test_files_of_these_names_that_are_not_ours_stay(save, tmp_path, name, overwrite):
    (tmp_path / name).write_text("precious")
    with pytest.raises(basis.DataError, match=rf"{name} is in the way, and basis did not write it"):
        save(tmp_path, 0.5, overwrite=overwrite)
    assert content(tmp_path) == {name: b"precious"}


def test_a_card_that_was_edited_stays(save, tmp_path):
    save(tmp_path, 0.5)
    card = json.loads((tmp_path / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps({**card, "notes": "my best one"}))
    before = content(tmp_path)
    with pytest.raises(basis.UsageError, match=rf"{CARD} was changed after basis wrote it"):
        save(tmp_path, 0.25, overwrite=True)
    assert content(tmp_path) == before


@pytest.mark.parametrize("moved", [(), (CARD,), (CARD, WEIGHTS)])
def test_a_reader_of_what_a_killed_writer_left_changes_nothing(save, tmp_path, moved):
    """The new model was decided on; none, one or both of its files were moved to their places."""
    folder = save(tmp_path / "prior", 0.5)
    save(tmp_path / "new", 0.25)
    (tmp_path / "new").rename(folder / READY)
    for name in moved:
        (folder / READY / name).replace(folder / name)
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for source in (folder, folder / WEIGHTS):
        assert gain(source) == 0.25
        assert read_card(folder / WEIGHTS)["gain"] == 0.25
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    save(folder, 0.125, overwrite=True)
    assert gain(folder) == 0.125
    assert sorted(content(folder)) == [MARK, CARD, WEIGHTS]


def test_a_reader_beside_a_writer_always_finds_a_whole_model(save, tmp_path):
    save(tmp_path / "prior", 1.0)
    writer = threading.Thread(target=lambda: [save(tmp_path / "prior", i / 64, overwrite=True) for i in range(20)])
    writer.start()
    found = []
    while writer.is_alive():
        found.append(gain(tmp_path / "prior"))
    assert set(found) <= {1.0, *(i / 64 for i in range(20))}
    assert gain(tmp_path / "prior") == 19 / 64


def test_a_copy_without_its_mark_loads(save, tmp_path):
    folder = save(tmp_path / "prior", 0.5)
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns(".*"))
    assert gain(tmp_path / "copy") == 0.5
