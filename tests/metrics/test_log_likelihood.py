"""Table 1 and Figure 2 on a Gaussian, whose entropy and score norms are known."""

import math

import pytest
import torch

import basis
from basis.core.metric import METRICS
from basis.metrics.log_likelihood import LogLikelihood, dequantise, likelihoods
from basis.paper.experiments.figure2 import gradient_norms
from basis.priors.glow import Glow

D, STD = 16, 0.2


@pytest.fixture
def normal():
    return basis.GaussianMixture([1.0], torch.full((1, 1, 4, 4), 0.5), STD**2 * torch.eye(D)[None])


def draws(n, std=STD, seed=0):
    return 0.5 + std * torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def mean_log_likelihood(std, data_std):
    return -D / 2 * (math.log(2 * math.pi * std**2) + data_std**2 / std**2)


def test_the_three_columns(normal):
    images = draws(4000).mul(255).round() / 255
    found = likelihoods(normal, images, draws(1000, std=0.1, seed=1))
    noisy = math.hypot(STD, 0.01)
    shrunk = STD * 255 / 256
    assert found.test.mean().item() == pytest.approx(mean_log_likelihood(STD, shrunk), abs=0.2)
    assert found.noisy.mean().item() == pytest.approx(mean_log_likelihood(noisy, shrunk), abs=0.2)
    assert found.separated.mean().item() == pytest.approx(mean_log_likelihood(noisy, 0.1), abs=0.2)
    assert [len(column) for column in (found.test, found.noisy, found.separated)] == [4000, 4000, 1000]
    bits = found.bits()
    entropy = 8 + (0.5 * math.log2(2 * math.pi * math.e) + math.log2(STD))  # of bins 256 to the unit
    assert bits["test"] == pytest.approx(entropy, abs=0.02)
    assert bits["separated"] < bits["noisy"]


def test_levels_decide_the_noise():
    torch.manual_seed(0)
    prior = Glow([1, 4, 4], levels=[1.0, 0.3], scales=1, depth=1, width=4).eval().requires_grad_(False)
    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    found = likelihoods(prior, x, x)
    assert found.test is None
    assert found.bits()["test"] is None
    torch.testing.assert_close(found.separated, prior.log_prob(x, 0.3))
    torch.testing.assert_close(prior.bits_per_dim(x, 0.3).mean().item(), found.bits()["separated"])


def test_dequantisation_stays_in_its_bin():
    levels = torch.arange(256) / 255
    spread = dequantise(levels.expand(50, 256))
    assert torch.equal((spread * 256).floor(), torch.arange(256.0).expand(50, 256))
    assert (spread * 256 % 1).mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(spread, dequantise(levels.expand(50, 256)))
    assert not torch.equal(spread, dequantise(levels.expand(50, 256), seed=1))


def test_as_a_metric(normal, edm):
    assert METRICS.get("log_likelihood") is LogLikelihood
    sources = draws(6).unflatten(0, (3, 2))
    expected = normal.log_prob(sources.flatten(0, 1), 0.3).reshape(3, 2).mean(1)
    torch.testing.assert_close(LogLikelihood(normal, 0.3)(sources, sources), expected)
    with pytest.raises(basis.UsageError, match="a prior of kind EDM has no density"):
        LogLikelihood(edm)


def test_figure_2(normal):
    sigmas = [1.0, 0.2, 0.01]
    found = gradient_norms(normal, draws(2000), sigmas)
    # The score of N(0, s² I) is ‖x‖ / s², s² = std² + σ², and ‖x‖ / s follows a χ distribution.
    chi = math.sqrt(2) * math.exp(math.lgamma((D + 1) / 2) - math.lgamma(D / 2))
    expected = torch.tensor([sigma / math.hypot(STD, sigma) * chi for sigma in sigmas])
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)
    assert len(gradient_norms(normal, draws(2))) == 10
