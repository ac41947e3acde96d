"""Weights fitted with the sources: the equation, and weights that nobody told."""

import numpy as np
import pytest
import torch

import basis
from basis.posteriors.unknown_weights import UnknownWeights, fit_weights


def test_it_is_its_equation(edm):
    prior, mixing = basis.Product([edm, edm]), basis.WeightedSum([1.0, 0.7])
    generator = torch.Generator().manual_seed(0)
    x, m = (torch.rand(3, *shape, generator=generator) for shape in ((2, 1, 8, 8), (1, 8, 8)))
    sigma, spread = torch.tensor([0.1, 0.5, 2.0]), 0.4
    found = UnknownWeights(prior, mixing, m, spread).denoise(x, sigma)
    for i in range(3):
        clean = prior.denoise(x[i : i + 1], sigma[i].item())[0].flatten(1).double().numpy()
        X, y, ridge = clean.clip(0, 1), m[i].flatten().double().numpy(), (sigma[i].item() / spread) ** 2
        alphas = np.linalg.solve(X @ X.T + ridge * np.eye(2), X @ y + ridge * np.array([1.0, 0.7]))
        expected = clean + np.outer(alphas, y - alphas @ clean) / (alphas @ alphas)
        np.testing.assert_allclose(found[i].flatten(1), expected, atol=1e-4)


def test_least_squares():
    generator = torch.Generator().manual_seed(0)
    x, alphas = torch.rand(4, 3, 1, 5, 5, generator=generator), torch.rand(4, 3, generator=generator)
    m = torch.einsum("bk,bkchw->bchw", alphas, x)
    torch.testing.assert_close(fit_weights(x, m), alphas, rtol=0, atol=1e-4)
    torch.testing.assert_close(fit_weights(x, m, torch.tensor([1.0, 2.0, 3.0]), 1e9)[0], torch.tensor([1.0, 2.0, 3.0]))


@pytest.fixture
def images():
    """Eight images of 16 pixels, known to 0.02."""
    means = torch.rand(8, 16, generator=torch.Generator().manual_seed(0))
    return basis.GaussianMixture(torch.ones(8), means, 4e-4 * torch.eye(16).expand(8, 16, 16))


def test_weights_that_nobody_told(images):
    true = torch.tensor([[0.6, 1.3], [1.2, 0.9], [0.8, 1.1], [1.4, 0.5]])
    pairs = torch.tensor([[0, 3], [1, 6], [2, 7], [4, 5]])
    truth = images.means[pairs] + 0.02 * torch.randn(4, 2, 16, generator=torch.Generator().manual_seed(1))
    mixture, guess = (true[..., None] * truth).sum(1), basis.WeightedSum([1.0, 1.0])
    settings = {"steps": 60, "samples": 8}
    fitted = basis.separate(mixture, images, guess, "best_of", inner=UNKNOWN, samples=8)
    alphas = fit_weights(fitted.sources, mixture)
    order = basis.align(fitted, truth)
    found = alphas.gather(1, order)
    assert (found - true).abs().max() < 0.1
    told = basis.separate(mixture, images, guess, "sample", **settings)
    error, wrong = (
        (basis.reorder(one, order) - truth).square().mean().sqrt() for one in (fitted.sources, told.sources)
    )
    assert error < 0.05
    assert wrong > 3 * error


# As on the command line: --method sample --set posterior=unknown_weights --set project=false.
UNKNOWN = basis.Sample("unknown_weights", steps=60, project=False)


def test_the_spread_holds_the_weights(images):
    x, m = torch.rand(1, 2, 16), torch.rand(1, 16)
    stiff = UnknownWeights(basis.Product([images] * 2), basis.WeightedSum([1.0, 0.5]), m, spread=1e-4)
    told = basis.DDNM(basis.Product([images] * 2), basis.WeightedSum([1.0, 0.5]), m)
    torch.testing.assert_close(stiff.denoise(x, 0.5), told.denoise(x, 0.5), rtol=0, atol=1e-4)


def test_bad_settings(images):
    prior, m = basis.Product([images] * 2), torch.rand(1, 16)
    with pytest.raises(basis.UsageError, match="spread of the weights must be positive, got 0"):
        UnknownWeights(prior, basis.WeightedSum([1.0, 1.0]), m, spread=0)
    with pytest.raises(basis.UsageError, match="needs a weighted sum"):
        UnknownWeights(prior, basis.Clipped([1.0, 1.0]), m)
