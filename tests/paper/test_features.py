"""Tables and figures of what an extractor sees, and those of colour priors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import basis
from basis.datasets.cifar10 import CIFAR10
from basis.datasets.lsun import LSUN
from basis.datasets.mnist import MNIST
from basis.metrics._features import Extractor, extractor
from basis.paper import job as jobs
from basis.paper.experiments.table4 import columns
from basis.paper.job import Job
from basis.paper.run import reproduce
from basis.paper.setup import PRIORS, Setup
from paper.shared import finish


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
    assert [cell.published for cell in original] == [11.24, 0.0]  # and no column of test images, which have none
    assert all("mnist-digits does not take images of shape (3, 8, 8)" in cell.missing for cell in original)


def test_table_4_compares_grey_images_and_originals(small, monkeypatch, tmp_path):
    colour = small.expand(-1, 3, -1, -1).clone()
    colour[:, 0] *= 0.5
    colour = (colour * 255).round().to(torch.uint8)
    splits = {"train": colour, "test": colour.roll(3, -1)}
    monkeypatch.setattr(CIFAR10, "load", lambda self, split: (splits[split], torch.arange(40) % 10))
    weights = torch.tensor([0.5, 0.25, 0.25]).reshape(3, 1, 1)
    inner, seen = extractor("mnist-digits"), []

    def call(x):
        seen.append(len(x))
        return inner.call((x * weights).sum(1, keepdim=True))

    coloured = Extractor("coloured", "0", call)
    monkeypatch.setattr(Setup, "extractor", lambda self: coloured)
    found = finish(reproduce(["table4"], Setup(n=40, features="coloured"), tmp_path)).outcomes["table4"].cells
    fids = {cell.row: cell.measured for cell in found if cell.column.startswith("FID")}
    assert fids["CIFAR-10 Original"] == pytest.approx(0, abs=1e-6)  # all of the training images
    assert fids["Input Grayscale"] > 1e-3
    assert fids["BASIS (NCSN)"] is None
    others = {cell.row: cell for cell in found if cell.column.startswith("test FID")}
    assert others.keys() == {"CIFAR-10 Original", "Input Grayscale"}
    assert others["CIFAR-10 Original"].measured > 1e-3  # other images than those that it is compared with
    assert others["CIFAR-10 Original"].published is None
    assert sum(seen) == 5 * 40  # two rows of each split, and once the images that all are compared with
    assert columns(Setup(n=10_000)) == ["", "test"]
    assert columns(Setup(n=10_001)) == [""]


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
    left = ("small Glow", "compact prior")  # the first is measured on demand, the second not of such images
    cells = [cell for cell in outcome.cells if not any(words in cell.row for words in left)]
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
