"""What is minimized: each objective against a closed form."""

import itertools
import math

import pytest
import torch

import basis

pytest.importorskip("accelerate", reason="training needs the extra 'train'")

from basis.training.objectives import Denoising, Likelihood, ScoreMatching


def test_score_matching_of_a_perfect_score():
    """For p = N(0, I) the loss at the true score has expectation ½ d σ^p / (1 + σ²) / σ² (closed form)."""

    class Normal(basis.Prior):
        def score(self, x, sigma):
            return -x / (1 + sigma[:, None, None, None] ** 2)

    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 4000, 1, 4, 4, generator=generator)
    for sigma, power in itertools.product((0.1, 1.0), (2.0, 3.0)):
        losses = ScoreMatching(Normal((1, 4, 4)), power)(x, torch.full((4000,), sigma), eps)
        expected = 16 * sigma**power / (1 + sigma**2) / sigma**2 / 2
        assert losses.mean().item() == pytest.approx(expected, abs=5 * losses.std().item() / math.sqrt(4000))


def test_likelihood_in_bits_per_dimension():
    """A unit Gaussian at σ = 0: ½ log₂(2 π e) bits a dimension."""

    class Normal(basis.DensityPrior):
        def log_prob(self, x, sigma):
            variance = 1 + torch.as_tensor(sigma) ** 2
            return -0.5 * (x.flatten(1).square().sum(1) / variance + 16 * (2 * math.pi * variance).log())

    x = torch.randn(4000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    losses = Likelihood(Normal((1, 4, 4)))(x, torch.zeros(4000), x)
    assert losses.mean().item() == pytest.approx(0.5 * math.log2(2 * math.pi * math.e), abs=0.02)


def test_the_objective_of_a_perfect_and_of_a_blind_denoiser():
    """D(y) = y has the loss of the noise, E λ σ² ‖ε‖² / d; a point mass denoised exactly has none."""
    x = torch.full((4, 1, 8, 8), 0.3)
    sigma, eps = (
        torch.tensor([0.01, 0.1, 1.0, 10.0]),
        torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
    )

    class Identity(basis.Prior):
        def score(self, x, sigma):
            return torch.zeros_like(x)

    blind = Denoising(Identity((1, 8, 8)), 0.5)(x, sigma, eps)
    expected = (sigma**2 + 0.5**2) / 0.5**2 * eps.square().mean((1, 2, 3))
    torch.testing.assert_close(blind, expected, rtol=1e-4, atol=0)

    class Point(basis.Prior):
        def score(self, x, sigma):
            return (0.3 - x) / sigma[:, None, None, None] ** 2

    assert Denoising(Point((1, 8, 8)), 0.5)(x, sigma, eps).max() < 1e-8
