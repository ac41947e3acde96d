"""What is minimized: each objective against a closed form."""

import itertools
import math

import pytest
import torch

import basis

pytest.importorskip("accelerate", reason="training needs the extra 'train'")

from basis.train.objectives import Denoising, Likelihood, ScoreMatching, unseen


def test_score_matching_of_a_perfect_score():
    """For p = N(0, I) the loss at the true score has expectation ½ d σ^p / (1 + σ²) / σ² (closed form)."""

    class Normal(basis.ScorePrior):
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

    class Identity(basis.ScorePrior):
        def score(self, x, sigma):
            return torch.zeros_like(x)

    blind = Denoising(Identity((1, 8, 8)), 0.5)(x, sigma, eps)
    expected = (sigma**2 + 0.5**2) / 0.5**2 * eps.square().mean((1, 2, 3))
    torch.testing.assert_close(blind, expected, rtol=1e-4, atol=0)

    class Point(basis.ScorePrior):
        def score(self, x, sigma):
            return (0.3 - x) / sigma[:, None, None, None] ** 2

    assert Denoising(Point((1, 8, 8)), 0.5)(x, sigma, eps).max() < 1e-8


def test_where_grey_is_known_noise_and_loss_are_those_of_the_rest():
    """D(y) = y has the loss of the noise: where a sum is known, that of the noise which it does not see."""
    x, eps = torch.rand(2, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    known = torch.tensor([[0.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.3, 0.6, 0.1]])
    sigma, std, rest = torch.tensor([0.1, 0.2, 1.0]), 0.25, 0.1
    seen = []

    class Identity(basis.ScorePrior):
        def score(self, x, sigma):
            seen.append(x)
            return torch.zeros_like(x)

    found = Denoising(Identity((3, 4, 4)), std, rest)(x, sigma, eps, known)
    hidden = [eps[0].double()]
    for i in (1, 2):  # by a projection matrix
        w = known[i].double()[:, None]
        hidden.append(torch.einsum("cd,dhw->chw", torch.eye(3) - w @ torch.linalg.pinv(w), eps[i].double()))
        torch.testing.assert_close(torch.tensordot(known[i], seen[0][i], 1), torch.tensordot(known[i], x[i], 1))
    s = torch.tensor([std, rest, rest])
    expected = (sigma**2 + s**2) / s**2 * torch.stack([part.square().mean() for part in hidden])
    torch.testing.assert_close(found, expected.float())
    assert torch.equal(unseen(eps, None), eps)
    assert torch.equal(Denoising(Identity((3, 4, 4)), std)(x, sigma, eps)[0], found[0])


def test_labels_add_the_cross_entropy_of_the_class():
    class Names(basis.ScorePrior):
        def score(self, x, sigma):
            return torch.zeros_like(x)

        def denoise_and_classify(self, x, sigma):
            return self.denoise(x, sigma), torch.tensor([[0.25, 0.75], [0.25, 0.75]]).log()

    x, eps = torch.rand(2, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.1, 1.0])
    loss = Denoising(Names((1, 4, 4)), 0.5, naming=0.2)
    added = loss(x, sigma, eps, torch.zeros(2, 1), torch.tensor([0, 1])) - loss(x, sigma, eps)
    torch.testing.assert_close(added, 0.2 * torch.tensor([math.log(4), math.log(4 / 3)]))
