"""Tables and figures: nothing is computed twice, nothing is left out, and the report says what it must."""

import csv
import importlib
import json
import multiprocessing
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import basis
from basis.core.errors import DataError
from basis.core.learned import save_separator
from basis.datasets.cifar10 import CIFAR10
from basis.datasets.lsun import LSUN
from basis.datasets.mnist import MNIST
from basis.evaluation import evaluate
from basis.metrics._features import Extractor, extractor
from basis.reproduction import job as jobs
from basis.reproduction import plan as planning
from basis.reproduction import store as storing
from basis.reproduction import workers as working
from basis.reproduction.experiment import EXPERIMENTS, measured
from basis.reproduction.job import COLOUR, Job
from basis.reproduction.plan import plan
from basis.reproduction.run import choose, costs, reproduce
from basis.reproduction.setup import PRIORS, Setup
from basis.reproduction.store import Store
from basis.separators.neural_egg import NeuralEgg
from basis.separators.nmf import NMF

pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")
AVERAGE = Job("digits", method="average", prior="flat")
PAPER = [f"table{i}" for i in range(1, 5)] + [f"figure{i}" for i in range(1, 9)]
OWN = '''
"""Halves with the left half of the image in the first source."""

import torch

import basis
from basis.core.separator import separation


class Sides(basis.Separator):
    """Left half, right half."""

    def stream(self, problem, noise):
        yield from ()
        x = problem.mixture[:, None].repeat(1, 2, 1, 1, 1) / 2
        x[:, 0, ..., x.shape[-1] // 2 :] = 0
        x[:, 1] = problem.mixture - x[:, 0]
        return separation(problem, x)
'''
RARE = """
import time

import basis
import torch
from basis.core.sampler import State
from basis.core.separator import separation


class Rare(basis.Separator):
    def stream(self, problem, noise):
        x = torch.zeros(len(problem.mixture), *problem.prior.shape)
        for step in range(50, 1001, 50):
            yield State(x, sigma=0.0, level=1, levels=1, step=step, steps=1000)
        return separation(problem, x)
"""
DEADLY = '''
import multiprocessing
import os

import basis


class Deadly(basis.Average):
    """The average, but in no process that another one has started."""

    def stream(self, problem, noise):
        if multiprocessing.parent_process():
            os._exit(1)
        return super().stream(problem, noise)
'''
NEW = '''
"""An experiment in one file."""

from basis.reproduction.drawing import subplots
from basis.reproduction.experiment import Outcome, Picture, Row, RowsExperiment, measured
from basis.reproduction.job import Job


class Tiny(RowsExperiment):
    """Digits of 8×8 pixels."""

    title = "Tiny: 8×8 digits"
    published_n = "no pairs at all"

    def rows(self, setup):
        row = {"agnostic": Job("digits", method="average", prior="flat")}
        own = {"agnostic": Job("digits", method=setup.methods.get("Sides", "average"), prior="flat")}
        prior = {"agnostic": Job("digits", prior="no-such-prior")}
        return [Row("Average", row, {"agnostic": 12.5}), Row("Sides", own), Row("Lost", prior, {"agnostic": 31.25}),
                Row("Dear", row, optional=True)]

    def outcome(self, setup, store, rows):
        yield from ()
        cells = [measured(setup, store, row, "agnostic", "psnr", "dB", setup.n) for row in rows]
        return Outcome(cells, [Picture("tiny", "A line.", self.draw)], ["A note."])

    def draw(self):
        figure, axes = subplots(3, 2)
        axes.plot([0, 1])
        return figure
'''


@pytest.fixture
def separated(monkeypatch):
    """The numbers of the mixtures that are separated, part by part."""
    calls, real = [], storing.stream

    def counting(*arguments, index, **settings):
        calls.append(list(index))
        return real(*arguments, index=index, **settings)

    monkeypatch.setattr(storing, "stream", counting)
    return calls


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """An experiment that a file added."""
    package = importlib.import_module("basis.experiments")
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "tiny.py").write_text(NEW)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    importlib.invalidate_caches()
    yield "tiny"
    sys.modules.pop("basis.experiments.tiny", None)


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """No published data set, no Inception weights."""

    def lacking(*_):
        raise DataError("no data here")

    monkeypatch.setattr(MNIST, "load", lacking)
    monkeypatch.setattr(CIFAR10, "load", lacking)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def finish(generator):
    """Run to the end and return what comes out."""
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            return stop.value


# Nothing twice


def test_finished_mixtures_are_never_computed_again(separated, tmp_path):
    def run(n, **settings):
        separated.clear()
        store = Store(tmp_path, Setup(n=n, batch_size=2, **settings))
        list(store.compute(AVERAGE, n))
        return list(separated)

    assert run(5) == [[0, 1], [2, 3], [4]]
    assert run(5) == run(3) == []
    assert run(8) == [[5, 6], [7]]
    assert run(2, seed=1) == [[0, 1]]
    assert run(8) == []


def test_a_stopped_run_goes_on_and_ends_with_the_same_figures(separated, tmp_path, monkeypatch):
    whole = Store(tmp_path / "whole", Setup(batch_size=2))
    list(whole.compute(AVERAGE, 6))
    separated.clear()
    stopped = Store(tmp_path / "stopped", Setup(batch_size=2))
    write = Store._write

    def interrupt(self, job, part, arrays):
        if part[0] == 2:
            raise KeyboardInterrupt
        write(self, job, part, arrays)

    monkeypatch.setattr(Store, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(stopped.compute(AVERAGE, 6))
    monkeypatch.setattr(Store, "_write", write)
    separated.clear()
    list(stopped.compute(AVERAGE, 6))
    assert separated == [[2, 3], [4, 5]]
    for name in ("psnr", "residual"):
        assert torch.equal(stopped.figures(AVERAGE, 6, name), whole.figures(AVERAGE, 6, name))
    assert torch.equal(stopped.first(AVERAGE, 6), whole.first(AVERAGE, 6))


def test_holes_are_filled(separated, tmp_path):
    store = Store(tmp_path, Setup(batch_size=2))
    list(store.compute(AVERAGE, 6))
    store.parts(AVERAGE)[range(2, 4)].unlink()
    separated.clear()
    list(store.compute(AVERAGE, 7))
    assert separated == [[2, 3], [6]]
    assert len(store.figures(AVERAGE, 7, "psnr")) == 7


def test_figures_are_those_of_the_library(tmp_path):
    store = Store(tmp_path, Setup(seed=3, batch_size=4))
    list(store.compute(AVERAGE, 5))
    drawn = AVERAGE.draw(store.setup.data("digits"), 3, range(5))
    result = basis.separate(drawn.mixture, store.setup.prior(AVERAGE), AVERAGE.mixing, "average")
    torch.testing.assert_close(store.figures(AVERAGE, 5, "psnr"), basis.psnr(result.sources, drawn.sources))
    torch.testing.assert_close(store.first(AVERAGE, 3), result.sources[:3], atol=0.5 / 255 + 1e-6, rtol=0)


def test_the_store_keeps_likeness_and_reading_of_digits(monkeypatch, tmp_path):
    """The same figures as those of `basis evaluate`, part by part."""
    images = np.concatenate([np.load(basis.example(f"two-{letter}"))["sources"] for letter in "abcde"])
    images, labels = torch.from_numpy(images), torch.full((10,), 7)  # what the halves of some mixtures look like
    monkeypatch.setattr(MNIST, "load", lambda self, split: (images, labels))
    job, store = Job(method="average", prior="flat"), Store(tmp_path, Setup(batch_size=4))
    list(store.compute(job, 6))
    drawn = job.draw(store.setup.data("mnist"), 0, range(6))
    result = basis.separate(drawn.mixture, store.setup.prior(job), job.mixing, "average")
    expected = evaluate(result, drawn.sources, drawn.info["labels"])
    assert 0 < expected.right.mean() < 1
    for name in ("psnr", "ssim", "right", "residual"):
        torch.testing.assert_close(store.figures(job, 6, name), getattr(expected, name))


@pytest.mark.parametrize(
    "change", [{"method": "sample"}, {"settings": {"steps": 2}}, {"task": "split"}, {"sources": 3}, {"samples": 2}]
)
def test_whatever_a_result_depends_on_has_a_place_of_its_own(tmp_path, change):
    store = Store(tmp_path, Setup())
    assert store.place(AVERAGE) != store.place(Job(**{**vars(AVERAGE), **change}))


def test_precision_is_part_of_what_a_result_depends_on(tmp_path):
    exact, rounded = Setup(seed=1), Setup(seed=1, precision="bf16")
    job = Job(settings={"levels": 2, "steps": 2})
    assert Store(tmp_path, exact).place(job) != Store(tmp_path, rounded).place(job)
    x = torch.rand(1, 1, 28, 28)
    a, b = (setup.prior(job)[0].denoise(x, 0.3) for setup in (exact, rounded))
    assert 0 < (a - b).abs().max() < 0.02
    glow = Job(prior="glow-mnist")  # a density stays what it is
    assert type(rounded.prior(glow)[0]) is type(exact.prior(glow)[0])


def test_a_method_that_changed_is_computed_anew(tmp_path):
    file = tmp_path / "sides.py"
    places = []
    for text in (OWN, OWN.replace("/ 2", "/ 3")):
        file.write_text(text)
        places.append(Store(tmp_path, Setup()).place(Job("digits", method=str(file), prior="flat")))
    assert places[0] != places[1]


def test_a_damaged_part_is_named(tmp_path):
    store = Store(tmp_path, Setup())
    list(store.compute(AVERAGE, 2))
    (path,) = store.parts(AVERAGE).values()
    path.write_bytes(b"half")
    with pytest.raises(basis.DataError, match=rf"{path.name} cannot be read .*delete it"):
        store.figures(AVERAGE, 2, "psnr")


# Mixtures


@pytest.mark.parametrize(("task", "sources"), [("agnostic", 2), ("split", 2), ("agnostic", 3), ("split", 4)])
def test_a_number_fixes_its_mixture_for_ever(task, sources):
    job, data = Job("digits", task=task, sources=sources), Setup().data("digits")
    many, one = job.draw(data, 5, range(9)), job.draw(data, 5, [7])
    assert torch.equal(one.sources[0], many.sources[7])
    assert one.info["index"] == many.info["index"][7:8]
    assert one.info["labels"] == many.info["labels"][7:8]
    torch.testing.assert_close(many.mixture, many.sources.sum(1))
    if task == "split":
        assert all((label < 5) == (k % 2 == 0) for row in many.info["labels"] for k, label in enumerate(row))


def test_colour_images_in_an_order_without_repetition(monkeypatch):
    images = torch.randint(0, 256, (20, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(CIFAR10, "load", lambda self, split: (images, torch.arange(20) % 10))
    job, data = Job("cifar10", task=COLOUR), Setup().data("cifar10")
    drawn = job.draw(data, 0, range(20))
    assert sorted(number for (number,) in drawn.info["index"]) == list(range(20))
    assert torch.equal(job.draw(data, 0, [4]).sources, drawn.sources[4:5])
    torch.testing.assert_close(drawn.mixture, drawn.sources[:, 0].mean(1, keepdim=True))
    with pytest.raises(basis.UsageError, match="has 20 images, not 21"):
        job.draw(data, 0, [20])


# Plan


def test_the_plan_counts_what_is_left(tmp_path, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(planning.time, "monotonic", lambda: next(clock))
    rough = Job("digits", settings={"levels": 2, "steps": 3}, prior="tiny")
    monkeypatch.setattr(
        Setup, "prior", lambda self, job: basis.GaussianMixture([1.0], torch.zeros(1, 1, 8, 8), torch.eye(64)[None])
    )
    monkeypatch.setattr(Setup, "hashes", lambda self, job: {})
    store = Store(tmp_path, Setup(batch_size=4))
    list(store.compute(rough, 2))
    (first,) = plan(store, [(rough, 6), (rough, 10)])
    assert (first.mixtures, first.left) == (10, 8)
    assert first.evaluations == 8 * 2 * 6  # mixtures, sources, steps
    assert first.seconds == pytest.approx(8 * 6 / 4)  # one tick of the clock a step of four mixtures


def test_the_plan_knows_methods_that_show_every_fiftieth_step(tmp_path, monkeypatch):
    (tmp_path / "rare.py").write_text(RARE)
    clock = iter(range(1000))
    monkeypatch.setattr(planning.time, "monotonic", lambda: next(clock))
    store = Store(tmp_path, Setup(batch_size=4))
    (found,) = plan(store, [(replace(AVERAGE, method=str(tmp_path / "rare.py")), 8)])
    assert found.seconds == pytest.approx(8 * 20 / 4)  # a tick a state: 20 states of 50 steps for four mixtures


# Several processes


def test_workers_find_what_one_process_finds(separated, tmp_path):
    blind, lost = replace(AVERAGE, method="blind"), replace(AVERAGE, method=str(tmp_path / "lost.py"))
    wanted = [(AVERAGE, 5), (blind, 3), (AVERAGE, 4), (lost, 2)]
    alone, together = (Store(tmp_path / name, Setup(batch_size=2)) for name in ("alone", "together"))
    for job in (AVERAGE, blind):
        list(alone.compute(job, 5 if job is AVERAGE else 3))
    separated.clear()
    *_, last = working.compute(together, wanted, workers=2)
    assert not separated  # here, that is
    assert (last.done, last.total) == (500, 600)  # six parts, one of which cannot be done
    for job, n in ((AVERAGE, 5), (blind, 3)):
        assert not together.missing(job, n)
        assert torch.equal(together.figures(job, n, "psnr"), alone.figures(job, n, "psnr"))
        assert torch.equal(together.first(job, n), alone.first(job, n))
    assert "lost.py" in together.setup.lacking(lost)
    assert list(working.compute(together, wanted[:3], workers=2)) == []


def test_at_least_one_worker(tmp_path):
    with pytest.raises(basis.UsageError, match="at least 1 worker, got 0"):
        finish(reproduce(["table1"], Setup(n=1), tmp_path, workers=0))


def test_workers_that_are_stopped_end(tmp_path):
    (tmp_path / "rare.py").write_text(RARE.replace("yield", "time.sleep(5); yield"))
    store = Store(tmp_path / "out", Setup(batch_size=1))
    run = working.compute(store, [(replace(AVERAGE, method=str(tmp_path / "rare.py")), 20)], workers=2)
    before = set(multiprocessing.active_children())
    next(run)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    run.close()
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()


def test_a_worker_that_dies_leaves_its_work_to_others(tiny, tmp_path):
    file = tmp_path / "deadly.py"
    file.write_text(DEADLY)
    out = finish(reproduce([tiny], Setup(n=3, methods={"Sides": str(file)}), tmp_path / "out", workers=2))
    figures = {cell.row: cell.measured for cell in out.outcomes[tiny].cells}
    assert figures["Average"] is not None
    assert figures["Sides"] is not None


# Reports


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
    expected = basis.psnr(drawn.mixture[:, None].repeat(1, 2, 1, 1, 1) / 2, drawn.sources)
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
    module = importlib.import_module(f"basis.experiments.{name}")
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


# Methods that learn, in Table 2


@pytest.fixture
def fitted(monkeypatch, tmp_path):
    """MNIST of 3×3 pixels, and writing what would be a fit to it into a folder of the working directory."""
    images = torch.randint(0, 256, (30, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(MNIST, "load", lambda self, split: (images, torch.arange(30) % 10))
    monkeypatch.chdir(tmp_path)

    def write(folder, task, data="mnist", cls=NMF, **settings):
        arguments = {"shape": [1, 3, 3], "kinds": [0, 1] if task == "split" else [0, 0], **settings}
        method = cls(**arguments)
        for value in method.buffers():  # the steps taken, and NMF's atoms
            value.fill_(1)
        return save_separator(method, arguments, folder, {"data": data, "task": task})

    return write


def rows_of_table_2(**methods):
    """Return the rows of methods that learn, with the method or what is missing in each task."""
    setup = Setup(n=2, methods=methods)
    found = {}
    for row in EXPERIMENTS.get("table2")().rows(setup):
        for task in ("split", "agnostic"):
            job = row.jobs.get(task)
            cell = measured(setup, Store("unused", setup), row, task, "psnr", "dB", 2) if job is None else None
            found[row.name, task] = job.method if job else cell.missing
    return found


def test_fitted_methods_are_found_by_their_names(fitted):
    fitted("models/nmf-mnist-split", "split", components=2)
    fitted("models/nmf-mnist-agnostic", "agnostic", components=2)
    fitted("fits/nmf-mnist-agnostic", "agnostic", components=3)
    fitted("models/neural_egg_supervised-mnist-split", "split", cls=NeuralEgg, width=0.1, supervised=True)
    fitted("fits/neural_egg-mnist-split", "split", cls=NeuralEgg, width=0.1)
    own = str(fitted("elsewhere", "split", components=4))
    found = rows_of_table_2()
    assert found["NMF", "split"] == "models/nmf-mnist-split"
    assert found["NMF", "agnostic"] == "fits/nmf-mnist-agnostic"
    assert found["NES", "split"] == "models/neural_egg_supervised-mnist-split"
    assert found["Neural Egg, one group never seen (ours)", "split"] == "fits/neural_egg-mnist-split"
    assert found["NES", "agnostic"] == "not in this task"
    assert rows_of_table_2(**{"NMF/split": own})["NMF", "split"] == own


def test_a_row_without_its_fit_says_how_to_make_it(fitted):
    fitted("fits/nmf-mnist-split", "split", components=2)
    found = rows_of_table_2()
    assert found["NMF", "split"] == "fits/nmf-mnist-split"
    assert found["NMF", "agnostic"] == (
        "no folder nmf-mnist-agnostic in fits or models; `basis fit nmf --data mnist --task agnostic "
        "--out fits/nmf-mnist-agnostic`, or --method 'NMF/agnostic=FOLDER'"
    )
    assert (
        "`basis fit neural_egg --data mnist --task split --set supervised=true "
        "--out fits/neural_egg_supervised-mnist-split`" in found["NES", "split"]
    )
    assert (
        "--task split --out fits/neural_egg-mnist-split`" in found["Neural Egg, one group never seen (ours)", "split"]
    )


@pytest.mark.parametrize(
    ("name", "row", "fit", "fault"),
    [
        ("nmf-mnist-split", "NMF", {"task": "agnostic"}, "is of task agnostic, not split; `basis fit nmf"),
        ("nmf-mnist-split", "NMF", {"data": "digits"}, "is of data digits, not mnist"),
        ("nmf-mnist-split", "NMF", {"cls": NeuralEgg}, "is of method neural_egg, not nmf"),
        ("neural_egg_supervised-mnist-split", "NES", {"cls": NeuralEgg}, "is of supervised False, not True"),
        (
            "neural_egg-mnist-split",
            "Neural Egg, one group never seen (ours)",
            {"cls": NeuralEgg, "supervised": True},
            "is of supervised True, not False",
        ),
    ],
)
def test_a_fit_of_something_else_is_not_used(fitted, name, row, fit, fault):
    fitted(f"models/{name}", **{"task": "split", **fit})
    fitted("fits/nmf-mnist-agnostic", "agnostic")
    found = rows_of_table_2()
    assert found[row, "split"].startswith(f"models/{name} {fault}")
    assert found["NMF", "agnostic"] == "fits/nmf-mnist-agnostic"


def test_a_damaged_or_empty_fit_is_not_used(fitted, tmp_path):
    (tmp_path / "fits" / "nmf-mnist-split").mkdir(parents=True)
    with (fitted("fits/nmf-mnist-agnostic", "agnostic") / "model.safetensors").open("ab") as file:
        file.write(b"x")
    found = rows_of_table_2()
    assert "fits/nmf-mnist-split has no model.safetensors" in found["NMF", "split"]
    assert "has sha256" in found["NMF", "agnostic"]


def test_a_fit_that_is_found_is_measured(fitted, tmp_path):
    fitted("fits/nmf-mnist-split", "split", components=2)
    found = finish(reproduce(["table2"], Setup(n=3, only=["NMF"]), tmp_path / "out")).outcomes["table2"].cells
    cells = {cell.column: cell for cell in found if cell.row == "NMF"}
    assert cells["split, PSNR"].n == 3
    assert cells["split, PSNR"].facts["method"] == "fits/nmf-mnist-split"
    assert "basis fit nmf" in cells["agnostic, PSNR"].missing


# Tables 3 and 4 on small images


@pytest.fixture
def small(monkeypatch):
    """CIFAR-10 with 40 images of 28×28 in grey: what the bundled extractor sees."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 28, 28), dtype=torch.uint8, generator=generator)
    monkeypatch.setattr(CIFAR10, "load", lambda self, split: (images, torch.arange(40) % 10))
    return images.float() / 255


def test_table_3_carries_the_extractors_name(small, tmp_path):
    setup = Setup(n=12, features="mnist-digits", batch_size=5)
    found = finish(reproduce(["table3"], setup, tmp_path / "out")).outcomes["table3"].cells
    names = {cell.column for cell in found}
    assert all("mnist-digits" in name and "inception" in name for name in names)
    measured = {cell.column.split(" (")[0]: cell for cell in found if cell.row == "Average"}
    job = Job("cifar10", method="average", prior="flat")
    from basis.metrics.fid import FID

    fid = FID("mnist-digits")
    fid.update(small, real=True)
    averages = job.draw(setup.data("cifar10"), 0, range(12)).mixture / 2
    fid.update(((averages * 255).round() / 255).repeat_interleave(2, 0))
    assert measured["agnostic FID"].measured == pytest.approx(fid.compute()[0], rel=1e-3)
    assert measured["agnostic FID"].published == 28.02
    assert measured["agnostic FID"].n == 24
    assert {"split IS", "split FID", "split KID", "agnostic IS"} <= measured.keys()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "features mnist-digits, against 40 images of cifar10, train split" in page


def test_an_extractor_that_cannot_see_the_images_is_named(monkeypatch, tmp_path):
    images = torch.zeros(12, 3, 8, 8, dtype=torch.uint8)
    monkeypatch.setattr(CIFAR10, "load", lambda self, split: (images, torch.arange(12) % 10))
    found = finish(reproduce(["table4"], Setup(n=3, features="mnist-digits"), tmp_path)).outcomes["table4"].cells
    original = [cell for cell in found if cell.row == "CIFAR-10 Original"]
    assert [cell.published for cell in original] == [11.24, 0.0]
    assert all("mnist-digits does not take images of shape (3, 8, 8)" in cell.missing for cell in original)


def test_table_4_compares_grey_images_and_originals(small, monkeypatch, tmp_path):
    colour = small.expand(-1, 3, -1, -1).clone()
    colour[:, 0] *= 0.5
    colour = (colour * 255).round().to(torch.uint8)
    monkeypatch.setattr(CIFAR10, "load", lambda self, split: (colour, torch.arange(40) % 10))
    weights = torch.tensor([0.5, 0.25, 0.25]).reshape(3, 1, 1)
    seen = extractor("mnist-digits")
    coloured = Extractor("coloured", "0", lambda x: seen.call((x * weights).sum(1, keepdim=True)))
    monkeypatch.setattr(Setup, "extractor", lambda self: coloured)
    found = finish(reproduce(["table4"], Setup(n=40, features="coloured"), tmp_path)).outcomes["table4"].cells
    fids = {cell.row: cell.measured for cell in found if "FID" in cell.column}
    assert fids["CIFAR-10 Original"] == pytest.approx(0, abs=1e-6)  # all of the training images
    assert fids["Input Grayscale"] > 1e-3
    assert fids["BASIS (NCSN)"] is None


# With priors at hand: small Gaussians in the place of the paper's


@pytest.fixture
def at_hand(monkeypatch, tmp_path):
    """Data sets of small images, with a prior for every name of the paper's."""

    def loader(channels):
        generator = torch.Generator().manual_seed(channels)
        images = torch.randint(0, 256, (30, channels, 3, 3), dtype=torch.uint8, generator=generator)
        return lambda self, split: (images, torch.arange(30) % 2)

    for cls, channels in ((MNIST, 1), (CIFAR10, 3), (LSUN, 3)):
        monkeypatch.setattr(cls, "load", loader(channels))
    priors = {}
    for channels in (1, 3):
        shape, pixels = (channels, 3, 3), 9 * channels
        arguments = {"weights": [1.0], "means": torch.full((1, *shape), 0.5).tolist()}
        arguments["covariances"] = (0.08 * torch.eye(pixels))[None].tolist()
        folder = basis.save_prior(basis.GaussianMixture(**arguments), arguments, tmp_path / f"prior-{channels}")
        priors |= {name: str(folder) for name in PRIORS if name.startswith("mnist") == (channels == 1)}
    for name in ("RELEASED_GLOW", "RELEASED_CIFAR10", "RELEASED_COLOUR"):  # the paper's thousand steps, but fewer
        getattr(jobs, name).update(steps=5)
    yield Setup(n=3, priors=priors)
    for name in ("RELEASED_GLOW", "RELEASED_CIFAR10", "RELEASED_COLOUR"):
        del getattr(jobs, name)["steps"]


@pytest.mark.parametrize("name", ["table1", "figure7", "figure8"])
def test_with_its_priors_everything_is_measured(name, at_hand, tmp_path):
    outcome = finish(reproduce([name], at_hand, tmp_path / "out")).outcomes[name]
    cells = [cell for cell in outcome.cells if "small Glow" not in cell.row]  # which is measured on demand
    assert [cell.missing for cell in cells] == [""] * len(cells)
    assert all(np.isfinite(cell.measured) for cell in cells)
    assert len(list((tmp_path / "out" / "figures").glob("*.png"))) == len(outcome.pictures) == (name != "table1")
    if name == "table1":
        assert {cell.row for cell in cells} == {"MNIST", "CIFAR-10", "LSUN (bed)", "LSUN (crh)"}
        found = {cell.column: cell.measured for cell in outcome.cells if cell.row == "MNIST"}
        prior = basis.load_prior(at_hand.priors["mnist-glow"])
        images = MNIST().images("test")[0].float() / 255
        bits = basis.likelihoods(prior, images, images).bits()
        assert found["p(x_test)"] == pytest.approx(bits["test"])
        assert found["p_σL(x_test)"] == pytest.approx(bits["noisy"])


def test_colour_rows_come_from_the_prior(at_hand, tmp_path):
    names = ["figure1", "figure4", "figure5"]
    outcomes = finish(reproduce(names, replace(at_hand, only=["CIFAR-10 (NCSN)"]), tmp_path / "out")).outcomes
    for name in names[1:]:
        measured = [cell for cell in outcomes[name].cells if cell.measured is not None]
        assert [cell.row for cell in measured] == ["CIFAR-10 (NCSN)"]
        assert (tmp_path / "out" / "figures" / f"{name}.pdf").is_file()
    assert all("--only" in cell.missing for cell in outcomes["figure1"].cells)
