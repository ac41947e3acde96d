"""The sampler against the truth.

With Gaussian (mixture) priors the annealed target p_σ(x) N(m; g(x), γ²I) is a Gaussian mixture too. Empirical moments
must lie within BOUND standard errors of it; each marginal must pass a Kolmogorov-Smirnov test. Step sizes η are chosen
so that the bias of discretisation, about η h / 2 of a variance where h is the curvature, is under one standard error;
at the paper's own step the samples are compared with the exact law of the discretised recursion instead.
"""

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov

import basis
from basis.core.noise import Noise
from closed_forms import CASES, GAUSSIAN_3D, MIXTURE_2D, N, agree, build, exact, posed, rows


@pytest.mark.parametrize(("case", "ratio"), [*((case, 1.0) for case in CASES), ("gaussian K=2 D=3", 0.5**0.5)])
def test_samples_follow_the_annealed_target(case, ratio, tiled, as_sampled):
    parts, alphas, m = CASES[case]
    sigma, eta = 0.3, 0.01  # η in units of σ²
    priors, mixture = posed(tiled, parts, m, N // 16)
    settings = {"levels": 1, "sigma_min": sigma, "steps": 900, "delta": eta * sigma**2, "ratio": ratio, **as_sampled}
    found = basis.separate(mixture, priors, basis.WeightedSum(alphas), samples=16, seed=1, **settings)
    weights, means, H = exact(parts, alphas, m, sigma, ratio * sigma)
    agree(rows(found.samples), weights, means, np.linalg.inv(H))


def recursion(H, eta):
    """Return the stationary covariance of ``x ← x + η (b - H x) + √(2η) ε``; its mean is H⁻¹ b at any η."""
    identity = np.eye(len(H))
    return solve_discrete_lyapunov(identity - eta * H, 2 * eta * identity)


NARROW = ([1.0], [[0.3, 0.6]], [[[1e-4, 4e-5], [4e-5, 8e-5]]])


@pytest.mark.parametrize("alphas", [[1.0, 0.5], [1.0, 1.0], [1.0, 1.0, 1.0]])
def test_default_settings_follow_the_discretised_law_at_every_level(alphas, tiled, as_sampled):
    # The paper's settings: 100 steps are enough at each of the ten levels to forget the one before.
    parts, m = [NARROW] * len(alphas), [0.55, 0.8]
    priors, mixture = posed(tiled, parts, m, 125)
    run = basis.stream(mixture, priors, basis.WeightedSum(alphas), samples=8, seed=2, **as_sampled)
    ends = [state for state in run if state.step % 100 == 0]
    assert len(ends) == 10
    for state in ends:
        weights, means, H = exact(parts, alphas, m, state.sigma, state.sigma)
        covariance = recursion(H[0], 0.2 * state.sigma**2)
        agree(rows(state.x[None]), weights, means, covariance[None])
    assert torch.equal(run.result.samples[0], state.x)


def test_samples_of_one_mixture_are_independent_draws(as_sampled):
    # The same law when every draw has a stream of its own, as users ask for it: samples=n.
    parts, alphas, m = [NARROW] * 2, [1.0, 0.5], [0.5, 0.8]
    settings = {"levels": 1, **as_sampled}
    found = basis.separate(torch.tensor(m), build(NARROW), basis.WeightedSum(alphas), samples=1500, **settings)
    weights, means, H = exact(parts, alphas, m, 0.01, 0.01)
    agree(found.samples[0].flatten(1).double().numpy(), weights, means, recursion(H[0], 2e-5)[None])


class WrongSign(basis.AnnealedPosterior):
    """Algorithm 1 as printed."""

    def score(self, x, sigma):
        return 2 * self.prior.score(x, sigma) - super().score(x, sigma)


MUTANTS = {
    "right": {},
    "flipped sign": {"posterior": WrongSign},
    "released code's factor 2": {"ratio": 0.5**0.5},
    "likelihood × 1.15": {"ratio": 1.15**-0.5},
    "noise × 1.05": {"temperature": 1.05**2},
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_comparison_tells_right_from_wrong(mutant, tiled):
    # Each error must be caught by the number of samples used above; the right posterior passes the same check.
    changes = {"posterior": basis.AnnealedPosterior, "ratio": 1.0, "temperature": 1.0, **MUTANTS[mutant]}
    alphas = [1.0, 0.5]
    priors, mixture = posed(tiled, [NARROW] * 2, [0.5, 0.8], N // 16)
    prior, mixture = basis.Product(priors), mixture.expand(16, -1, -1)
    target = changes["posterior"](prior, basis.WeightedSum(alphas), mixture, changes["ratio"])
    noise = Noise(prior.shape, 3, range(16))
    weights, means, H = exact([NARROW] * 2, alphas, [0.5, 0.8], 0.01, 0.01)
    covariance = recursion(H[0], 2e-5)[None]
    sampler = basis.AnnealedLangevin(basis.geometric(levels=1), temperature=changes["temperature"])
    *_, state = sampler.run(target, noise.uniform(), noise.normal)
    x = rows(state.x[None])
    if mutant == "right":
        agree(x, weights, means, covariance)
    else:
        with pytest.raises(AssertionError):
            agree(x, weights, means, covariance)


def test_temperature_0_ends_at_the_posterior_mode(as_sampled):
    parts, alphas, m = [GAUSSIAN_3D, ([1.0], [[0.9, 0.0, 0.1]], [np.eye(3) * 0.05])], [0.7, -1.2], [0.3, 0.5, -0.4]
    found = basis.separate(
        torch.tensor(m), [build(part) for part in parts], basis.WeightedSum(alphas), samples=3,
        levels=2, sigma_min=0.2, delta=0.2 * 0.2**2, temperature=0, steps=400, **as_sampled,
    )  # fmt: skip
    mode = exact(parts, alphas, m, 0.2, 0.2)[1][0]
    np.testing.assert_allclose(found.samples[0].flatten(1), np.tile(mode, (3, 1)), atol=1e-5)


def test_the_same_sampler_draws_from_the_prior_alone(tiled):
    sampler = basis.AnnealedLangevin(basis.geometric(1.0, 0.3, 3), steps=400, delta=0.01 * 0.3**2)
    noise = Noise((N // 16, 2), 4, range(16))
    *_, state = sampler.run(tiled(build(MIXTURE_2D), N // 16), noise.uniform(), noise.normal)
    weights, means, covariances = (np.array(p) for p in MIXTURE_2D)
    agree(state.x.flatten(0, 1).double().numpy(), weights, means, covariances + 0.3**2 * np.eye(2))
