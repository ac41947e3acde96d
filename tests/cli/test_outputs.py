"""What is there already is kept, unless it is ours and --overwrite is given."""

import json

import numpy as np
import pytest
from PIL import Image

from basis.api import stream
from basis.evaluate.mixtures import load_mixtures
from basis.io.claim import claim
from basis.io.mark import read_mark
from basis.runs.write import file_names
from cli.shared import FILES, MIXTURE, close, content, fails


@pytest.fixture
def forbid(monkeypatch):
    """From now on a separation that begins fails the test."""

    def never(*_, **__):
        raise AssertionError("work was begun")

    def call():
        monkeypatch.setattr("basis.api.stream", never)

    return call


def test_a_folder_that_has_no_mark_of_ours_is_kept(separate, image, out, forbid):
    """Not even a result.json in it says that everything in it is ours."""
    forbid()
    folder = out / "image"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("precious")
    (folder / "result.json").write_text("{}")
    before = content(out)
    for flags in ([], ["--overwrite"], ["--resume"], ["--overwrite", "--resume"]):
        fails(separate(image, *flags), 2, f"{folder} holds what basis did not write (result.json, thesis.tex)")
        assert content(out) == before


def test_an_empty_folder_is_free(separate, image, out):
    (out / "image").mkdir(parents=True)
    assert separate(image).code == 0


def test_a_result_is_kept_before_any_work_and_says_how_to_go_on(separate, image, array, out, forbid):
    separate(array)
    before = content(out)
    forbid()
    fails(separate(image, array), 2, f"{out / 'array'} is there already", "--overwrite", "--resume", "--out")
    assert content(out) == before


def test_overwrite_leaves_what_is_not_ours(separate, expected, image, out):
    separate(image, "--samples", 2)
    (out / "image" / "thesis.tex").write_text("precious")
    assert separate(image, "--seed", 1, "--overwrite").code == 0
    assert sorted(path.name for path in (out / "image").iterdir()) == [*FILES, "thesis.tex"]
    assert (out / "image" / "thesis.tex").read_text() == "precious"
    assert json.loads((out / "image" / "result.json").read_text())["seed"] == 1


def test_a_new_file_does_not_take_the_place_of_somebody_elses(separate, image, out, forbid):
    """… which is seen before any work."""
    separate(image)
    (out / "image" / "samples.npy").write_text("precious")
    before = content(out)
    forbid()
    result = separate(image, "--samples", 2, "--overwrite")
    fails(result, 1, "samples.npy is in the way, and basis did not write it", "move it away")
    assert content(out) == before


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("mixtures", [1, 2])
def test_the_files_of_a_result_are_known_before(separate, array, out, mixtures, samples):
    np.save(array, np.stack([MIXTURE] * mixtures))
    separate(array, "--samples", samples)
    assert sorted(file_names(mixtures, 2, samples)) == sorted(read_mark(out / "array").files)


def test_a_file_that_was_edited_is_not_ours_any_more(separate, image, out, forbid):
    separate(image)
    forbid()
    (out / "image" / "panel.png").write_bytes(b"retouched")
    fails(separate(image, "--overwrite"), 2, "panel.png was changed after basis wrote it", "move it away")


def test_resume_does_what_is_missing(separate, expected, image, array, out, monkeypatch):
    separate(array)
    before = content(out / "array")
    worked = []
    monkeypatch.setattr("basis.api.stream", lambda *a, **k: worked.append(a) or stream(*a, **k))
    result = separate(image, array, "--resume")
    assert (result.code, len(worked), content(out / "array")) == (0, 1, before)
    assert f"{array}: there already, in {out / 'array'}" in result.out
    (out / "array" / "panel.png").unlink()
    assert separate(image, array, "--resume").code == 0
    assert len(worked) == 2
    assert (out / "array" / "panel.png").read_bytes() == before["panel.png"]


OTHERWISE = {
    "seed 0, not 1": ["--seed", 1],
    "samples 1, not 2": ["--samples", 2],
    "settings ": ["--set", "stability=inf"],
    "weights [1.0, 1.0], not [0.9, 1.0]": ["--weights", "0.9,1"],
}


@pytest.mark.parametrize("difference", OTHERWISE)
def test_resume_takes_no_result_of_other_settings(separate, array, out, difference):
    separate(array)
    before = content(out)
    flags = OTHERWISE[difference]
    fails(separate(array, "--resume", *flags), 2, f"{out / 'array'} is there, made with ", difference, "--overwrite")
    assert content(out) == before
    assert separate(array, "--resume", "--overwrite", *flags).code == 0
    assert content(out) != before


def test_resume_takes_no_result_of_another_input(separate, expected, array, out):
    separate(array, "--set", "stability=inf")
    np.save(array, MIXTURE / 2)
    fails(separate(array, "--set", "stability=inf", "--resume"), 2, "made with another input_sha256")
    separate(array, "--set", "stability=inf", "--resume", "--overwrite")
    close(out / "array", expected(MIXTURE / 2, stability=float("inf")).sources[0])


def test_a_second_process_is_told(separate, image, out, forbid):
    forbid()
    with claim(out):
        fails(separate(image), 2, f"{out} is being written by process ", " on ", " since ", "wait for it")
    assert not out.exists()


# Single files

FIGURES = ("evaluate", "digits", "--n", 2, "--method", "average")


def test_figures_are_kept_unless_overwrite(cli, prior, tmp_path, forbid):
    pytest.importorskip("sklearn")
    file = tmp_path / "figures.json"
    command = (*FIGURES, "--prior", prior, "--json", file)
    for foreign in ("{}", "precious", '["versions"]'):
        file.write_text(foreign)
        for flags in ([], ["--overwrite"], ["--resume"]):
            fails(cli(*command, *flags), 2, f"{file} is there, and basis did not write it", "another name")
            assert file.read_text() == foreign
    file.unlink()
    assert cli(*command).code == 0
    before = file.read_bytes()
    forbid()
    fails(cli(*command), 2, f"{file} is there already", "--overwrite", "--resume")
    fails(cli(*command, "--resume", "--seed", 1), 2, "made with seed 0, not 1")
    assert cli(*command, "--resume").out == f"{file}: there already\n"
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
    assert file.read_bytes() == before


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_samples_are_kept_unless_overwrite(cli, prior, tmp_path, suffix):
    file = tmp_path / f"samples{suffix}"
    Image.new("L", (8, 8)).save(file)
    foreign = file.read_bytes()
    for flags in ([], ["--overwrite"], ["--resume"]):
        fails(
            cli("generate", prior, "--n", 1, "--out", file, *flags), 2, f"{file} is there, and basis did not write it"
        )
        assert file.read_bytes() == foreign
    file.unlink()
    assert cli("generate", prior, "--n", 1, "--out", file).code == 0
    first = file.read_bytes()
    fails(cli("generate", prior, "--n", 2, "--out", file), 2, f"{file} is there already")
    fails(cli("generate", prior, "--n", 2, "--out", file, "--resume"), 2, "made with n 1, not 2")
    assert cli("generate", prior, "--n", 1, "--out", file, "--resume").out == f"{file}: there already\n"
    assert file.read_bytes() == first
    assert cli("generate", prior, "--n", 2, "--out", file, "--overwrite").code == 0
    assert Image.open(file).width > 240


def test_a_smaller_set_of_mixtures_replaces_a_larger_one_whole(cli, tmp_path):
    pytest.importorskip("sklearn")
    out = tmp_path / "mix"
    make = ("make-mixtures", "digits", "--out", out)
    assert cli(*make, "--n", 6).code == 0
    (out / "thesis.tex").write_text("precious")
    fails(cli(*make, "--n", 3, "--seed", 1), 2, f"{out} is there already", "--overwrite")
    fails(cli(*make, "--n", 3, "--resume"), 2, "made with n 6, not 3")
    assert "already in" in cli(*make, "--n", 6, "--resume").out
    assert len(load_mixtures(out).mixture) == 6
    assert cli(*make, "--n", 3, "--seed", 1, "--overwrite").code == 0
    names = [".basis.json", "00000.npz", "00001.npz", "00002.npz", "mixtures.json", "thesis.tex"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert load_mixtures(out).info["seed"] == 1


def test_a_demonstration_replaces_its_own(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("basis.api.stream", lambda *a, **k: stream(*a[:3], "average"))
    out = tmp_path / "demo"
    assert cli("demo", "--out", out).code == 0
    before = content(out)
    (out / "thesis.tex").write_text("precious")
    assert cli("demo", "--out", out).code == 0
    assert content(out) == before | {"thesis.tex": b"precious"}
