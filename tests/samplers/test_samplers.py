"""Schedules, the sampling loop and its stability. What is sampled is tested in test_exactness."""

import inspect
import math

import numpy as np
import pytest
import torch

import basis
from basis.core.sampler import SAMPLERS

# As the released code computes them, rounded to eight decimals.
PUBLISHED = [1.0, 0.59948425, 0.35938137, 0.21544347, 0.12915497, 0.07742637, 0.04641589, 0.02782559, 0.01668101, 0.01]


def test_geometric_gives_the_published_levels():
    np.testing.assert_allclose(basis.geometric(), PUBLISHED, atol=5e-9)
    np.testing.assert_allclose(basis.geometric(50, 0.02, 3), [50, 1, 0.02], rtol=1e-12)
    assert basis.geometric(levels=1).tolist() == [0.01]


def test_karras_formula():
    # Karras et al. 2022, equation 5 and their table 1, written with the index i = 0 … N-1.
    sigmas = basis.karras(80, 0.002, 18)
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    np.testing.assert_allclose(sigmas, expected, rtol=1e-10)
    np.testing.assert_allclose(sigmas[[0, -1]], [80, 0.002], rtol=1e-10)
    np.testing.assert_allclose(basis.karras(3, 1, 3, rho=1), [3, 2, 1], rtol=1e-12)
    assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize("schedule", [basis.geometric, basis.karras])
@pytest.mark.parametrize(
    "bad",
    [
        {"sigma_min": 0}, {"sigma_min": -0.1}, {"sigma_min": 5}, {"sigma_min": math.nan}, {"sigma_max": 0},
        {"sigma_max": -1}, {"sigma_max": math.nan}, {"sigma_max": math.inf}, {"levels": 0}, {"levels": -3},
        {"levels": 2.5},
    ],
    ids=str,
)  # fmt: skip
def test_bad_schedules(schedule, bad):
    message = r"(expected 0 < sigma_min <= sigma_max, whole levels >= 1|takes a whole number).*To fix"
    with pytest.raises(basis.UsageError, match=message):
        schedule(**bad)


@pytest.mark.parametrize("rho", [0.0, math.nan])
def test_bad_rho(rho):
    with pytest.raises(basis.UsageError, match=r"rho > 0.*To fix"):
        basis.karras(rho=rho)


@pytest.mark.parametrize(
    "sigmas", [[], [0.0], [1.0, 0.0], [-1.0], [0.1, 1.0], [1.0, 0.5, 0.5], [1.0, 0.1, 0.2]], ids=str
)
def test_a_sampler_needs_falling_levels(sigmas):
    with pytest.raises(basis.UsageError, match="expected decreasing positive noise levels, got"):
        basis.AnnealedLangevin(torch.tensor(sigmas))


def test_a_sampler_needs_whole_steps():
    with pytest.raises(basis.UsageError, match=r"a whole number \(at least 1\), got 1\.5"):
        basis.AnnealedLangevin(steps=1.5)


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_every_sampler_yields_each_step_in_order(name, gaussian):
    cls = SAMPLERS.get(name)
    sampler = cls(basis.geometric(1, 0.1, 3))
    x = torch.zeros(2, *gaussian.shape)
    states = list(sampler.run(gaussian, x, lambda: torch.zeros_like(x)))
    assert "sigmas" in inspect.signature(cls).parameters
    assert [state.step for state in states] == list(range(1, states[-1].steps + 1))
    levels = [state.level for state in states]
    assert levels == sorted(levels)
    assert sorted(set(levels)) == [1, 2, 3]
    assert states[-1].levels == 3
    np.testing.assert_allclose([state.sigma for state in states], basis.geometric(1, 0.1, 3)[np.array(levels) - 1])


def test_the_step_is_the_equation(gaussian):
    # x ← x + η ∇ log p_σ(x) + √(2ητ) ε with η = δ σ² / σ_L², at most stability / curvature = stability · σ².
    x, eps = torch.rand(3, *gaussian.shape), torch.randn(3, *gaussian.shape)
    for delta, stability, eta in [(2e-5, 1.0, 0.2 * 0.36), (2e-3, 1.0, 0.36), (2e-3, 0.5, 0.18), (2e-3, math.inf, 7.2)]:
        for temperature in (1.0, 0.25, 0.0):
            sampler = basis.AnnealedLangevin(torch.tensor([0.6, 0.01]), 1, delta, temperature, stability)
            found = sampler.step(x, 0.6, 0.01, gaussian, lambda: eps)
            expected = x + eta * gaussian.score(x, 0.6) + math.sqrt(2 * eta * temperature) * eps
            torch.testing.assert_close(found, expected)


def test_temperature_0_draws_no_noise(gaussian):
    def noise():
        raise AssertionError("drew noise")

    *_, state = basis.AnnealedLangevin(temperature=0.0, steps=2).run(gaussian, torch.zeros(1, *gaussian.shape), noise)
    assert state.step == 20


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"delta": 0}, {"delta": math.nan}, {"temperature": -1}, {"stability": 0}]
)
def test_bad_settings(bad):
    with pytest.raises(basis.UsageError, match=rf"setting '{next(iter(bad))}' of AnnealedLangevin takes a"):
        basis.AnnealedLangevin(**bad)


def mixed(prior, alphas):
    """A mixture of sources drawn from the Gaussian prior, (B, *S)."""
    generator = torch.Generator().manual_seed(0)
    scale = prior.bases[0] * prior.variances[0].sqrt()
    x = prior.means[0] + torch.randn(4, len(alphas), 4, generator=generator) @ scale.T
    return basis.WeightedSum(alphas)(x.reshape(4, len(alphas), *prior.shape))


@pytest.mark.parametrize(
    "alphas", [*([1.0] * k for k in range(1, 9)), [5.0, -3.0], [1e-3, 1e-3], [1e-3, 1.0], [30.0] * 8]
)
def test_defaults_are_stable(alphas, gaussian, as_sampled):
    # The residual m - Σ αx has variance at most 2 γ² per pixel under an explicit step with η times curvature below 1;
    # with 16 pixels its mean stays below 5 γ². No source leaves its prior by 8 standard deviations (0.25 each).
    found = basis.separate(mixed(gaussian, alphas), gaussian, basis.WeightedSum(alphas), seed=0, **as_sampled)
    assert (found.samples - gaussian.means.reshape(gaussian.shape)).abs().max() < 8 * 0.25
    assert found.residual.mean() < 5 * 0.01**2


def test_an_unbounded_step_diverges_and_says_where(gaussian, as_sampled):
    # η = σ² / 5 times the curvature 12 / σ² of the likelihood alone is 2.4 > 2.
    alphas = [1.0] * 12
    with pytest.raises(basis.DivergenceError, match=r"at level \d+ of 10 \(sigma [\d.]+\), step \d+ of 100"):
        basis.separate(mixed(gaussian, alphas), gaussian, basis.WeightedSum(alphas), stability=math.inf)
    found = basis.separate(mixed(gaussian, alphas), gaussian, basis.WeightedSum(alphas), **as_sampled)
    assert found.residual.mean() < 5 * 0.01**2


def test_divergence_is_reported_at_once(gaussian):
    x = torch.zeros(1, *gaussian.shape)
    sampler = basis.AnnealedLangevin(basis.geometric(1, 0.5, 2), steps=3)
    draws = iter([0.0, 0.0, 0.0, 0.0, math.nan])
    states = sampler.run(gaussian, x, lambda: torch.full_like(x, next(draws)))
    assert [next(states).step for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(basis.DivergenceError, match=r"level 2 of 2 \(sigma 0.5\), step 2 of 3"):
        next(states)
