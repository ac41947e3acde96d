"""`basis reproduce`: the plan, the table, what it refuses, and stopping it."""

import os
import re

import pytest

from basis.core.errors import DataError
from basis.datasets.cifar10 import CIFAR10
from basis.datasets.mnist import MNIST
from basis.paper.store import Store
from cli.shared import fails


@pytest.fixture
def nothing(monkeypatch):
    """No published data set."""

    def lacking(*_):
        raise DataError("no data here")

    monkeypatch.setattr(MNIST, "load", lacking)
    monkeypatch.setattr(CIFAR10, "load", lacking)


def test_what_is_missing_stands_in_notes_under_the_figures(cli, nothing, out):
    result = cli("reproduce", "table1", "table2", "--n", 3, "--out", out)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].startswith("in all 0 evaluations")
    row = next(line for line in lines if line.startswith("  BASIS (NCSN), agnostic, PSNR"))
    assert re.search(r"published +29\.30  not measured \[(\d+)\]$", row)
    note = re.search(r"\[(\d+)\]", row)[1]
    below = lines[lines.index(row) :]
    assert any(line.startswith(f"  [{note}] prior mnist-ncsn: ") for line in below)
    assert lines[-1] == str(out / "report.html")
    assert (out / "report.html").is_file()


def test_the_plan_alone_writes_nothing(cli, nothing, out):
    assert cli("reproduce", "all", "--plan", "--out", out).code == 0
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["tabel2"], ["unknown table or figure 'tabel2'", "did you mean table2"]),
        (["table2", "--n", 0], ["expected n >= 1"]),
        (["table2", "--prior", "mnist-nscn=x"], ["unknown prior of the paper 'mnist-nscn'", "mnist-ncsn"]),
        (["table2", "--method", "Mine="], ["expected NAME=VALUE", "--method Mine="]),
        (["table2", "--method", "a.py", "--method", "a.py"], ["each name once"]),
        (["table3", "--features", "incepton"], ["unknown feature extractor 'incepton'", "did you mean inception"]),
        (["table2", "--device", "cudda"], ["device 'cudda' is not available"]),
    ],
)
def test_usage(cli, out, arguments, parts):
    result = cli("reproduce", *arguments, "--out", out)
    assert (result.code, len(result.err)) == (2, 1)
    for part in parts:
        assert part in result.err[0]


def test_a_folder_that_cannot_be_written(cli, nothing, tmp_path):
    (tmp_path / "file").touch()
    fails(cli("reproduce", "table1", "--out", tmp_path / "file" / "x"), 2, "cannot write into", "--out")


def test_stopping_says_how_to_go_on(cli, out, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("basis.paper.run.reproduce", interrupted)
    result = cli("reproduce", "table1", "--out", out)
    assert (result.code, result.err) == (
        130,
        [f"basis: stopped; finished mixtures are in {out}, and the same command goes on from there"],
    )


@pytest.mark.slow
@pytest.mark.skipif("BASIS_DATA" not in os.environ, reason="needs MNIST: set BASIS_DATA to the folder of its files")
def test_table_2_and_figure_6_on_mnist(cli, out, monkeypatch):
    monkeypatch.setenv("BASIS_DATA", os.path.abspath(os.environ["BASIS_DATA"]))
    monkeypatch.chdir(out.parent)  # where nothing is fitted
    result = cli("reproduce", "table2", "figure6", "--n", 6, "--out", out)
    assert result.code == 0
    found = dict(re.findall(r"^  (\S.*?), agnostic, PSNR +published .*measured +(\d+\.\d+)", result.out, re.MULTILINE))
    figures = {row: float(figure) for row, figure in found.items()}
    assert 13 < figures["Average"] < 17
    assert figures["BASIS, released settings, our ending (compact prior)"] > figures["Average"] + 8
    assert (out / "figures" / "figure6.pdf").is_file()
    monkeypatch.setattr(Store, "_write", None)  # nothing is left to write
    assert cli("reproduce", "table2", "figure6", "--n", 6, "--out", out).code == 0
