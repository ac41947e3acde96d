"""The folder of a run: what is there is repaired, gone on with or refused, and never lost."""

import itertools
import json

import pytest
import torch

import basis
from basis.io.checkpoint import CARD, WEIGHTS
from basis.io.mark import MARK

pytest.importorskip("accelerate", reason="training needs the extra 'train'")

from basis.train import loop
from basis.train.folder import CHECKPOINT
from basis.train.recipe import read_recipe
from train.shared import one_line


class Unread:
    """A data set that nobody may ask for images."""

    def images(self, split):
        raise AssertionError("read before the folder was looked at")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def done(recipe, data, tmp_path):
    """The folder of a finished run, and its recipe."""
    plan = read_recipe(recipe())
    list(loop.train(plan, data, tmp_path / "run"))
    return tmp_path / "run", plan


@pytest.mark.parametrize("lost", [(WEIGHTS,), (CARD,), (WEIGHTS, CARD)])
def test_weights_and_card_are_made_again_from_the_checkpoint(done, data, lost):
    folder, plan = done
    before = content(folder)
    for name in lost:
        (folder / name).unlink()
    assert list(loop.train(plan, data, folder)) == []
    assert content(folder) == before
    assert basis.load_prior(folder).shape == (1, 8, 8)


def test_a_run_that_was_stopped_ends_with_the_bytes_of_an_unbroken_one(done, data, tmp_path):
    folder, plan = done
    list(itertools.islice(loop.train(plan, data, tmp_path / "stopped"), 6))
    torch.manual_seed(1234)
    list(loop.train(plan, data, tmp_path / "stopped"))
    for name in (WEIGHTS, CARD):
        assert content(tmp_path / "stopped")[name] == content(folder)[name]


@pytest.mark.parametrize("name", [CHECKPOINT, WEIGHTS, CARD])
def test_a_file_that_was_changed_is_never_replaced(done, name):
    folder, plan = done
    (folder / name).write_text("my own words")
    before = content(folder)
    with pytest.raises(basis.UsageError, match=rf"{name} was changed after basis wrote it\. To fix: move it away"):
        next(loop.train(plan, Unread(), folder))
    assert content(folder) == before


def test_a_run_without_its_checkpoint_is_not_begun_anew(done, data):
    folder, plan = done
    unbroken = content(folder)
    (folder / CHECKPOINT).unlink()
    before = content(folder)
    with pytest.raises(basis.UsageError, match=rf"has lost its {CHECKPOINT}.*pass --overwrite to train anew"):
        next(loop.train(plan, Unread(), folder))
    assert content(folder) == before
    list(loop.train(plan, data, folder, overwrite=True, resume=False))
    assert content(folder)[WEIGHTS] == unbroken[WEIGHTS]


@pytest.mark.parametrize("name", ["thesis.tex", WEIGHTS, CHECKPOINT])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_of_something_else(recipe, tmp_path, name, overwrite):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("precious")
    with pytest.raises(basis.UsageError, match=rf"holds what basis did not write \({name}\).*To fix: move it away"):
        next(loop.train(read_recipe(recipe()), Unread(), tmp_path / "run", overwrite=overwrite))
    assert content(tmp_path / "run") == {name: b"precious"}


def test_a_folder_of_a_prior(train, recipe, edm, arguments, tmp_path):
    basis.save_prior(edm, arguments, tmp_path / "prior")
    before = content(tmp_path / "prior")
    code, _, errors = train(recipe(), "--out", tmp_path / "prior", "--overwrite")
    assert code == 2
    one_line(errors, "holds a prior, not a training", "choose another --out")
    assert content(tmp_path / "prior") == before


def test_the_run_of_another_recipe(train, done, recipe, data, tmp_path):
    """Refused before the data are read; overwritten where that is asked for, from the first checkpoint on."""
    folder, _ = done
    (folder / "notes.txt").write_text("precious")
    before = content(folder)
    other = recipe(("batch = 32", "batch = 16"), ("ema = 64", "ema = 32"))
    with pytest.raises(basis.UsageError, match=r"made with batch 32, not 16, ema 64, not 32\. To fix: "):
        next(loop.train(read_recipe(other), Unread(), folder))
    code, _, errors = train(other, "--out", folder)
    assert code == 2
    one_line(errors, "batch 32, not 16")
    anew = loop.train(read_recipe(other), data, folder, overwrite=True)
    list(itertools.islice(anew, 3))
    anew.close()
    assert content(folder) == before
    list(loop.train(read_recipe(other), data, folder, overwrite=True))
    list(loop.train(read_recipe(other), data, tmp_path / "fresh"))
    assert content(folder)[WEIGHTS] == content(tmp_path / "fresh")[WEIGHTS]
    assert content(folder)["notes.txt"] == b"precious"


def test_what_may_change_when_a_run_goes_on(done, data):
    folder, plan = done
    from dataclasses import replace

    steps = [progress.step for progress in loop.train(replace(plan, steps=14, every=2, decay=0.1), data, folder)]
    assert steps == [13, 14]


def test_a_run_goes_on_with_the_prior_that_it_started_from(train, done, recipe, data, tmp_path):
    folder, plan = done
    list(itertools.islice(loop.train(plan, data, tmp_path / "second", start=folder), 4))
    with pytest.raises(basis.UsageError, match=r"made with another started_from\. To fix: "):
        next(loop.train(plan, Unread(), tmp_path / "second", start="mnist"))
    list(loop.train(plan, data, tmp_path / "second"))
    list(loop.train(plan, data, tmp_path / "unbroken", start=folder))
    for name in (WEIGHTS, CARD):
        assert content(tmp_path / "second")[name] == content(tmp_path / "unbroken")[name]


def test_a_second_process_is_told_of_the_first(train, recipe, data, tmp_path):
    first = loop.train(read_recipe(recipe()), data, tmp_path / "run")
    next(first)
    code, _, errors = train(recipe(), "--out", tmp_path / "run")
    assert code == 2
    one_line(errors, f"{tmp_path / 'run'} is being written by process ")
    assert [progress.step for progress in first] == list(range(2, 13))


def test_a_recipe_that_came_to_nothing_leaves_the_folder_free(train, recipe, data, tmp_path):
    """A mark alone, as a kill before the first checkpoint leaves it beside a log, binds nobody."""
    first = loop.train(read_recipe(recipe()), data, tmp_path / "run")
    next(first)
    (tmp_path / "run" / "log").mkdir()
    first.close()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [MARK, "log"]
    other = read_recipe(recipe(("batch = 32", "batch = 16")))
    assert len(list(loop.train(other, data, tmp_path / "run"))) == 12
    assert json.loads((tmp_path / "run" / MARK).read_text())["request"]["batch"] == 16
