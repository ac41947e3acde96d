"""`basis.as_prior`: a prior of any denoiser, here of one in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

import basis

MEAN, VARIANCE = 0.25, 0.5


class Network(nn.Module):
    """The same denoiser as a network, which takes σ as (B,)."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(MEAN))

    def forward(self, x, sigma):
        assert sigma.shape == (len(x),)
        share = VARIANCE / (VARIANCE + sigma[:, None, None, None] ** 2)
        return self.mean + share * (x - self.mean)


def function(x, sigma):
    return MEAN + VARIANCE / (VARIANCE + sigma**2) * (x - MEAN)


@pytest.mark.parametrize("denoiser", [function, Network()])
@pytest.mark.parametrize("sigma", [0.3, torch.tensor(0.3), torch.tensor([0.3, 1.0])])
def test_the_score_is_that_of_the_normal_distribution(denoiser, sigma):
    prior = basis.as_prior(denoiser, (1, 2, 2))
    x = torch.rand(2, 1, 2, 2)
    level = torch.as_tensor(sigma).expand(2)[:, None, None, None]
    assert torch.allclose(prior.score(x, sigma), (MEAN - x) / (VARIANCE + level**2), atol=1e-5)


def test_properties():
    prior = basis.as_prior(function, [1, 2, 2], data_range=(0, 1), levels=[1.0, 0.1])
    assert (prior.shape, prior.data_range, prior.levels) == ((1, 2, 2), (0, 1), (1.0, 0.1))
    network = Network()
    assert list(basis.as_prior(network, (1, 2, 2)).parameters()) == [network.mean]
    with pytest.raises(basis.UsageError, match=r"denoiser.* takes a function, got 3"):
        basis.as_prior(3, (1, 2, 2))


def test_it_separates():
    """Two normal sources of the same prior: the posterior's mean of each is half of the mixture."""
    prior = basis.as_prior(function, (1, 2, 2))
    mixture = np.full((1, 2, 2), 0.8, np.float32)
    found = basis.separate(mixture, prior, weights=[1, 1], method="sample", samples=2000, assess=False, steps=50)
    assert torch.allclose(found.samples.mean(1), torch.tensor(0.4), atol=0.05)
    assert found.residual.item() < 1e-6
