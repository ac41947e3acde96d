"""What the command line says of a result's worth, and `--invert`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.signals._pictures import GAP, LABEL, TILE
from cli.shared import IMAGE, MIXTURE, PIXELS, QUICK, close

DIGITS = np.load(basis.example("two-a"))["sources"].sum(0)[0] / 2
QUICK_DIGITS = ("--method", "fast", "--steps", 12)


def facts(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture
def paper(tmp_path):
    """Two digits, black on white."""
    Image.fromarray((255 - DIGITS).astype(np.uint8)).save(tmp_path / "paper.png")
    return tmp_path / "paper.png"


def test_ink_on_paper_gets_a_warning(cli, paper, out):
    result = cli("separate", paper, *QUICK_DIGITS, "--out", out)
    assert result.code == 0
    assert len(result.err) == 1
    assert result.err[0].startswith(f"basis: warning: {paper}: the sources found are unlike what this prior knows")
    assert "To fix: try --invert" in result.err[0]
    assert "sources likelier than 0%, 0% of the prior's own" in result.out
    assert facts(out / "paper")["unlikely"] is True


def test_ink_on_paper_inverted(cli, paper, out):
    result = cli("separate", paper, *QUICK_DIGITS, "--invert", "--out", out)
    assert (result.code, result.err) == (0, [])
    told = facts(out / "paper")
    assert (told["inverted"], told["unlikely"], told["plausibility_evaluations"]) == (True, False, 3)
    first, second = (f"{share:.0%}" for share in told["plausibility"])
    assert f"paper.png: sources likelier than {first}, {second} of the prior's own, residual " in result.out
    truth = torch.from_numpy(np.load(basis.example("two-a"))["sources"] / np.float32(255))
    assert basis.psnr(torch.from_numpy(np.load(out / "paper" / "sources.npy"))[None], truth[None], (0, 1)) > 20


@pytest.mark.parametrize("weights", [None, "0.25,0.75"])
def test_invert_is_a_negative(separate, tmp_path, out, weights):
    Image.fromarray(PIXELS).save(tmp_path / "positive.png")
    Image.fromarray(255 - PIXELS).save(tmp_path / "negative.png")
    np.save(tmp_path / "array.npy", (2 if weights is None else 1) - MIXTURE / 2)
    extra = () if weights is None else ("--weights", weights)
    separate(tmp_path / "positive.png", *extra)
    assert separate(tmp_path / "negative.png", tmp_path / "array.npy", "--invert", *extra).code == 0
    close(out / "negative", torch.from_numpy(np.load(out / "positive" / "sources.npy")))
    np.save(tmp_path / "plain.npy", MIXTURE / 2)
    separate(tmp_path / "plain.npy", *extra)
    close(out / "array", torch.from_numpy(np.load(out / "plain" / "sources.npy")))


def test_a_result_that_was_inverted_is_another_one(separate, image):
    assert separate(image).code == 0
    result = separate(image, "--invert", "--resume")
    assert result.code == 2
    assert "invert" in result.err[0]


def test_count_warns_and_inverts(cli, paper, tmp_path):
    quick = ("--most", 2, "--method", "fast", "--set", "steps=12")
    warned = cli("count", paper, *quick)
    assert "unlike what this prior knows" in warned.err[0]
    assert "--invert" in warned.err[0]
    inverted = cli("count", paper, *quick, "--invert")
    assert (inverted.code, inverted.err) == (0, [])
    assert ": 2 sources (" in inverted.out
    np.save(tmp_path / "array.npy", DIGITS / 255)
    refused = cli("count", tmp_path / "array.npy", *quick, "--invert")
    assert refused.code == 1
    assert "--invert takes images" in refused.err[0]


def test_without_a_calibration_it_says_so(separate, image, out):
    result = separate(image)
    assert "the prior is not calibrated (see `basis calibrate`), residual" in result.out
    assert "plausibility" not in facts(out / "image")


def test_several_samples_show_their_spread(separate, expected, image, out):
    result = separate(image, "--samples", 3)
    found = expected(2 * IMAGE, samples=3).assessment
    told = facts(out / "image")
    assert (told["candidates"], told["agreement"]) == (3, pytest.approx(found.agreement.item()))
    assert f"{round(3 * told['agreement'])} of 3 candidates agree" in result.out
    with Image.open(out / "image" / "panel.png") as panel:
        grey = np.asarray(panel.convert("L"), dtype=int)
    row = LABEL + GAP + 3 * (TILE + GAP)
    for k in (0, 1):
        tile = grey[row:, GAP + (k + 1) * (TILE + GAP) :][:TILE:14, :TILE:14]
        assert np.abs(tile - 2 * 255 * found.spread[0, k, 0].numpy()).max() <= 1
    assert (grey[row + TILE + GAP :] < 128).any()  # the notes


def test_windows_of_several_sources_get_a_warning(separate, tmp_path):
    Image.fromarray(np.tile(PIXELS, (2, 2))).save(tmp_path / "large.png")
    result = separate(tmp_path / "large.png", "--windows", *(f"--set={k}={v}" for k, v in {"levels": 1}.items()))
    assert result.code == 0
    assert "windows do not agree on which picture is whose" in result.err[1]
    assert QUICK["method"] in facts(tmp_path / "out" / "large")["method"]
