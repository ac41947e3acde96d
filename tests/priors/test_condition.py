"""Priors that are shown the grey of an image: their posterior is the exact one, in closed form for a Gaussian."""

import math

import numpy as np
import pytest
import torch

import basis
from basis.separators.sample import Sample

GREY = np.kron([1 / 3] * 3, np.eye(2))  # of three channels with two pixels each
REST = np.linalg.svd(GREY)[2][2:]  # orthonormal, what grey does not see
SHAPE = (3, 1, 2)
DRAWS = 20_000


class Informed(basis.ScorePrior):
    """A Gaussian of which x holds the exact grey: ``E[x₀ | A x₀ = A x, B x₀ + σ ε = B x]`` for grey A and rest B."""

    def __init__(self, mean, covariance, condition="grayscale"):
        super().__init__(SHAPE, condition=condition)
        self.mean, self.covariance = mean, covariance

    def score(self, x, sigma):
        seen = np.concatenate([GREY, REST])
        noise = np.diag([0.0] * len(GREY) + [sigma**2] * len(REST))
        gain = self.covariance @ seen.T @ np.linalg.inv(seen @ self.covariance @ seen.T + noise)
        flat = x.flatten(1).double().numpy()
        clean = self.mean + (flat - self.mean) @ (gain @ seen).T
        return torch.from_numpy((clean - flat) / sigma**2).to(x).reshape(x.shape)


@pytest.fixture(scope="module")
def gaussian():
    """Mean and covariance of coloured pixels, whose colours go with their greys and with each other."""
    generator = np.random.default_rng(2)
    factor = generator.standard_normal((6, 6))
    return generator.random(6), 0.01 * np.eye(6) + 0.02 * factor @ factor.T


def conditioned(mean, covariance, m):
    """Return mean and covariance of x₀ given its grey m, (2,)."""
    gain = covariance @ GREY.T @ np.linalg.inv(GREY @ covariance @ GREY.T)
    return mean + gain @ (m - GREY @ mean), covariance - gain @ GREY @ covariance


def test_samples_follow_the_exact_posterior(gaussian):
    """Mean and covariance of colours given their grey, within five standard errors and the steps' own error."""
    m = np.array([0.6, 0.3])
    mixture = torch.tensor(m, dtype=torch.float32).reshape(1, 1, 2)
    method = Sample(steps=200, sigma_max=10.0, sigma_min=0.003, parts={"eta": 0.0})
    found = basis.separate(mixture, Informed(*gaussian), basis.Grayscale(), method, samples=DRAWS)
    x = found.samples[0, :, 0].flatten(1).double().numpy()
    mean, covariance = conditioned(*gaussian, m)
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(x.mean(0) - mean) < 5 * spread / math.sqrt(DRAWS) + 0.01 * spread).all()
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.04 * spread.max() ** 2)
    np.testing.assert_allclose(x @ GREY.T, np.broadcast_to(m, (DRAWS, 2)), atol=1e-6)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_the_grey_of_the_state_does_not_matter(gaussian, sigma):
    """One estimate against E[x₀ | m, B x] in closed form, whatever grey x has; not so without."""
    mean, covariance = conditioned(*gaussian, m := np.array([0.5, 0.7]))
    x = np.random.default_rng(0).random(6)
    gain = covariance @ REST.T @ np.linalg.inv(REST @ covariance @ REST.T + sigma**2 * np.eye(4))
    expected = mean + gain @ (REST @ x - REST @ mean)
    prior, grey = basis.Product([Informed(*gaussian)]), torch.tensor(m).reshape(1, 1, 1, 2)
    for shift in (0.0, 1.0):
        state = torch.tensor(x + 3 * shift * GREY.sum(0)).reshape(1, 1, *SHAPE)
        shown = basis.DDNM(prior, basis.Grayscale(), grey).denoise(state, sigma)
        np.testing.assert_allclose(shown.flatten(), expected, rtol=1e-6, atol=1e-6)
        hidden = basis.DDNM(prior, basis.Grayscale(), grey, use_condition=False).denoise(state, sigma)
        assert np.abs(hidden.flatten().numpy() - expected).max() > 0.01


def test_when_the_mixture_is_shown(gaussian):
    grey = torch.full((1, 1, 1, 2), 0.5)

    def shown(prior, mixing=None, m=grey, **settings):
        return basis.DDNM(prior, mixing or basis.Grayscale(), m, **settings).shown

    informed, uninformed = (basis.Product([Informed(*gaussian, condition)]) for condition in ("grayscale", None))
    assert shown(informed)
    assert shown(informed, basis.Grayscale([0.3, 0.6, 0.1]))
    assert not shown(informed, noise=0.1)
    assert not shown(informed, basis.WeightedSum([1.0]), torch.zeros(1, *SHAPE))
    assert not shown(uninformed)
    assert shown(uninformed, use_condition=True)
    assert not shown(informed, use_condition=False)
    with pytest.raises(basis.UsageError, match="a noisy mixture cannot be shown to the prior"):
        shown(informed, noise=0.1, use_condition=True)


def test_what_wraps_a_prior_passes_it_on(gaussian):
    prior = Informed(*gaussian)
    assert basis.Product([prior]).condition == basis.Rescaled(prior, 2.0).condition == "grayscale"
    assert basis.Windowed(prior, (3, 4)).condition == basis.Accelerated(prior, "no").condition == "grayscale"
    assert basis.Product([prior, prior]).condition is None
