"""The bundled prior of colour images, at work on real ones; and the rows that it has in tables and figures."""

import os
from pathlib import Path

import pytest
import torch

import basis
from basis.core.dataset import open_dataset
from basis.evaluate.mixtures import draw_mixtures
from basis.paper.experiments.figure8 import Figure8
from basis.paper.experiments.table3 import GROUPS, Table3
from basis.paper.experiments.table4 import SHOWN, Table4
from basis.paper.setup import Setup, kept

SUM = basis.WeightedSum([1.0, 1.0])


@pytest.fixture(scope="module")
def data():
    if not os.environ.get("BASIS_DATA") or not (Path(os.environ["BASIS_DATA"]) / "cifar-10-batches-bin").is_dir():
        pytest.skip("needs CIFAR-10: set BASIS_DATA to the folder that holds cifar-10-batches-bin/")
    return open_dataset("cifar10")


@pytest.fixture(scope="module")
def prior():
    return basis.load_prior("cifar10")


@pytest.mark.parametrize(("sigma", "most"), [(0.03, 0.65), (0.1, 0.35), (0.3, 0.4), (1.0, 0.6)])
def test_it_denoises_far_better_than_the_best_linear_denoiser_of_single_pixels(prior, data, sigma, most):
    x = data.images("test")[0][:32].float() / 255
    noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    shrunk = 0.4734 + (noisy - 0.4734) * 0.2517**2 / (0.2517**2 + sigma**2)
    with torch.no_grad():
        error = (prior.denoise(noisy, sigma) - x).square().mean()
    assert error < most * (shrunk - x).square().mean()


@pytest.mark.parametrize(
    ("name", "weights", "least"),
    [("cifar10", None, 0.05), ("cifar10-colour", None, 0.25), ("cifar10-colour", (0.299, 0.587, 0.114), 0.25)],
)
def test_colours_of_grey_images_are_strong_and_like_the_true_ones(data, name, weights, least):
    x = data.images("test")[0][:64].float() / 255
    mixing = basis.Grayscale() if weights is None else basis.Grayscale(weights)
    found = basis.separate(mixing(x[:, None]), basis.load_prior(name), mixing, "fast", seed=0)
    assert found.residual.max() < (1 / 255) ** 2
    ours, true = (images - images.mean(1, keepdim=True) for images in (found.sources[:, 0], x))
    assert 0.4 < ours.square().mean().sqrt() / true.square().mean().sqrt() < 1.2
    assert torch.corrcoef(torch.stack([ours.flatten(), true.flatten()]))[0, 1] > least


def test_the_prior_that_is_shown_grey_makes_use_of_it(data):
    """Half-way through the noise its estimate of colours is nearer to the truth with the exact grey than with noise."""
    prior, x, sigma = basis.load_prior("cifar10-colour"), data.images("test")[0][:64].float() / 255, 2.0
    noise = sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    colours = noise - noise.mean(1, keepdim=True)

    def error(noisy):
        wrong = prior.denoise(noisy, sigma) - x
        return (wrong - wrong.mean(1, keepdim=True)).square().mean()

    assert error(x + colours) < 0.97 * error(x + noise)


def test_it_names_what_it_gives_colours_to(data):
    """Test images under noise that hides their colours, whose grey alone shows what they are."""
    prior, (x, labels) = basis.load_prior("cifar10-colour"), (part[:200] for part in data.images("test"))
    noise = 5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, logits = prior.denoise_and_classify(x / 255 + noise - noise.mean(1, keepdim=True), 5.0)
    assert (logits.argmax(1) == labels).double().mean() > 0.8


def test_two_photographs_come_apart(prior, data):
    """Sources differ as true ones do; the mean of the two, which projection alone leaves, would not."""
    drawn = draw_mixtures(data, "test", "agnostic", 2, 6, seed=0)
    found = basis.separate(drawn.mixture, prior, SUM, "fast", seed=0)
    assert found.residual.max() < (1 / 255) ** 2

    def apart(x):
        return (x[:, 0] - x[:, 1]).square().mean().sqrt()

    assert 0.6 < apart(found.sources) / apart(drawn.sources) < 1.2


def test_rows_that_the_models_folder_has(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert kept(["a", "b"])[1].startswith("prior a: `basis train recipe:a`, or run where models/a is; prior b")
    for folder in ("models/a", "models/b", "runs/b"):
        (tmp_path / folder).mkdir(parents=True)
    assert kept(["a", "b"]) == ("models/a,runs/b", "")  # one's own training first
    assert "cifar10-animals" in rows(Table3())[GROUPS].needs
    for folder in ("models/cifar10-animals", "models/cifar10-machines", "models/church-compact", "models/animals64"):
        (tmp_path / folder).mkdir()
    assert rows(Table3())[GROUPS].jobs["split"].prior == "models/cifar10-animals,models/cifar10-machines"
    (other,) = [row for name, row in rows(Figure8()).items() if "compact" in name]
    assert other.jobs[""].prior == "models/church-compact,models/animals64"
    assert "church-like" in other.jobs[""].data


def test_rows_of_the_bundled_prior():
    for experiment, columns in ((Table3(), {"split", "agnostic"}), (Table4(), {"", "test"})):
        own = {name: row for name, row in rows(experiment).items() if "(compact prior)" in name}
        assert [row.optional for row in own.values()] == [False, *[True] * (len(own) - 1)]  # hundreds of evaluations
        for row in own.values():
            assert set(row.jobs) == columns
            assert {job.prior for job in row.jobs.values()} == {"cifar10"}
    assert [rows(Table4())[name].jobs[""].prior for name in SHOWN] == ["cifar10-colour"] * 2


def rows(experiment):
    return {row.name: row for row in experiment.rows(Setup())}
