"""Methods that learn, in Table 2: their fits are found, checked and measured."""

import pytest
import torch

from basis.datasets.mnist import MNIST
from basis.io.learned import save_separator
from basis.paper.experiment import EXPERIMENTS, measured
from basis.paper.run import reproduce
from basis.paper.setup import Setup
from basis.paper.store import Store
from basis.separators.neural_egg import NeuralEgg
from basis.separators.nmf import NMF
from paper.shared import finish


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
