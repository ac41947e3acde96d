"""The store of separations: nothing is computed twice, and the plan says what is left."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import basis
from basis.datasets.cifar10 import CIFAR10
from basis.datasets.mnist import MNIST
from basis.evaluate.evaluation import evaluate
from basis.paper import plan as planning
from basis.paper.job import COLOUR, Job
from basis.paper.plan import plan
from basis.paper.setup import Setup
from basis.paper.store import Store
from paper.shared import AVERAGE, OWN, RARE


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
    torch.testing.assert_close(store.figures(AVERAGE, 5, "psnr"), basis.psnr(result, drawn.sources))
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
    compiled = Setup(seed=1, precision="bf16", compile=True)
    assert Store(tmp_path, compiled).place(job) != Store(tmp_path, rounded).place(job)
    assert compiled.prior(job)[0].compiled
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
    normal = basis.GaussianMixture([1.0], torch.full((1, 1, 8, 8), 0.5), 0.05 * torch.eye(64)[None])
    monkeypatch.setattr(Setup, "prior", lambda self, job: normal)
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
