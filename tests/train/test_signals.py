"""Training on signals of one dimension: objectives, and what is done to the examples."""

import dataclasses

import numpy as np
import pytest
import torch

import basis
from basis.core.prior import DensityPrior, ScorePrior, per_example

pytest.importorskip("accelerate", reason="training needs the extra 'train'")

from basis.train.batches import Batches
from basis.train.objectives import Denoising, Likelihood, ScoreMatching
from basis.train.recipe import Recipe
from train.shared import ANY, given


class Normal(ScorePrior):
    """N(0, 1) in each value, in units of 1/3."""

    def score(self, x, sigma):
        return -x / (1 / 9 + per_example(sigma, x) ** 2)


class Density(DensityPrior):
    """The same, by its density."""

    def log_prob(self, x, sigma):
        scale = (1 / 9 + torch.as_tensor(sigma).reshape(-1, *[1] * (x.dim() - 1)) ** 2).sqrt()
        return torch.distributions.Normal(0.0, scale).log_prob(x).flatten(1).sum(1)


@pytest.mark.parametrize("shape", [(5,), (1, 40), (3, 8), (1, 4, 6), (2, 2, 2, 5)])
def test_objectives_take_any_shape(shape):
    """Each is that of the flattened examples, up to how it counts dimensions, which is by their number alone."""
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)) / 3
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    sigma = torch.tensor([0.1, 0.2, 0.5, 1.0])
    for make in (lambda s: Denoising(Normal(s), 1 / 3), lambda s: ScoreMatching(Normal(s), 2.0),
                 lambda s: Likelihood(Density(s))):  # fmt: skip
        found, flat = make(shape)(x, sigma, eps), make((x[0].numel(),))(x.flatten(1), sigma, eps.flatten(1))
        assert found.shape == (4,)
        torch.testing.assert_close(found, flat)


def test_what_a_sum_of_the_channels_does_not_see():
    """With the mean of two channels known, noise and loss are those of their difference: half of all values."""
    x, eps = torch.zeros(2, 2, 6), torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(0))
    known = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    loss = Denoising(Normal((2, 6)), 1 / 3)(x, torch.ones(2), eps, known)
    difference = (eps[:, 0] - eps[:, 1]) / 2
    weight = (1 + 1 / 9) * 9
    share = (1 / 9) / (1 / 9 + 1)  # of the noise that is left in the denoised estimate
    expected = [weight * (share * difference[0]).square().mean(), weight * (share * eps[1]).square().mean()]
    torch.testing.assert_close(loss, torch.stack(expected))


def test_signals_are_moved_and_mirrored():
    lines = torch.linspace(-1, 1, 12).repeat(1, 1, 1)  # one example
    plan = Recipe("edm", {}, "lines", steps=1, batch=200, shift=2)
    data = given(lines, (-1.0, 1.0))
    x = Batches(data, plan).draw(ANY, 0)[0]
    wide = np.pad(lines[0, 0].numpy(), 2, mode="reflect")
    moves = np.stack([(x[:, 0].numpy() == wide[i : i + 12]).all(1) for i in range(5)])
    assert moves.any(0).all()
    assert moves.any(1).all()
    x = Batches(data, dataclasses.replace(plan, shift=0, flip=True)).draw(ANY, 0)[0]
    mirrored = (x[:, 0] == lines[0, 0].flip(0)).all(1)
    assert (mirrored | (x == lines[0]).all((1, 2))).all()
    assert 0.4 < mirrored.double().mean() < 0.6


def test_values_are_in_units_of_the_data():
    """Floats are taken as they are; 8 bits stand for the data range, and are spread over their steps where asked."""
    bits = torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None]
    plan = Recipe("edm", {}, "lines", steps=1, batch=3)
    found = Batches(given(bits, (-1.0, 1.0)), plan).draw(ANY, 0)[0]
    assert sorted(found.flatten().tolist()) == pytest.approx([-1.0, -0.6, 1.0])
    spread = Batches(given(bits, (-1.0, 1.0)), dataclasses.replace(plan, dequantize=True)).draw(ANY, 0)[0]
    assert spread.min() >= -1
    assert spread.max() < 1
    assert ((spread + 1) / 2 * 256 % 1 > 0).all()
    floats = torch.tensor([[-3.0], [0.25]])
    found = Batches(given(floats, (-4.0, 4.0)), dataclasses.replace(plan, batch=2)).draw(ANY, 0)[0]
    assert sorted(found.flatten().tolist()) == [-3.0, 0.25]
    with pytest.raises(basis.UsageError, match="not stored in 8 bits"):
        Batches(given(floats), dataclasses.replace(plan, dequantize=True)).draw(ANY, 0)
