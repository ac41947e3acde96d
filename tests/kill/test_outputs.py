"""`separate`, `colorize`, `generate`, `make-mixtures` and `evaluate`, killed before and after each change of a file."""

import shutil
import signal

import numpy as np
import pytest
from PIL import Image

import basis
from basis.evaluate.mixtures import load_mixtures
from basis.io.mark import MARK, read_mark
from basis.io.output import READY
from cli.shared import MIXTURE, PIXELS, make_prior
from kill.shared import content, sweep

THESIS = "the only copy"
AVERAGE = ["--prior", "prior", "--method", "average"]
SET = ["make-mixtures", "folder:pictures,size=8,channels=1", "--data-dir", "."]
COMMANDS = {
    "separate": ["separate", "image.png", "array.npy", *AVERAGE],
    "colorize": ["colorize", "image.png", "--prior", "colour", "--method", "average", "--samples", "2"],
    "generate": ["generate", "gaussian", "--n", "2", "--out", "samples.png"],
    "make-mixtures": [*SET, "--n", "3"],
    "evaluate": ["evaluate", "set", *AVERAGE, "--n", "2", "--json", "figures.json"],
}
OLDER = {  # what was made before, and is replaced
    "separate": ["separate", "image.png", "array.npy", "batch.npy", *AVERAGE, "--samples", "2", "--seed", "1"],
    "colorize": ["colorize", "image.png", "--prior", "colour", "--method", "average", "--samples", "3"],
    "generate": ["generate", "gaussian", "--n", "3", "--out", "samples.png"],
    "make-mixtures": [*SET, "--n", "5", "--seed", "1"],
    "evaluate": ["evaluate", "set", *AVERAGE, "--n", "3", "--json", "figures.json"],
}
LEAST = {"separate": 40, "colorize": 30, "make-mixtures": 40, "generate": 12, "evaluate": 12}  # points that there are
FEW = 5  # points of the fast tests


def cases(*fast):
    """Return all commands with all points, which is slow, and some with few points."""
    every = [pytest.param(name, None, marks=pytest.mark.slow, id=f"{name}-all") for name in COMMANDS]
    return pytest.mark.parametrize(("name", "points"), [*((name, FEW) for name in fast), *every])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, warm):
    """A folder of all that the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    make_prior(folder / "prior", seed=0, mean=0.3)
    make_prior(folder / "colour", seed=1, mean=0.5, shape=[3, 8, 8])
    arguments = {"weights": [1.0], "means": np.full((1, 1, 4, 4), 0.5).tolist(), "covariances": [np.eye(16).tolist()]}
    basis.save_prior(basis.GaussianMixture(**arguments), arguments, folder / "gaussian")
    Image.fromarray(PIXELS).save(folder / "image.png")
    np.save(folder / "array.npy", MIXTURE)
    np.save(folder / "batch.npy", np.stack([MIXTURE, MIXTURE / 2]))
    (folder / "pictures" / "test").mkdir(parents=True)
    for i in range(8):
        Image.fromarray(np.roll(PIXELS, i)).save(folder / "pictures" / "test" / f"{i}.png")
    assert warm.run([*SET, "--n", "4", "--out", "set"], folder).code == 0
    return folder


@pytest.fixture(scope="module")
def older(tmp_path_factory, warm, inputs):
    """A function that gives a folder of the inputs in which a command has run before, and of a user's files."""
    made = {}

    def call(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("older") / "x"
            shutil.copytree(inputs, made[name])
            assert warm.run(OLDER[name], made[name]).code == 0
            for place in ("out/image", "mixtures", "."):
                if (made[name] / place).is_dir():
                    (made[name] / place / "thesis.tex").write_text(THESIS)
        return made[name]

    return call


def copy_of(source):
    return lambda folder: shutil.copytree(source, folder, dirs_exist_ok=True)


def user_files(folder):
    (folder / "out").mkdir()
    (folder / "thesis.tex").write_text(THESIS)
    (folder / "out" / "thesis.tex").write_text(THESIS)


@cases("separate", "generate", "make-mixtures")
def test_a_killed_first_run_is_completed_by_resume(warm, inputs, tmp_path, name, points):
    def prepare(folder):
        copy_of(inputs)(folder)
        user_files(folder)

    command = COMMANDS[name]
    assert sweep(warm, tmp_path / "x", prepare, command, [*command, "--resume"], points=points) >= LEAST[name]


@cases("separate", "make-mixtures", "evaluate")
def test_a_killed_overwrite_leaves_the_old_result_or_the_new_one(warm, older, tmp_path, name, points):
    """… or one that says so, and that the next writer or reader completes; and nobody else's file is touched."""
    start = older(name)
    before = content(start)

    def check(folder):
        assert (folder / "thesis.tex").read_text() == THESIS
        for mark in start.rglob(MARK):
            place = folder / mark.parent.relative_to(start)
            if not (place / READY).is_dir():
                is_whole(place)
        if name == "make-mixtures":
            assert mixtures_of_one_set(folder / "mixtures")

    command = [*COMMANDS[name], "--overwrite"]
    total = sweep(warm, tmp_path / "x", copy_of(start), command, command, points=points, check=check)
    assert total >= LEAST[name]
    if name == "separate":  # what this run did not make is as it was
        after = content(tmp_path / "x")
        assert all(after[path] == text for path, text in before.items() if path.startswith("out/batch"))


def is_whole(folder):
    """Check that a result folder holds what its mark says: one result, not parts of two."""
    mark = read_mark(folder)
    assert (mark.missing(folder), mark.changed(folder)) == ([], [])
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in found if not name.startswith((".basis", "thesis"))} == set(mark.files)


def mixtures_of_one_set(folder):
    """Whether a reader gets all of one set: 3 mixtures of seed 0, or 5 of seed 1."""
    read = load_mixtures(folder)
    seed, n = read.info["seed"], len(read.mixture)
    return (seed, n, len(read.info["index"])) in {(0, 3, 3), (1, 5, 5)}


@pytest.mark.parametrize("send", [signal.SIGTERM, signal.SIGINT])
@cases("separate")
def test_a_stopped_command_leaves_nothing_half_done(warm, older, tmp_path, name, points, send):
    command = [*COMMANDS[name], "--overwrite"]
    sweep(warm, tmp_path / "x", copy_of(older(name)), command, command, points=points, send=send)
