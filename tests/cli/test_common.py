"""Options of every command: --config, --quiet, --verbose, --version."""

import json

import pytest
import torch

import basis
from basis.cli.progress import progress
from basis.cli.voice import VOICE
from cli.shared import FILES, fails


@pytest.fixture
def config(tmp_path):
    def write(text):
        (tmp_path / "options.toml").write_text(text)
        return tmp_path / "options.toml"

    return write


def test_a_file_gives_options_and_the_command_line_wins(cli, prior, image, out, config, expected):
    file = config(f"""
        prior = "{prior}"
        method = "basis"
        weights = [0.25, 0.75]
        steps = 2
        levels = 7
        noise = 1e-3
        seed = 5
        overwrite = true
        set = ["project=false"]
        """)
    assert cli("separate", image, "--config", file, "--levels", 2, "--out", out).code == 0
    facts = json.loads((out / "image" / "result.json").read_text())
    assert facts["settings"] == {"steps": 2, "levels": 2, "project": False}
    assert (facts["weights"], facts["noise"], facts["seed"]) == ([0.25, 0.75], 1e-3, 5)
    table = config(f'prior = "{prior}"\nmethod = "basis"\nlevels = 2\nseed = 5\n[set]\nproject = false\nsteps = 2')
    assert cli("separate", image, "--config", table, "--out", out, "--overwrite").code == 0
    assert json.loads((out / "image" / "result.json").read_text())["settings"]["project"] is False


def test_a_file_gives_what_a_command_needs(cli, prior, tmp_path, config):
    file = config(f'borders = 0.3\nout = "{tmp_path / "both"}"')
    assert cli("combine", prior, prior, "--config", file).code == 0
    assert basis.load_prior(tmp_path / "both").shape == (1, 8, 8)


WRONG = {
    "budgt = 3": (2, "unknown option of separate in", "budgt", "did you mean budget?"),
    "config = 'x'": (2, "unknown option of separate in", "'config'"),
    "overwrite = 'yes'": (2, "overwrite takes true or false", '"yes"'),
    "seed = -1": (2, "--seed"),
    "seed = true": (2, "seed takes text or a number"),
    "seed = 'a": (1, "is not TOML"),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_files(cli, image, out, config, text):
    code, *parts = WRONG[text]
    fails(cli("separate", image, "--out", out, "--config", config(text)), code, *parts)
    assert not out.exists()


def test_no_file(cli, image, tmp_path):
    fails(cli("separate", image, "--config", tmp_path / "none.toml"), 2, "cannot read", "none.toml")


@pytest.mark.parametrize("where", ["before", "after"])
def test_quiet_leaves_errors(separate, cli, image, prior, out, where):
    options = ["--prior", prior, "--method", "basis", "--steps", 2, "--levels", 2, "--out", out]
    command = ["-q", "separate"] if where == "before" else ["separate", "--quiet"]
    result = cli(*command, image, image.with_name("none.png"), *options)
    assert (result.code, result.out, len(result.err)) == (1, "", 2)
    assert "none.png does not exist" in result.err[0]
    assert sorted(path.name for path in (out / "image").iterdir()) == FILES


def test_quiet_leaves_out_warnings(separate, image):
    """A picture that is larger than the prior's is separated in windows, with a warning."""
    from PIL import Image

    Image.new("L", (9, 8), 90).resize((12, 8)).save(image)
    loud = separate(image, "--windows")
    assert (loud.code, len(loud.err) > 1) == (0, True)
    quiet = separate(image, "--windows", "--overwrite", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", [])


def test_quiet_keeps_what_was_asked_for(cli):
    assert cli("list", "-q").out == cli("list").out != ""


def test_verbose_tells_of_settings_time_and_versions(separate, image, out):
    result = separate(image, "-v")
    assert result.code == 0
    assert any("method basis, steps=2, levels=2" in line for line in result.err)
    assert any("EDM over 1×8×8" in line and "parameters, on cpu" in line for line in result.err)
    assert f"basis {basis.__version__}, torch {torch.__version__.partition('+')[0]}" in result.err[-1]
    assert separate(image, "--overwrite").err == []  # the next command is as loud as ever


def test_quiet_and_verbose(separate, image):
    fails(separate(image, "-q", "-v"), 2, "--quiet and --verbose")


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    clock = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with progress("digits", 20) as bar:
        for i in range(20):
            bar.set_postfix_str(f"sigma {i}")
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "basis: digits: step 5 of 20, 5 s, 15 s left, sigma 4"
    assert [line.split()[3] for line in lines] == ["5", "10", "15", "20"]
    monkeypatch.setattr(VOICE, "level", 0)
    with progress("digits", 20) as bar:
        bar.update(20)
    assert capsys.readouterr().err == ""
