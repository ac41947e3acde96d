"""The log-likelihood by the probability-flow ODE, against densities in closed form."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import basis
from basis.core.prior import ScorePrior
from basis.priors._flow import flow_log_prob
from basis.separators._ranking import flow, likelihood
from closed_forms import GAUSSIAN_3D, MIXTURE_2D, build


@pytest.fixture
def points():
    return torch.rand(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_it_is_the_log_density(points):
    two = build(MIXTURE_2D).double()
    found = flow_log_prob(two, points, 0.2, 60.0, steps=400, probes=None)
    torch.testing.assert_close(found, two.log_prob(points, 0.2), rtol=0, atol=1e-3)
    three = build(GAUSSIAN_3D).double()
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = flow_log_prob(three, x, 0.2, 60.0, steps=400, probes=None)
    torch.testing.assert_close(found, three.log_prob(x, 0.2), rtol=0, atol=1e-3)


def test_its_error_falls_with_the_square_of_the_step(points):
    two = build(MIXTURE_2D).double()
    exact = two.log_prob(points, 0.1)
    errors = [(flow_log_prob(two, points, 0.1, 100.0, n, None) - exact).abs().max().item() for n in (40, 80, 160)]
    for coarse, fine in pairwise(errors):
        assert 3.5 < coarse / fine < 4.5


def test_what_a_small_largest_level_costs():
    # ½ d ln(1 + v / σ_max²), for N(0, v): the end is taken for N(0, σ_max²), and D(x, σ_max) for its mean.
    v, sigma_max = 0.5, 4.0
    prior = basis.GaussianMixture([1.0], torch.zeros(1, 3), v * torch.eye(3)[None]).double()
    found = flow_log_prob(prior, torch.zeros(1, 3).double(), 0.1, sigma_max, steps=200)
    expected = prior.log_prob(torch.zeros(1, 3).double(), 0.1) + 1.5 * math.log1p(v / sigma_max**2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_random_signs_estimate_the_divergence(points):
    # vᵀ J v is the trace for every v of signs if J is diagonal; else on average, here over the four signs' two kinds.
    diagonal = basis.GaussianMixture([1.0], [[0.2, 0.6]], [[[0.1, 0.0], [0.0, 0.3]]]).double()
    for seed in range(3):
        one = flow_log_prob(diagonal, points, steps=20, seed=seed)
        torch.testing.assert_close(one, flow_log_prob(diagonal, points, steps=20, probes=None), rtol=0, atol=1e-6)
    two = build(MIXTURE_2D).double()
    exact = flow_log_prob(two, points, steps=20, probes=None)
    errors = [(flow_log_prob(two, points, steps=20, probes=n) - exact).abs().max() for n in (1, 60)]
    assert errors[1] < 0.35 * errors[0]


def test_an_example_does_not_depend_on_the_others(points):
    two = build(MIXTURE_2D).double()
    alone = torch.cat([flow_log_prob(two, point[None], steps=10) for point in points])
    torch.testing.assert_close(flow_log_prob(two, points, steps=10), alone, rtol=1e-9, atol=1e-9)


def test_discrete_levels_are_kept(points):
    class Known(ScorePrior):
        def score(self, x, sigma):
            assert sigma in self.levels
            return -x / (1 + sigma**2)

    assert flow_log_prob(Known((2,), levels=[9.0, 3.0, 1.0, 0.3, 0.1]), points).isfinite().all()


class Blunt(ScorePrior):
    def score(self, x, sigma):
        return -x.detach()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"sigma": 0.0}, "0 < sigma < sigma_max"), ({"sigma_max": 0.01}, "0 < sigma"), ({"steps": 0}, "steps >= 1")],
)
def test_bad_settings(settings, message, points):
    with pytest.raises(basis.UsageError, match=message):
        flow_log_prob(build(MIXTURE_2D), points, **settings)
    with pytest.raises(basis.UsageError, match="gives no derivatives"):
        flow_log_prob(Blunt((2,)), points)


def test_the_rank_agrees_with_posterior_odds():
    # As for the denoising rank: candidates x, m - x that meet the mixture exactly; their odds are p(x) p(m - x).
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(8, 16, generator=generator)
    prior = basis.GaussianMixture(torch.ones(8), means, 0.01 * torch.eye(16).expand(8, 16, 16))
    product, correlations = basis.Product([prior, prior]), []
    for i in range(4):
        m = means[i] + means[(3 * i + 1) % 8] + 0.14 * torch.randn(16, generator=generator)
        x = means.repeat(3, 1) + 0.1 * torch.randn(24, 16, generator=generator)
        stacks = torch.stack([x, m - x], 1)
        odds, found = likelihood(product, stacks, 0.05), flow(product, stacks)
        correlations.append(spearmanr(odds, found).statistic)
        assert odds[found.argmax()] > odds.max() - 2
    assert min(correlations) >= 0.95


def test_best_of_ranks_a_network_by_it(edm):
    mixture = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    mixing = basis.WeightedSum([1.0, 1.0])
    found = basis.separate(mixture, edm, mixing, "best_of", rank="flow", samples=3, levels=1, steps=2)
    pairs = found.samples[0].flatten(0, 1)
    expected = flow_log_prob(edm, pairs, 0.05, 10.0, 16).unflatten(0, (3, 2)).sum(1)
    np.testing.assert_allclose(found.scores[0], expected, rtol=1e-4)
    assert found.choice[0] == expected.argmax()
