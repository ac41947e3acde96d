"""The bundled prior, at work: its card, its invariances, and what it separates."""

import hashlib
import os

import numpy as np
import pytest
import torch

import basis
from basis.datasets.mnist import MNIST
from basis.evaluate.mixtures import draw_mixtures
from basis.io.checkpoint import locate, pretrained, read_card

SUM = basis.WeightedSum([1.0, 1.0])
PAIRS = ["two-a", "two-b", "two-c", "two-d", "two-e"]


@pytest.fixture(scope="module")
def prior():
    return basis.load_prior("mnist")


@pytest.fixture(scope="module")
def truth():
    return torch.from_numpy(np.stack([np.load(basis.example(name))["sources"] for name in PAIRS])).float() / 255


@pytest.mark.parametrize("name", pretrained())
def test_the_card_belongs_to_the_weights(name):
    path = locate(name)
    card = read_card(path)
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {"summary", "steps", "images", "hours"} <= card.keys()
    for part in card.get("parts", [card]):
        assert {"command", "data", "steps", "held_out_loss", "recipe"} <= part.keys()
    assert path.stat().st_size < (10e6 if name == "mnist" else 25e6)


def test_a_forward_pass_is_cheap(prior):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        prior.score(torch.rand(1, 1, 28, 28), 0.1)
    assert counter.get_total_flops() < 120e6


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0, 3.0])
def test_the_denoiser_beats_the_best_linear_one_at_every_level(prior, truth, sigma):
    x = truth.flatten(0, 1)
    noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    shrunk = 0.1307 + (noisy - 0.1307) * 0.3081**2 / (0.3081**2 + sigma**2)
    assert (prior.denoise(noisy, sigma) - x).square().mean() < 0.7 * (shrunk - x).square().mean()


def test_bad_noise_levels(prior):
    for sigma in (0.0, -0.1, float("nan")):
        with pytest.raises(basis.UsageError, match="sigma > 0"):
            prior.score(torch.zeros(1, 1, 28, 28), sigma)


def test_results_do_not_depend_on_batch_or_order(prior, truth):
    mixture = SUM(truth[:3])
    together = basis.separate(mixture, prior, SUM, seed=3).sources
    one = basis.separate(mixture[1:2], prior, SUM, seed=3, index=[1]).sources
    turned = basis.separate(mixture.flip(0), prior, SUM, seed=3, index=[2, 1, 0], batch_size=2).sources.flip(0)
    assert (one - together[1:2]).abs().max() < 1e-4
    assert (turned - together).abs().max() < 1e-4


def test_examples_come_apart(prior, truth):
    result = basis.separate(SUM(truth), prior, SUM, seed=0)
    average = basis.separate(SUM(truth), prior, SUM, method="average")
    assert (result.residual < (1 / 255) ** 2).all()
    gain = basis.psnr(result, truth) - basis.psnr(average, truth)
    assert gain.median() > 8
    assert gain.mean() > 6


def test_without_noise_conditioning_it_gets_stuck(prior, truth):
    # Figure 3: the same number of steps at the smallest noise level alone.
    annealed = basis.separate(SUM(truth), prior, SUM, "basis", seed=0, steps=50)
    stuck = basis.separate(SUM(truth), prior, SUM, "basis", seed=0, levels=1, steps=500)
    assert basis.psnr(stuck, truth).mean() < basis.psnr(annealed, truth).mean() - 5


@pytest.mark.skipif("BASIS_DATA" not in os.environ, reason="needs MNIST: set BASIS_DATA to the folder of its files")
def test_mnist_pairs_come_apart(prior):
    pairs = draw_mixtures(MNIST(), "validation", n=8, seed=0)
    result = basis.separate(pairs.mixture, prior, SUM, "basis", seed=0)
    assert basis.psnr(result, pairs.sources).mean() > 20  # Average: 15
    assert (result.residual < (1 / 255) ** 2).all()


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.1])
def test_the_flow_finds_digits_likelier_than_their_average(truth, sigma):
    glow = basis.load_prior("glow-mnist")
    noise = sigma * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    average = truth.mean(1, keepdim=True).expand_as(truth)
    digits, averages = (glow.log_prob((x + noise).flatten(0, 1), sigma).unflatten(0, (5, 2)) for x in (truth, average))
    assert (digits.sum(1) > averages.sum(1) + 100).all()  # nats; measured: 250 to 2000


def test_the_flow_is_invertible_where_it_is_used(truth):
    glow, x = basis.load_prior("glow-mnist"), truth.flatten(0, 1)
    for sigma in (0.0, 0.01, 1.0):
        z, _ = glow.encode(x, sigma)
        torch.testing.assert_close(glow.decode(z, sigma), x, rtol=0, atol=1e-5)
