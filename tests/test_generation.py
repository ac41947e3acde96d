"""Samples of a prior itself, against distributions that are known."""

import pytest
import torch

import basis

MEAN = torch.tensor([0.3, -0.4])
COVARIANCE = torch.tensor([[0.5, 0.3], [0.3, 0.4]])


class Levels(basis.GaussianMixture):
    """The same distribution, as a prior that knows some noise levels alone."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.levels = tuple(basis.geometric(2.0, 0.05, 40).tolist())


@pytest.mark.parametrize("cls", [basis.GaussianMixture, Levels])
def test_samples_are_of_the_prior(cls):
    prior = cls([1.0], MEAN[None], COVARIANCE[None])
    x = basis.generate(prior, n=2000, seed=1, batch_size=2000)
    error = 4 * COVARIANCE.diagonal().sqrt() / 2000**0.5
    assert ((x.mean(0) - MEAN).abs() < error).all()
    torch.testing.assert_close(x.T.cov(), COVARIANCE, rtol=0.15, atol=0.02)


def test_a_sample_depends_on_its_number_alone(edm):
    whole = basis.generate(edm, n=5, seed=3)
    torch.testing.assert_close(basis.generate(edm, n=4, seed=3, batch_size=3), whole[:4], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(basis.generate(edm, n=4, seed=4), whole[:4], atol=1e-2)
    assert 0 <= whole.min() <= whole.max() <= 1


def test_another_sampler(edm):
    ascent = basis.AnnealedLangevin(basis.geometric(1.0, 0.1, 2), steps=2, temperature=0.0)
    assert basis.generate(edm, n=1, sampler=ascent).shape == (1, 1, 8, 8)
    with pytest.raises(basis.UsageError, match="n >= 1"):
        basis.generate(edm, n=0)
