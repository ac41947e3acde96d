"""What a step sees: images, noise levels, the rate of learning, and the average of weights."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

import basis

pytest.importorskip("accelerate", reason="training needs the extra 'train'")

from basis.train import loop
from basis.train.batches import Batches, with_levels
from basis.train.recipe import Levels, Noise, Recipe, read_recipe
from train.shared import ANY, RECIPES, given


def test_half_of_the_images_are_mirrored(data):
    plan = dataclasses.replace(read_recipe(RECIPES / "digits.toml"), flip=True, batch=400)
    images = data.images("train")[0]
    x = Batches(given(images), plan).draw(ANY, 0)[0]
    straight = Batches(given(images), dataclasses.replace(plan, flip=False)).draw(ANY, 0)[0]
    mirrored = [not torch.equal(a, b) for a, b in zip(x, straight, strict=True)]
    assert all(torch.equal(a, b.flip(2)) for a, b, m in zip(x, straight, mirrored, strict=True) if m)
    assert 0.4 < np.mean(mirrored) < 0.6


def test_images_are_moved_with_their_borders_mirrored(data):
    """By numpy's padding: each of the 25 moves by up to two pixels comes in its turn, and no other."""
    plan = dataclasses.replace(read_recipe(RECIPES / "digits.toml"), shift=2, batch=500)
    images = data.images("train")[0]
    x = Batches(given(images), plan).draw(ANY, 0)[0]
    still = Batches(given(images), dataclasses.replace(plan, shift=0)).draw(ANY, 0)[0]
    wide = np.pad(still, [(0, 0), (0, 0), (2, 2), (2, 2)], mode="reflect")
    moves = [wide[:, :, top : top + 8, left : left + 8] for top in range(5) for left in range(5)]
    same = np.stack([(move == x.numpy()).all((1, 2, 3)) for move in moves])
    assert same.any(0).all()
    assert same.any(1).all()


def test_labels_are_those_of_the_images(data):
    plan = read_recipe(RECIPES / "digits.toml")
    plan = dataclasses.replace(plan, labels=0.5, batch=100)
    images, labels = data.images("train")
    x, _, _, known, names = Batches(data, plan).draw(ANY, 0)
    assert not known.any()
    where = [(images.float() / 255 == image).all((1, 2, 3)).nonzero()[0, 0].item() for image in x]
    assert torch.equal(names, labels[where])


def test_noise_levels_from_the_data():
    """Technique 1: the largest distance between two images; technique 2: neighbours overlap by one half."""
    images = torch.tensor([0, 255, 51], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 2, 2)
    plan = Recipe("ncsn", {}, "digits", steps=1, levels=Levels("data", 0.1, "overlap"))
    sigmas = with_levels(plan, given(images)).arguments["sigmas"]
    assert (sigmas[0], sigmas[-1]) == pytest.approx((2.0, 0.1))
    r = sigmas[0] / sigmas[1]
    normal = torch.distributions.Normal(0.0, 1.0)
    ends = [torch.tensor(math.sqrt(8) * (r - 1) + sign * 3 * r) for sign in (1, -1)]
    assert (normal.cdf(ends[0]) - normal.cdf(ends[1])).item() >= 0.5
    fixed = dataclasses.replace(plan, levels=Levels(3.0, 0.1, 5))
    assert with_levels(fixed, given(images)).arguments["sigmas"] == pytest.approx(basis.geometric(3.0, 0.1, 5).tolist())


def test_learning_rate():
    """Warm-up over 10 steps, constant, then linearly to zero over the last 40 of 100."""
    plan = Recipe("edm", {}, "digits", steps=100, warmup=10, decay=0.4, learning_rate=1.0)
    rates = [loop._learning_rate(plan, step) for step in range(100)]
    expected = [(step + 1) / 10 for step in range(10)] + [1.0] * 50 + [1 - step / 40 for step in range(40)]
    np.testing.assert_allclose(rates, expected)


def test_averaged_weights():
    """After `ema` images half of an old value is left; early in a run its half-life is a tenth of the run so far."""
    plan = read_recipe(RECIPES / "digits.toml")
    plan = Recipe("edm", plan.arguments, "digits", steps=10_000, batch=32, ema=64)
    prior, average = (loop._prior(plan, (1, 8, 8)).requires_grad_(False) for _ in range(2))
    for values, network in ((1.0, prior), (0.0, average)):
        for parameter in network.parameters():
            parameter.fill_(values)
    for images in (32, 64, 96, 128):
        loop._average(average, prior, 1000, plan)
        assert all(torch.allclose(p, torch.tensor(1 - 0.5 ** (images / 64))) for p in average.parameters())
    for parameter in average.parameters():
        parameter.fill_(0.0)
    loop._average(average, prior, 5, plan)  # 160 images so far: a half-life of 16, two of them a step
    assert all(torch.allclose(p, torch.tensor(0.75)) for p in average.parameters())


def test_every_epoch_holds_every_image_once():
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None]
    plan = Recipe("edm", {}, "digits", steps=10, batch=4)
    drawn = [
        (Batches(given(images), plan).draw(ANY, step)[0].flatten() * 255).round().int().tolist() for step in range(5)
    ]
    order = list(itertools.chain(*drawn))
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]


def test_processes_share_a_batch():
    """Two processes see together what one sees, each its own half with its own noise."""
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None]
    plan = Recipe("edm", {}, "digits", steps=10, batch=8)
    whole = Batches(given(images), plan).draw(ANY, 3)[0].flatten()
    (a, _, eps_a), (b, _, eps_b) = (Batches(given(images), plan).draw(ANY, 3, process, 2) for process in (0, 1))
    assert torch.equal(torch.stack([a.flatten(), b.flatten()], 1).flatten(), whole)
    assert not torch.equal(eps_a, eps_b)


def test_noise_levels_of_training():
    """ln σ ~ N(mean, std²): mean and spread of 20,000 draws within five standard errors; cut off at its ends."""
    images = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    plan = Recipe("edm", {}, "digits", steps=1, batch=20_000, noise=Noise(-1.0, 0.5, 1e-9, 1e9))
    _, sigma, eps = Batches(given(images), plan).draw(ANY, 0)
    assert sigma.log().mean().item() == pytest.approx(-1.0, abs=5 * 0.5 / math.sqrt(20_000))
    assert sigma.log().std().item() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(40_000))
    assert eps.std().item() == pytest.approx(1.0, abs=5 / math.sqrt(40_000))
    narrow = Recipe("edm", {}, "digits", steps=1, batch=1000, noise=Noise(-1.0, 0.5, 0.3, 0.4))
    sigma = Batches(given(images), narrow).draw(ANY, 0)[1]
    assert (sigma.min().item(), sigma.max().item()) == pytest.approx((0.3, 0.4), abs=1e-3)
    assert (sigma > 0.3).all()  # not piled up at the ends
    assert (sigma < 0.4).all()
    assert sigma.log().mean().item() == pytest.approx((math.log(0.3) + math.log(0.4)) / 2, abs=0.01)


def test_grey_is_known_of_a_share_of_the_images():
    images = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    weights = [[0.5, 0.25, 0.25], [0.3, 0.6, 0.1]]
    plan = Recipe("edm", {"known": weights}, "digits", steps=1, batch=10_000, known=0.8)
    x, sigma, eps, known = Batches(given(images), plan).draw(ANY, 0)
    shares = [(known == torch.tensor(row)).all(1).double().mean().item() for row in ([0.0] * 3, *weights)]
    assert shares == pytest.approx([0.2, 0.4, 0.4], abs=5 * math.sqrt(0.24 / 10_000))
    plain = Batches(given(images), dataclasses.replace(plan, known=0.0)).draw(ANY, 0)
    assert all(torch.equal(a, b) for a, b in zip((x, sigma, eps), plain, strict=True))  # drawn last of all
