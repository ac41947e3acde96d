"""How many sources there are, against the exact evidence of a prior that knows a few points."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch

import basis
from basis.core.errors import UncertainWarning
from basis.core.separator import separation
from basis.evaluate.counting import Counting

POINTS = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(3))
WEIGHTS = torch.tensor([0.1, 0.2, 0.3, 0.4])
SIGMA = 0.02  # the points are about 0.5 apart
PRIOR = basis.GaussianMixture(WEIGHTS.tolist(), POINTS, 1e-8 * torch.eye(4).expand(4, 4, 4))
MOST = 3


class Enumeration(basis.Separator):
    """The sources nearest to the mixture among all that there can be."""

    def stream(self, problem, noise):
        yield from ()
        every = torch.stack([POINTS[list(one)] for one in itertools.product(range(4), repeat=problem.mixing.sources)])
        distance = (problem.mixture[:, None] - problem.mixing(every)).flatten(2).square().sum(2)
        return separation(problem, every[distance.argmin(1)])


def exact(m, count, *, mean):
    """Return log p(m | K) of a mixture (1, 2, 2) with noise N(0, SIGMA² I): all ordered tuples of points."""
    total = []
    for one in itertools.product(range(4), repeat=count):
        sum_ = POINTS[list(one)].double().sum(0) / (count if mean else 1)
        error = (m.double() - sum_).square().sum() / (2 * SIGMA**2)
        total.append(WEIGHTS[list(one)].double().log().sum() - error - 2 * math.log(2 * math.pi * SIGMA**2))
    return torch.logsumexp(torch.stack(total), 0)


@pytest.mark.parametrize("mean", [False, True])
def test_the_evidence_is_the_exact_one_and_finds_the_number(mean):
    stacks = [[2], [0, 3], [1, 3, 0]]
    m = torch.stack([POINTS[one].mean(0) if mean else POINTS[one].sum(0) for one in stacks])
    m = m + SIGMA * torch.randn(m.shape, generator=torch.Generator().manual_seed(0))
    found = basis.count_sources(m, PRIOR, MOST, Enumeration(), mean=mean, sigma=SIGMA)
    assert found.counts.tolist() == [1, 2, 3]
    for i, count in itertools.product(range(3), range(1, MOST + 1)):
        wanted = exact(m[i], count, mean=mean)
        # K different points: K! orders. Where points are the same there are fewer, and far off others may be as near.
        slack = 1e-2 if count == i + 1 else math.lgamma(count + 1) + 1
        assert abs(found.evidence[i, count - 1].item() - wanted.item()) < slack
    torch.testing.assert_close(found.chances.sum(1), torch.ones(3))
    assert [one.sources.shape[1] for one in found.separations] == [1, 2, 3]


def test_one_mixture_and_bad_input():
    assert basis.count_sources(POINTS[0].numpy(), PRIOR, 2, Enumeration(), sigma=SIGMA).evidence.shape == (1, 2)
    for most, sigma in ((0, 0.1), (2.0, 0.1), (2, 0.0)):
        with pytest.raises(basis.UsageError, match="most >= 1 and sigma > 0"):
            basis.count_sources(POINTS[0], PRIOR, most, sigma=sigma)


def test_the_bundled_prior_counts_its_examples():
    """Without a density: by the log-likelihood of the probability flow."""
    sums = [np.load(basis.example(name))["sources"].sum(0) / 255 for name in ("two-a", "three-b")]
    found = basis.count_sources(np.stack(sums), basis.load_prior("mnist"), 3, "fast")
    assert found.counts.tolist() == [2, 3]
    assert found.chances.amax(1).min() > 0.99


def normal(m, mean, variance, count, sigma):
    """Return log p(m | K) of sources N(mean, variance I) with noise N(0, sigma² I)."""
    scale = math.sqrt(count * variance + sigma**2)
    return torch.distributions.Normal(count * mean, scale).log_prob(m.double()).flatten(1).sum(1)


@pytest.mark.parametrize("side", [3, 10])  # 9 dimensions, and 100, where the determinant is estimated
@pytest.mark.parametrize("ratio", [1e-4, 1.0, 30.0])
def test_sources_that_vary_within_the_noise_are_told_of(side, ratio):
    """For normal sources the evidence and what is missing make the exact one, but for orders: one mode has none."""
    size, sigma, mean = side**2, 0.1, 0.5
    variance = ratio * sigma**2
    prior = basis.GaussianMixture([1.0], torch.full((1, 1, side, side), mean), variance * torch.eye(size)[None])
    noise = torch.randn(3, 1, side, side, generator=torch.Generator().manual_seed(0))
    m = 2 * mean + math.sqrt(2 * variance + sigma**2) * noise
    expected = torch.stack([normal(m, mean, variance, count, sigma) for count in (1, 2, 3)], 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = basis.count_sources(m, prior, 3, "average", sigma=sigma)
    orders = torch.tensor([math.lgamma(count + 1) for count in (1, 2, 3)])
    torch.testing.assert_close((found.evidence + found.missing - orders).double(), expected, rtol=1e-3, atol=0.05)
    assert [one.category for one in caught] == [UncertainWarning] * bool(found.uncertain.any())
    assert found.uncertain.all() == (ratio == 30.0)
    assert found.missing.max() < 0.05 or ratio > 1e-4


def test_the_issue_in_numbers():
    """Exactly p(K = 2) is 0.999, and the evidence alone says K = 1."""
    prior = basis.GaussianMixture([1.0], torch.full((1, 1, 10, 10), 0.1), 0.1 * torch.eye(100)[None])
    noise = torch.randn(1, 1, 10, 10, generator=torch.Generator().manual_seed(1))
    m = 0.2 + math.sqrt(0.2 + 0.01) * noise
    with pytest.warns(UncertainWarning, match="no probabilities.*larger sigma"):
        found = basis.count_sources(m, prior, 2, "average")
    exact_chances = torch.softmax(torch.stack([normal(m, 0.1, 0.1, count, 0.1) for count in (1, 2)], 1), 1)
    assert exact_chances[0, 1] > 0.99
    assert found.chances[0, 0] > 0.99
    assert found.uncertain.tolist() == [True]
    corrected = torch.softmax(found.evidence + found.missing, 1).double()
    torch.testing.assert_close(corrected, exact_chances, rtol=0, atol=0.01)


def test_what_cannot_be_told_is_not_told_of():
    found = Counting(torch.tensor([[0.0, 3.0]]), (), torch.tensor([[0.0, math.nan]]))
    assert found.uncertain.tolist() == [False]
