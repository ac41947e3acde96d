"""Broken checkpoints, bad recipes and losses that are not finite are named, and nothing is lost."""

import hashlib
import itertools
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from basis.io.checkpoint import WEIGHTS
from basis.io.mark import MARK

pytest.importorskip("accelerate", reason="training needs the extra 'train'")

from basis.train import loop
from basis.train.folder import CHECKPOINT
from basis.train.recipe import Noise, read_recipe
from train.shared import RECIPE, one_line


def foreign(kind):
    """Write a checkpoint.pt that is not one of this run."""

    def write(path):
        values = {
            "empty": b"",
            "text": b"this is not a checkpoint",
        }
        if kind in values:
            path.write_bytes(values[kind])
        elif kind == "cut off":
            path.write_bytes(path.read_bytes()[:2000])
        elif kind == "class":
            torch.save(Path("x"), path)
        elif kind == "list":
            torch.save([1, 2], path)
        elif kind == "other entries":
            torch.save({"model": {}}, path)
        elif kind == "no step":
            state = torch.load(path, weights_only=True)
            torch.save({name: state[name] for name in ("prior", "average", "optimizer")}, path)

    return write


KINDS = ["empty", "text", "cut off", "class", "list", "other entries", "no step"]


@pytest.fixture(scope="module")
def started(tmp_path_factory, data):
    """The folder of a run that was stopped at step 4."""
    folder = tmp_path_factory.mktemp("started")
    (folder / "tiny.toml").write_text(RECIPE)
    list(itertools.islice(loop.train(read_recipe(folder / "tiny.toml"), data, folder / "run"), 4))
    return folder / "run"


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_checkpoint(train, recipe, started, tmp_path, kind):
    path = Path(shutil.copytree(started, tmp_path / "run")) / CHECKPOINT
    foreign(kind)(path)
    before = path.read_bytes()
    code, _, errors = train(recipe(), "--out", path.parent)
    assert code == 2
    one_line(errors, f"{path} was changed after basis wrote it", "move it away")
    mark = json.loads((path.parent / MARK).read_text())
    mark["files"][CHECKPOINT] = hashlib.sha256(before).hexdigest()
    (path.parent / MARK).write_text(json.dumps(mark))  # as if a basis of another version had written it so
    code, _, errors = train(recipe(), "--out", path.parent)
    assert code == 1
    one_line(errors, f"{path} does not fit this recipe", "train into another --out folder")
    assert path.read_bytes() == before


BAD = {
    "steps": (("steps = 12\n", ""), "lacks steps"),
    "two": (('prior = "edm"\ndata = "digits"', ""), "lacks prior, data"),
    "entry": (("warmup", "warm_up"), "unknown entry in", "'warm_up'", "did you mean warmup?"),
    "noise": (("std = 1.2", "stdd = 1.2"), "noise.", "'stdd'", "did you mean std"),
    "prior": (('"edm"', '"edn"'), "unknown kind of prior 'edn'", "did you mean edm"),
    "data": (('"digits"', '"digit"'), "unknown data set 'digit'", "did you mean digits?"),
    "text": (("steps = 12", 'steps = "many"'), "steps takes a whole number (at least 1), got 'many'"),
    "half": (("batch = 32", "batch = 32.5"), "batch takes a whole number (at least 1), got 32.5"),
    "no noise": (("[noise]\nstd = 1.2", ""), None),
    "noise text": (("std = 1.2", 'std = "x"'), "noise.std takes a number (above 0, finite), got 'x'"),
    "noise number": (("[noise]\nstd = 1.2", ""), ("steps = 12", "noise = 3\nsteps = 12"), "noise takes a table, got 3"),
    "zero": (("every = 4", "every = 0"), "every takes a whole number (at least 1), got 0"),
    "negative": (("batch = 32", "batch = -1"), "batch takes a whole number (at least 1), got -1"),
    "precision": (("warmup", 'precision = "bf8"\nwarmup'), "'bf8'", "did you mean bf16"),
    "objective": (("warmup", 'objective = "likelihod"\nwarmup'), "'likelihod'", "did you mean likelihood"),
    "no density": (("warmup", 'objective = "likelihood"\nwarmup'), "prior 'edm' has no density"),
    "levels": (("[noise]", "[levels]\nmaxi = 3\n[noise]"), "levels.", "'maxi'", "did you mean max"),
    "known": (("warmup", "known = 0.5\nwarmup"), "known = 0.5 is to be a share", "a prior with an argument known"),
    "noise_correlation": (
        ("warmup", "known = 1.5\nwarmup"),
        ("[noise]", "known = [[1.0]]\n[noise]"),
        "known takes a number (at least 0, at most 1), got 1.5",
    ),
    "channels": (("[noise]", "known = [[0.5, 0.5]]\n[noise]"), "expected lists of 1 weights as known"),
    "known noise": (
        ("warmup", 'known = 0.5\nobjective = "score_matching"\nwarmup'),
        "objective 'score_matching' has noise in all of an example",
    ),
    "no classes": (("warmup", "labels = 0.5\nwarmup"), "labels = 0.5 wants a prior that tells classes apart"),
    "named noise": (
        ("warmup", 'labels = 0.5\nobjective = "score_matching"\nwarmup'),
        "objective 'score_matching' has no use for labels",
    ),
    "two networks": (
        ("[noise]", "classes = 10\nborders = [0.3]\n[noise]"),
        "classes = 10 wants one network, got borders [0.3]",
    ),
    "argument": (("widths", "width"), "unknown setting of kind of prior 'edm'", "'width'"),
    "no std": (("std = 0.3754\n", ""), "kind of prior 'edm' needs settings", "std"),
    "no network": (('"edm"', '"gaussian"'), "unknown setting of kind of prior 'gaussian'"),
    "size": (("[1, 8, 8]", "[1, 16, 16]"), "shape (1, 16, 16)", "'digits' (1, 8, 8)", "set shape to [1, 8, 8]"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_recipe(train, recipe, tmp_path, kind):
    replacements = [part for part in BAD[kind] if isinstance(part, tuple)]
    parts = [part for part in BAD[kind] if not isinstance(part, tuple)]
    if parts == [None]:
        assert read_recipe(recipe(*replacements)).noise == Noise()
        return
    code, _, errors = train(recipe(*replacements), "--out", tmp_path / "run")
    assert code == 2
    one_line(errors, *parts)
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_not_there(train, tmp_path):
    code, _, errors = train(tmp_path / "no.toml")
    assert code == 2
    one_line(errors, f"no recipe at {tmp_path / 'no.toml'}", "recipe:NAME")


@pytest.mark.parametrize("content", [b"steps: 12", b"\xff\xfe\x00"])
def test_a_recipe_that_is_not_toml(train, tmp_path, content):
    (tmp_path / "r.toml").write_bytes(content)
    code, _, errors = train(tmp_path / "r.toml")
    assert code == 1
    one_line(errors, "r.toml is not TOML", "recipes/mnist.toml")


def test_an_out_that_cannot_be_written(train, recipe):
    path = recipe()
    code, _, errors = train(path, "--out", path / "run")
    assert code == 2
    one_line(errors, f"cannot write into {path / 'run'}", "Not a directory", "another --out")


@pytest.mark.parametrize(("every", "message"), [(4, "the loss is"), (1, "the held-out loss is")])
def test_divergence(train, recipe, tmp_path, every, message):
    """No broken prior is written: neither when the loss stops being finite nor when a checkpoint's would."""
    path = recipe(
        ("every = 4", f"every = {every}"),
        ("warmup = 2", "learning_rate = 1e30\nwarmup = 1"),
        ("unit_weights = true", ""),
    )
    code, _, errors = train(path, "--out", tmp_path / "run")
    assert code == 1
    one_line(errors, message, "lower the recipe's learning_rate")
    assert re.search(r"at step \d", errors[0])
    assert not (tmp_path / "run" / WEIGHTS).exists()
    assert not (tmp_path / "run" / CHECKPOINT).exists()
