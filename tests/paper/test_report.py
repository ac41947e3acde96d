"""The report says what was measured, and leaves nothing of the paper out."""

import csv
import importlib
import json
import re
import sys

import numpy as np
import pytest

import basis
from basis.paper.experiment import EXPERIMENTS
from basis.paper.job import Job
from basis.paper.run import choose, costs, reproduce
from basis.paper.setup import Setup
from paper.shared import AVERAGE, OWN, finish

PAPER = [f"table{i}" for i in range(1, 5)] + [f"figure{i}" for i in range(1, 9)]


def test_a_whole_run(tiny, tmp_path, separated):
    (tmp_path / "sides.py").write_text(OWN)
    out = tmp_path / "out"
    setup = Setup(n=5, seed=2, methods={"Sides": str(tmp_path / "sides.py")}, command="basis reproduce tiny & more")
    assert [cost.left for cost in costs([tiny], setup, out)] == [5, 5]
    found = finish(reproduce([tiny], setup, out))
    cells = json.loads((out / "results.json").read_text())["experiments"]["tiny"]
    assert [cell["row"] for cell in cells] == ["Average", "Sides", "Lost", "Dear"]
    average, sides, lost, dear = cells
    drawn = AVERAGE.draw(setup.data("digits"), 2, range(5))
    expected = basis.psnr(drawn.mixture[:, None].repeat(1, 2, 1, 1, 1) / 2, drawn.sources, (0, 1))
    assert average["measured"] == pytest.approx(expected.mean().item(), rel=1e-6)
    assert average["error"] == pytest.approx(expected.std().item() / 5**0.5, rel=1e-6)
    np.testing.assert_allclose(average["values"], expected, rtol=1e-6)
    assert sides["measured"] != average["measured"]
    assert (lost["measured"], lost["published"]) == (None, 31.25)
    assert "unknown prior 'no-such-prior'" in lost["missing"]
    assert "--more" in dear["missing"]

    page = found.report.read_text()
    sha = next(iter(sides["facts"]["hashes"].values()))
    shown = (
        "12.50", f"{average['measured']:.2f} ± {average['error']:.2f}", "31.25", "no-such-prior", "not measured",
        "basis reproduce tiny &amp; more", "<dt>seed</dt><dd>2</dd>", "<dt>n</dt><dd>5</dd>",
        "<dt>device</dt><dd>cpu</dd>",
        sha[:12], "A note.", "A line.", "no pairs at all", "data:image/png;base64,",
    )  # fmt: skip
    for part in shown:
        assert part in page, part
    assert not re.search(r'(src|href)="(?!data:image/png|#)', page)  # it stands alone

    rows = list(csv.DictReader((out / "results.csv").open()))
    assert [row["row"] for row in rows] == ["Average", "Sides", "Lost", "Dear"]
    assert float(rows[0]["measured"]) == average["measured"]
    assert rows[2]["missing"] == lost["missing"]
    assert (out / "figures" / "tiny.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "figures" / "tiny.pdf").read_bytes().startswith(b"%PDF")
    separated.clear()
    finish(reproduce([tiny], setup, out))
    assert separated == []


def test_without_matplotlib_the_figures_are_named_and_the_numbers_stay(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = finish(reproduce([tiny], Setup(n=2), tmp_path / "out"))
    page = found.report.read_text()
    assert "tiny was not drawn: figures need matplotlib" in page
    assert found.outcomes["tiny"].cells[0].measured


@pytest.mark.parametrize("name", PAPER)
def test_nothing_of_the_paper_is_left_out(name, nothing, tmp_path):
    found = finish(reproduce([name], Setup(n=2), tmp_path / "out"))
    cells = found.outcomes[name].cells
    assert cells
    for cell in cells:
        assert cell.measured is None
        assert cell.missing
    module = importlib.import_module(f"basis.paper.experiments.{name}")
    published = getattr(module, "PUBLISHED", {})
    numbers = {float(number) for number in re.findall(r"\d+\.\d+", str(published))}
    shown = {value for cell in cells for value in (cell.published, cell.published_error)}
    assert numbers - {2 / 3, 29.5} <= shown  # Figure 6 shows its two with what was measured
    page = found.report.read_text()
    assert "Not measured, and what it takes" in page


def test_the_papers_experiments_are_there():
    assert set(PAPER) <= set(EXPERIMENTS.names())
    assert choose(["all"]) == PAPER
    for name in PAPER:
        experiment = EXPERIMENTS.get(name)()
        assert experiment.title.startswith(f"{name[:-1].title()} {name[-1]}: ")
    with pytest.raises(basis.UsageError, match=r"unknown table or figure 'tabel2'.*did you mean table2"):
        choose(["tabel2"])


def test_what_is_not_at_hand_is_named(nothing):
    setup = Setup()
    assert "no data here" in setup.lacking(Job())
    assert INCEPTION_FILE in setup.lacking_features()
    assert Setup(features="mnist-digits").lacking_features() == ""
    for strange in ({"n": 0}, {"seed": -1}, {"priors": {"mnist-glwo": "x"}}):
        with pytest.raises(basis.UsageError):
            Setup(**strange)


INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"should define one basis\.Separator, found none"),
        (OWN + OWN.replace("Sides", "Others"), "found Sides, Others"),
        ("import nothing_of_this_name", r"does not run \(ModuleNotFoundError"),
    ],
)
def test_files_that_define_no_separator(tmp_path, text, message):
    (tmp_path / "own.py").write_text(text)
    assert re.search(message, Setup().lacking(Job("digits", method=str(tmp_path / "own.py"), prior="flat")))
