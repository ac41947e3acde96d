"""The U-Net in one dimension and two is one network: what it says of both is held to the same truths."""

import math

import pytest
import torch

import basis
from basis.nn.magnitude import hold_weights
from basis.nn.unet import UNet, doubled, folded, halved, unfolded
from basis.priors.edm import EDM

SHAPES = [(1, 16), (2, 13), (1, 8, 8), (3, 7, 10)]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(shape, **settings):
    torch.manual_seed(0)
    made = UNet(shape, widths=[8, 16], blocks=[1, 1], attention=[False, True], **settings)
    for name, parameter in made.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.5)
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_padding(shape):
    x, level = normal(3, *shape), torch.tensor([0.1, 0.2, 0.3])
    found = network(shape)(x, level)
    assert found.shape == x.shape
    assert found.std() > 0.01
    for i in range(3):  # each example by itself
        torch.testing.assert_close(network(shape)(x[i : i + 1], level[i : i + 1]), found[i : i + 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_classes_and_what_is_beside(shape):
    made = network(shape, beside=1, classes=4)
    x = normal(2, shape[0] + 1, *shape[1:])
    found, logits = made.classified(x, torch.zeros(1))
    assert found.shape == (2, *shape)
    assert logits.shape == (2, 4)
    other = x.clone()
    other[:, -1] += 1.0
    assert not torch.allclose(made(other, torch.zeros(1)), found)


def test_a_signal_is_an_image_of_one_row():
    """Pooling, doubling and folding of (C, L) are those of the same values in each of two equal rows."""
    x = normal(2, 3, 12)
    rows = x[:, :, None].expand(-1, -1, 2, -1)
    torch.testing.assert_close(halved(x) * math.sqrt(2), halved(rows)[:, :, 0])  # the mean of four equal in twos
    torch.testing.assert_close(doubled(x), doubled(rows)[:, :, 0])
    assert torch.equal(doubled(x), x.repeat_interleave(2, 2))
    assert torch.equal(unfolded(folded(x, 3), 3), x)
    assert torch.equal(folded(x, 3)[0, 1], x[0, 0, 1::3])


def test_each_part_keeps_the_variance():
    x = normal(4, 16, 256)
    for found in (halved(x), doubled(x), folded(x, 4)):
        assert found.std().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("shape", [(1, 16), (1, 8, 8)])
def test_held_weights_have_unit_norm(shape):
    made = network(shape).requires_grad_(True)
    hold_weights(made)
    norms = [p.weight.flatten(1).norm(dim=1) for p in made.modules() if hasattr(p, "parametrizations")]
    assert len(norms) > 10
    torch.testing.assert_close(torch.cat(norms), torch.ones(sum(map(len, norms))), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(2, 12), (2, 6, 6)])
@pytest.mark.parametrize("settings", [{}, {"borders": [0.3]}, {"known": [[0.5, 0.5]]}, {"colours": 0.2}])
def test_a_new_edm_is_the_normal_of_its_mean_and_std(shape, settings):
    """A new network answers 0, and D = μ + σ_data² / (σ² + σ_data²) (x - μ) is left."""
    prior = EDM(shape, -0.2, 0.5, widths=[8, 8], blocks=[1, 1], attention=[False, True], data_range=(-1, 1), **settings)
    assert (prior.shape, prior.data_range) == (shape, (-1, 1))
    x, sigma = normal(3, *shape), torch.tensor([0.1, 0.4, 2.0])
    skip = (0.25 / (sigma**2 + 0.25)).reshape(-1, *[1] * len(shape))
    found, expected = prior.denoise(x, sigma), -0.2 + skip * (x + 0.2)
    if "colours" in settings:  # that is the law of the channels' mean alone
        found, expected = found.mean(1), expected.mean(1)
    torch.testing.assert_close(found, expected)


def test_what_edm_does_not_take():
    arguments = {"mean": 0.0, "std": 1.0, "widths": [8], "blocks": [1], "attention": [False]}
    for shape in ((8,), (1, 2, 3, 4)):
        with pytest.raises(basis.UsageError, match=r"signals \(C, L\) or images \(C, H, W\)"):
            EDM(shape, **arguments)
    with pytest.raises(basis.UsageError, match="wants images"):
        EDM((1, 8), **arguments, known=[[1.0]], reads=[8])
    assert EDM((1, 8), **arguments, data_range=None).data_range is None
    with pytest.raises(basis.UsageError, match="data_range"):
        EDM((1, 8), **arguments, data_range=(1, -1))


def test_an_edm_of_signals_is_saved_and_loaded(tmp_path):
    arguments = {"shape": [1, 12], "mean": 0.0, "std": 0.5, "widths": [8], "blocks": [1], "attention": [True],
                 "data_range": [-1.0, 1.0]}  # fmt: skip
    prior = EDM(**arguments)
    for parameter in prior.parameters():
        parameter.data += 0.1
    again = basis.load_prior(basis.save_prior(prior, arguments, tmp_path / "signals"))
    assert (again.shape, again.data_range) == ((1, 12), (-1.0, 1.0))
    x = normal(2, 1, 12)
    torch.testing.assert_close(again.denoise(x, 0.3), prior.denoise(x, 0.3))
