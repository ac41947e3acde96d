"""`basis list`, `info`, `make-mixtures` and `evaluate`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import basis
from basis.core.separator import Separation
from basis.datasets.mnist import MNIST
from basis.evaluate.evaluation import digit_labels
from basis.evaluate.evaluation import evaluate as measure
from basis.evaluate.mixtures import draw_mixtures
from basis.evaluate.statistics import share_interval
from basis.io import checkpoint
from basis.metrics.digits_right import DigitsRight
from basis.metrics.ssim import ssim
from cli.shared import PAPER, fails

# basis list, info


def test_list(cli, prior, monkeypatch):
    monkeypatch.setattr(checkpoint, "PRETRAINED", Path(prior).parent)
    out = cli("list").out
    sections = dict(re.findall(r"^(\S.*):\n((?:  .*\n)+)", out, re.MULTILINE))
    chosen = {kind: [line.split()[0] for line in lines.splitlines()] for kind, lines in sections.items()}
    assert chosen["priors"] == ["tiny"]
    assert "a prior for tests" in sections["priors"]
    assert {"average", "basis"} <= set(chosen["methods"])
    assert {"digits", "mnist"} <= set(chosen["data sets"])
    for kind in ("mixings", "samplers", "posteriors", "kinds of prior", "metrics"):
        assert all(len(line.split()) > 3 for line in sections[kind].splitlines()), kind


def test_info(cli, prior):
    out = cli("info", prior).out
    assert "EDM over images of 1×8×8" in out
    count = sum(p.numel() for p in basis.load_prior(prior).parameters())
    assert f"parameters: {count:,}" in out
    assert json.loads(out[out.index("{") :])["summary"] == "a prior for tests"
    fails(cli("info", prior + "x"), 2, "unknown prior", "To fix")


# basis make-mixtures, evaluate


@pytest.fixture
def evaluate(cli, prior, tmp_path):
    """Call `basis evaluate`; return what was printed and the figures it wrote."""

    def call(data, *arguments):
        file = tmp_path / "figures.json"
        quick = () if "average" in arguments else PAPER
        result = cli("evaluate", data, "--prior", prior, "--json", file, "--overwrite", *quick, *arguments)
        assert result.code == 0, result
        return result, json.loads(file.read_text())

    return call


digits = pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn") and "digits"


def test_evaluate_average_is_what_one_computes_by_hand(cli, evaluate, tmp_path):
    assert cli("make-mixtures", digits, "--n", 6, "--seed", 4, "--out", tmp_path / "mix").code == 0
    psnrs = []
    for i in range(6):
        with np.load(tmp_path / "mix" / f"{i:05d}.npz") as file:
            error = file["sources"] - file["mixture"] / 2
            psnrs.append(np.mean(-10 * np.log10(np.mean(error.astype(np.float64) ** 2, (1, 2, 3)))))
    _, figures = evaluate(tmp_path / "mix", "--method", "average", "--n", 6)
    np.testing.assert_allclose(figures["psnr"], psnrs, rtol=1e-5)
    assert figures["psnr_mean"] == pytest.approx(np.mean(psnrs))
    assert figures["psnr_median"] == pytest.approx(np.median(psnrs))
    assert figures["psnr_standard_error"] == pytest.approx(np.std(psnrs, ddof=1) / np.sqrt(6))


def test_evaluate_gives_the_same_from_a_folder_from_the_data_and_for_every_batch_size(
    cli, evaluate, expected, tmp_path
):
    cli("make-mixtures", digits, "--n", 5, "--seed", 4, "--task", "split", "--out", tmp_path / "mix")
    printed, first = evaluate(tmp_path / "mix", "--seed", 4, "--n", 5)
    _, small = evaluate(tmp_path / "mix", "--seed", 4, "--n", 5, "--batch-size", 2)
    _, direct = evaluate(digits, "--seed", 4, "--n", 5, "--task", "split", "--batch-size", 5)
    for other in (small, direct):
        np.testing.assert_allclose(other["psnr"], first["psnr"], atol=1e-4)
    assert (first["n"], first["seed"], len(first["residual"])) == (5, 4, 5)
    assert np.isfinite(first["psnr"]).all()
    pairs = [np.load(tmp_path / "mix" / f"{i:05d}.npz") for i in range(5)]
    result = expected(np.stack([pair["mixture"] for pair in pairs]), seed=4)
    truth = torch.from_numpy(np.stack([pair["sources"] for pair in pairs]))
    np.testing.assert_allclose(first["psnr"], basis.psnr(result, truth).numpy(), atol=1e-4)
    row = printed.out.splitlines()[-2].split()
    shown = [first["n"], first["psnr_mean"], first["psnr_standard_error"], first["psnr_median"]]
    assert [float(value) for value in row[:4]] == pytest.approx(shown, abs=0.0051)


def test_evaluate_says_what_choosing_among_samples_gains(evaluate):
    options = ("--n", 3, "--method", "best_of", "--samples", 4)
    printed, figures = evaluate(digits, *options)
    candidates = np.array(figures["candidates"])
    _, single = evaluate(digits, "--n", 3)
    np.testing.assert_allclose(candidates[:, 0], single["psnr"], atol=1e-4)  # the first sample is the only one of n = 1
    assert all(psnr in row for psnr, row in zip(figures["psnr"], figures["candidates"], strict=True))
    first, best = candidates[:, 0].mean(), candidates.max(1).mean()
    wanted = f"of 4 samples: the first {first:.2f} dB, chosen {figures['psnr_mean']:.2f}, best by the truth {best:.2f}"
    assert any(line.startswith(wanted) for line in printed.out.splitlines())


@pytest.fixture
def mnist(monkeypatch):
    """The digits of the bundled pairs in the place of MNIST, with the labels that the classifier reads."""
    images = torch.from_numpy(np.concatenate([np.load(basis.example(f"two-{x}"))["sources"] for x in "abcde"]))
    labels = DigitsRight().read(images[:, None].float() / 255)[:, 0]
    monkeypatch.setattr(MNIST, "load", lambda self, split: (images, labels))
    return "mnist"


SIZED = ("--prior", "mnist", "--method", "average", "--n", 40)


def test_evaluate_measures_likeness_and_reading(evaluate, mnist):
    """The figures are those of the metrics, mixture by mixture."""
    printed, figures = evaluate(mnist, *SIZED, "--seed", 3)
    drawn = draw_mixtures(MNIST(), n=40, seed=3)
    estimate = (drawn.mixture / 2)[:, None].expand(-1, 2, -1, -1, -1)
    np.testing.assert_allclose(figures["ssim"], ssim(estimate, drawn.sources, (0, 1)), atol=1e-6)
    assert figures["digits_right"] == DigitsRight(drawn.info["labels"])(estimate, drawn.sources).tolist()
    assert 0 < figures["ssim_mean"] < 1
    assert 0 < figures["digits_right_mean"] < 0.5  # two of a kind, on top of each other
    for name in ("ssim", "digits_right"):
        assert figures[f"{name}_mean"] == pytest.approx(np.mean(figures[name]))
    assert figures["ssim_standard_error"] == pytest.approx(np.std(figures["ssim"], ddof=1) / np.sqrt(40))
    low, high = share_interval(figures["digits_right_mean"], 40)
    assert figures["digits_right_interval"] == [low, high]
    shown = f"SSIM {figures['ssim_mean']:.3f} ± {figures['ssim_standard_error']:.3f}, digits right in "
    shown += f"{figures['digits_right_mean']:.1%} of the mixtures (95 %: {low:.1%} to {high:.1%})"
    assert shown in printed.out
    assert printed.err == []


def test_all_digits_are_read_right_in_the_truth_itself(mnist):
    drawn = draw_mixtures(MNIST(), n=6)
    mixing, choice = basis.WeightedSum([1.0, 1.0]), torch.zeros(6, dtype=torch.int64)
    truth = Separation(drawn.sources.flip(1)[:, None], drawn.mixture, mixing, choice)
    found = measure(truth, drawn.sources, digit_labels(drawn.info), (0.0, 1.0))
    assert (found.right.tolist(), found.ssim.tolist()) == ([1] * 6, pytest.approx([1] * 6))
    plain = measure(truth, drawn.sources, data_range=(0.0, 1.0))
    assert plain.right is None
    assert plain.psnr.tolist() == [100] * 6


def test_evaluate_goes_on_without_torchmetrics(evaluate, mnist, monkeypatch):
    for name in ("torchmetrics", "torchmetrics.functional.image"):
        monkeypatch.setitem(sys.modules, name, None)
    printed, figures = evaluate(mnist, *SIZED)
    assert printed.err == ["basis: SSIM needs torchmetrics. To fix: pip install 'basis-separation[metrics]'"]
    assert "ssim" not in figures
    assert "SSIM" not in printed.out
    assert len(figures["psnr"]) == len(figures["digits_right"]) == 40


def test_images_that_are_too_small_have_no_ssim_and_other_digits_are_not_read(evaluate):
    printed, figures = evaluate(digits, "--method", "average", "--n", 3)
    assert not {"ssim", "ssim_mean", "digits_right", "digits_right_mean"} & figures.keys()
    assert (printed.err, "SSIM" in printed.out) == ([], False)


def test_part_of_a_folder_has_the_labels_of_its_mixtures(cli, evaluate, mnist, tmp_path):
    cli("make-mixtures", mnist, "--n", 40, "--out", tmp_path / "mix")
    _, whole = evaluate(mnist, *SIZED)
    _, part = evaluate(tmp_path / "mix", *SIZED, "--n", 7)
    assert part["digits_right"] == whole["digits_right"][:7]
    for key in ("labels", "index"):
        assert part["mixtures"][key] == whole["mixtures"][key][:7]


def test_evaluate_part_of_a_folder(cli, evaluate, tmp_path):
    cli("make-mixtures", digits, "--n", 4, "--out", tmp_path / "mix")
    _, whole = evaluate(tmp_path / "mix", "--method", "average", "--n", 4)
    printed, part = evaluate(tmp_path / "mix", "--method", "average", "--n", 2)
    assert part["psnr"] == whole["psnr"][:2]
    assert printed.err == ["basis: the first 2 of 4 mixtures; pass --n for more"]


def test_weights_reach_the_mixtures_and_the_figures(cli, evaluate, tmp_path):
    cli("make-mixtures", digits, "--n", 2, "--weights", "0.2,0.5,0.3", "--out", tmp_path / "mix")
    with np.load(tmp_path / "mix" / "00001.npz") as file:
        np.testing.assert_allclose(np.tensordot([0.2, 0.5, 0.3], file["sources"], 1), file["mixture"], atol=1e-6)
    _, figures = evaluate(tmp_path / "mix", "--n", 2, "--method", "average")
    assert figures["weights"] == [0.2, 0.5, 0.3]


EVALUATE = {
    "evaluate digitz": (2, ["unknown data set 'digitz'", "did you mean digits?"]),
    "evaluate digits --task splitt": (2, ["unknown task 'splitt'", "did you mean split?"]),
    "evaluate digits --split tests": (2, ["unknown split 'tests'", "choose one of train, validation, test"]),
    "evaluate digits --n 2 --method averag": (2, ["unknown method 'averag'", "did you mean average?"]),
    "evaluate digits --n 2 --json file/f.json": (2, ["cannot write into file/f.json", "choose another file"]),
    "evaluate .": (1, ["is not a folder of mixtures", "`basis make-mixtures`"]),
    "make-mixtures mnits": (2, ["unknown data set 'mnits'", "did you mean mnist"]),
    "make-mixtures digits --task spilt": (2, ["unknown task 'spilt'", "did you mean split?"]),
    "make-mixtures digits --out file/x": (2, ["cannot write into file/x", "choose another --out"]),
}


@pytest.mark.parametrize("arguments", EVALUATE)
def test_evaluate_usage(cli, prior, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    prior = ["--prior", prior, *PAPER] if arguments.startswith("evaluate") else []
    prior = prior[:2] if "--method" in arguments else prior
    code, parts = EVALUATE[arguments]
    fails(cli(*arguments.split(), *prior), code, *parts)


@pytest.mark.parametrize("arguments", ["--n 0", "--n -1", "-k 1", "--seed -1"])
@pytest.mark.parametrize("command", ["evaluate", "make-mixtures"])
def test_mixtures_out_of_range(cli, prior, tmp_path, command, arguments):
    extra = ["--prior", prior] if command == "evaluate" else ["--out", tmp_path / "mix"]
    result = cli(command, digits, *arguments.split(), *extra)
    assert (result.code, len(result.err)) == (2, 1)
    wanted = (
        "'--seed': Input should be greater than or equal to 0" if "seed" in arguments else "expected at least 2 sources"
    )
    assert wanted in result.err[0]


@pytest.mark.parametrize("n", [0, -1])
def test_no_mixtures_of_a_folder(cli, prior, tmp_path, n):
    cli("make-mixtures", digits, "--n", 2, "--out", tmp_path / "mix")
    result = cli("evaluate", tmp_path / "mix", "--prior", prior, "--n", n)
    assert (result.code, result.err[-1]) == (2, f"basis: expected n >= 1, got {n}. To fix: for instance --n 100")


# The program


def test_the_module_is_the_program():
    run = subprocess.run([sys.executable, "-m", "basis", "--help"], capture_output=True, text=True, check=True)
    for command in ("separate", "demo", "train", "list", "info", "make-mixtures", "evaluate"):
        assert re.search(rf"\b{command}\b", run.stdout)
