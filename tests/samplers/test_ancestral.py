"""Ancestral and Heun against the truth: closed forms, the exact law of each recursion, and orders of convergence."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

import basis
from closed_forms import GAUSSIAN_3D, MIXTURE_2D, N, agree, build, exact

LEVELS = 150
SAMPLERS = {
    "ddim": lambda sigmas: basis.Ancestral(sigmas, eta=0.0),
    "half": lambda sigmas: basis.Ancestral(sigmas, eta=0.5),
    "ancestral": lambda sigmas: basis.Ancestral(sigmas, eta=1.0),
    "heun": lambda sigmas: basis.Heun(sigmas),
    "heun with churn": lambda sigmas: basis.Heun(sigmas, churn=40.0),
}


def draws(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)


def run(sampler, target, x, seed=0):
    draw = draws(seed)
    return [state.x for state in sampler.run(target, x, lambda: draw(x.shape))]


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_follow_the_prior(name):
    weights, means, covariances = (np.array(part) for part in MIXTURE_2D)
    draw, pick = draws(1), torch.rand(N, generator=torch.Generator().manual_seed(2)) > weights[0]
    scales = torch.tensor(np.linalg.cholesky(covariances + 9 * np.eye(2))).float()[pick.long()]
    x = torch.tensor(means).float()[pick.long()] + (scales @ draw((N, 2, 1)))[..., 0]
    last = run(SAMPLERS[name](basis.karras(levels=LEVELS)), build(MIXTURE_2D), x)[-1]
    agree(last.double().numpy(), weights, means, covariances)


@pytest.mark.parametrize(("name", "noise"), [*((name, 0.2) for name in SAMPLERS), ("ancestral", 0.0)])
def test_samples_follow_the_posterior(name, noise):
    alphas, m = [1.0, -0.5], [0.1, -0.2, 0.6]
    weights, means, H = exact([GAUSSIAN_3D] * 2, alphas, m, 0.0, noise or 1e-4)
    covariance = np.linalg.inv(H)
    prior = basis.Product([build(GAUSSIAN_3D)] * 2)
    mixtures = torch.tensor(m).expand(N, 3)
    target = basis.MMPS(prior, basis.WeightedSum(alphas), mixtures, noise)
    scale = torch.tensor(np.linalg.cholesky(covariance[0] + 9 * np.eye(6))).float()
    x = torch.tensor(means[0]).float() + draws(3)((N, 6)) @ scale.T
    last = run(SAMPLERS[name](basis.karras(levels=LEVELS // 2)), target, x.unflatten(1, (2, 3)))[-1]
    if noise:
        agree(last.flatten(1).double().numpy(), weights, means, covariance)
    else:  # a singular covariance: the mixture is met, and the first source says all
        torch.testing.assert_close(basis.WeightedSum(alphas)(last), mixtures, atol=2e-3, rtol=0)
        agree(last[:, 0].double().numpy(), weights, means[:, :3], covariance[:, :3, :3])


def test_the_comparison_tells_fresh_noise_and_wrong_noise():
    weights, means, covariances = (np.array(part) for part in GAUSSIAN_3D)
    scale = torch.tensor(np.linalg.cholesky(covariances[0] + 9 * np.eye(3))).float()
    x = torch.tensor(means[0]).float() + draws(3)((N, 3)) @ scale.T
    sigmas = basis.karras(levels=LEVELS)
    wrong = [basis.Ancestral(sigmas, math.inf), basis.Heun(sigmas, 40.0, inflation=1.3)]
    for sampler in wrong:
        with pytest.raises(AssertionError):
            agree(run(sampler, build(GAUSSIAN_3D), x)[-1].double().numpy(), weights, means, covariances)


def law(target, sigmas, eta, mean, covariance):
    """Return the exact mean and covariance after each step for an affine denoiser, in float64."""
    size, moments = len(mean), []
    for sigma, below in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        rows = torch.cat([torch.zeros(1, size), torch.eye(size)]).double()
        D = target.denoise(rows.reshape(size + 1, *target.shape), sigma).flatten(1).numpy()
        b, D = D[0], (D[1:] - D[0]).T
        s = below if math.isinf(eta) else min(below, eta * below * math.sqrt(1 - (below / sigma) ** 2))
        old = math.sqrt(below**2 - s**2) / sigma
        G = D + old * (np.eye(size) - D)
        mean, covariance = G @ mean + (1 - old) * b, G @ covariance @ G.T + s**2 * np.eye(size)
        moments.append((mean, covariance))
    return moments


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 3.0, math.inf])
def test_few_steps_follow_the_law_of_the_recursion(eta):
    # Projection of the denoised estimate, at five levels: what is computed, not what it tends to.
    prior, mixing = basis.Product([build(GAUSSIAN_3D)] * 2), basis.WeightedSum([1.0, -0.5])
    m = torch.tensor([[0.1, -0.2, 0.6]])
    sigmas = basis.karras(3.0, 0.1, 5).tolist()
    x = 0.5 + 3 * draws(0)((N, 2, 3))
    found = run(basis.Ancestral(torch.tensor(sigmas).double(), eta), basis.DDNM(prior, mixing, m), x, seed=1)
    affine = basis.DDNM(prior.double(), mixing, m.double().expand(7, 3))
    expected = law(affine, sigmas, eta, np.full(6, 0.5), 9 * np.eye(6))
    for step in range(4):
        mean, covariance = expected[step]
        agree(found[step].flatten(1).double().numpy(), np.ones(1), mean[None], covariance[None])
    torch.testing.assert_close(mixing(found[-1]), m.expand(N, 3), atol=1e-4, rtol=0)


def test_the_law_tends_to_the_target_up_to_eta_1():
    v = 0.09
    prior = basis.GaussianMixture([1.0], [[0.4]], [[[v]]]).double()

    def variance(eta, levels):
        sigmas = basis.karras(3.0, 0.01, levels).tolist()
        mean, covariance = law(prior, sigmas, eta, np.array([0.4]), np.array([[v + 9.0]]))[-1]
        assert mean == pytest.approx(0.4)
        return covariance[0, 0]

    for eta in (0.0, 0.5, 1.0):
        errors = [abs(variance(eta, levels) / v - 1) for levels in (25, 50, 100, 400)]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 0.05
    # Fresh noise alone: S = (v/(v+σ²))² S + σ² has the solution (v+σ²)²/(2v+σ²), half of v as σ falls.
    for sigma, expected in ((0.3, 0.12), (0.03, (v + 0.0009) ** 2 / (2 * v + 0.0009))):
        *_, before, _ = law(prior, [sigma] * 500, math.inf, np.array([0.4]), np.array([[v]]))
        assert before[1].item() == pytest.approx(expected, rel=1e-3)
    assert expected == pytest.approx(v / 2, rel=0.02)


def test_one_step_by_hand(gaussian):
    x, eps = torch.rand(3, *gaussian.shape), torch.randn(3, *gaussian.shape)
    D = gaussian.denoise(x, 0.5)
    for eta, s in [(0.0, 0.0), (1.0, 0.3 * 0.8), (0.5, 0.15 * 0.8), (math.inf, 0.3), (2.0, 0.3)]:
        found = basis.Ancestral(torch.tensor([0.5, 0.3]), eta).step(x, 0.5, 0.3, gaussian, lambda: eps)
        torch.testing.assert_close(found, D + math.sqrt(0.09 - s**2) / 0.5 * (x - D) + s * eps)
    renoised = basis.Ancestral(eta=math.inf).step(x, 0.5, 0.3, gaussian, lambda: eps)
    torch.testing.assert_close(renoised, D + 0.3 * eps)


def test_one_heun_step_by_hand(gaussian):
    x, eps = torch.rand(3, *gaussian.shape), torch.randn(3, *gaussian.shape)
    sigmas = torch.tensor([0.5, 0.3, 0.1, 0.05])
    for churn, gamma in [(0.0, 0.0), (0.8, 0.2), (99.0, math.sqrt(2) - 1)]:
        hat = 0.5 * (1 + gamma)
        y = x + math.sqrt(hat**2 - 0.25) * 1.1 * eps
        d = (y - gaussian.denoise(y, hat)) / hat
        z = y + (0.3 - hat) * d
        expected = y + (0.3 - hat) * (d + (z - gaussian.denoise(z, 0.3)) / 0.3) / 2
        sampler = basis.Heun(sigmas, churn, inflation=1.1)
        torch.testing.assert_close(sampler.step(x, 0.5, 0.3, gaussian, lambda: eps), expected)
    outside = basis.Heun(sigmas, 0.8, churn_min=0.1, churn_max=0.4)
    torch.testing.assert_close(
        outside.step(x, 0.5, 0.3, gaussian, None), basis.Heun(sigmas).step(x, 0.5, 0.3, gaussian, None)
    )


@pytest.mark.parametrize(("sampler", "order"), [(basis.Heun, 2), (lambda s: basis.Ancestral(s, eta=0.0), 1)])
def test_order_of_convergence(sampler, order):
    # The flow of N(0.4, v) is exact: x - 0.4 scales with √(v + σ²).
    v, ends = 0.09, (3.0, 0.05)
    prior = basis.GaussianMixture([1.0], [[0.4]], [[[v]]]).double()
    x = torch.tensor([[2.0]]).double()
    expected = 0.4 + 1.6 * math.sqrt((v + ends[1] ** 2) / (v + ends[0] ** 2))
    errors = []
    for levels in (65, 129, 257):
        *_, before, _ = sampler(basis.karras(*ends, levels)).run(prior, x, None)
        errors.append(abs(before.x.item() - expected))
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2**order, rel=0.12)


class Counted(basis.ScorePrior):
    def __init__(self, prior):
        super().__init__(prior.shape)
        self.prior, self.count = prior, 0

    def score(self, x, sigma):
        self.count += 1
        return self.prior.score(x, sigma)


def test_evaluations_and_the_end(gaussian):
    x = torch.rand(2, *gaussian.shape)
    for sampler, expected in [
        (basis.Ancestral(basis.karras(levels=7), math.inf), 7),
        (basis.Ancestral(basis.karras(levels=7), 0.0), 7),
        (basis.Heun(basis.karras(levels=7)), 13),
        (basis.Heun(basis.karras(levels=7), 1.0), 13),
    ]:
        target = Counted(gaussian)
        states = run(sampler, target, x)
        assert target.count == expected
        if getattr(sampler, "churn", 0.0) == 0:
            torch.testing.assert_close(states[-1], gaussian.denoise(states[-2], 0.01))


def test_no_noise_is_drawn_where_none_is_used(gaussian):
    for sampler in (basis.Ancestral(eta=0.0), basis.Heun()):
        assert sum(1 for _ in sampler.run(gaussian, torch.zeros(1, *gaussian.shape), None)) == 50


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (basis.Ancestral, {"eta": -0.1}), (basis.Ancestral, {"eta": math.nan}), (basis.Heun, {"churn": -1}),
        (basis.Heun, {"churn": math.nan}), (basis.Heun, {"churn_min": 2.0, "churn_max": 1.0}),
        (basis.Heun, {"inflation": -1}), (basis.Heun, {"inflation": math.inf}),
    ],
)  # fmt: skip
def test_bad_settings(make, bad):
    with pytest.raises(basis.UsageError, match=r"expected (eta|churn) >= 0.*got.*To fix"):
        make(**bad)
