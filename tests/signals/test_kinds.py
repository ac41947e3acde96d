"""Kinds of signals: which is found for a shape, and what it shows of values of any range."""

import numpy as np
import pytest
import torch

import basis
from basis.core.signal import SIGNALS, Signal, signal_of, signals
from basis.runs.read import read_mixture
from basis.signals._view import view
from basis.signals.array import HEIGHT, WIDTH, Array
from basis.signals.image import Picture

SHAPES = [(7,), (1, 64), (5, 9), (2, 6, 7), (2, 3, 4, 5), (1, 28, 28), (3, 8, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_kind_follows_from_the_shape(shape, tmp_path):
    signal = signal_of(shape)
    assert isinstance(signal, Picture if shape in ((1, 28, 28), (3, 8, 9)) else Array)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    shown = signal.picture(2 * x - 0.5)
    assert shown.dim() == 3
    assert shown.shape[0] in (1, 3)
    assert 0 <= shown.min() <= shown.max() <= 1
    path = tmp_path / f"x{signal.ending}"
    signal.write(path, x, (0.0, 1.0))
    again = signal.read(path, shape)[0]
    torch.testing.assert_close(again, x, rtol=0, atol=0.5 / 255 + 1e-6 if signal.ending == ".png" else 0)


def test_every_kind_says_what_it_is():
    for signal in signals():
        assert isinstance(signal, Signal)
        assert signal.ending in signal.suffixes
        assert "psnr" in signal.metrics
    assert signals()[-1].general
    assert set(SIGNALS.names()) >= {"array", "image"}


def test_lines_go_from_the_lowest_to_the_highest_value():
    """A line at 0 is dark in the last row, one at 1 in the first, a ramp from corner to corner."""
    low, high, ramp = (Array().picture(x)[0] < 0.5 for x in
                       (torch.zeros(1, 5), torch.ones(1, 5), torch.linspace(0, 1, 50)[None]))  # fmt: skip
    assert low.shape == (HEIGHT, WIDTH)
    assert low[-1].all()
    assert not low[:-1].any()
    assert high[0].all()
    assert not high[1:].any()
    columns = ramp.float().argmax(0)
    np.testing.assert_allclose(columns, np.linspace(HEIGHT - 1, 0, WIDTH), atol=2)
    both = Array().picture(torch.tensor([[0.0] * 9, [1.0] * 9]))[0]  # a line for each channel
    assert (both[[0, -1]] < 0.9).all()


def test_channels_beside_each_other():
    x = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Array().picture(x)[0], torch.cat([x[0], x[1]], 1))


@pytest.mark.parametrize("data_range", [(-1.0, 1.0), (0.0, 255.0), (3.0, 4.0)])
def test_a_view_does_not_depend_on_the_units(data_range):
    """Pictures in another range look like those in [0, 1]."""
    x = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    low, high = data_range
    other, mixing = low + (high - low) * x, basis.WeightedSum([1.0, 2.0])
    m, n = mixing(x[None]), mixing(other[None])
    one, two = view(m[0], mixing, x.shape, (0.0, 1.0)), view(n[0], mixing, x.shape, data_range)
    torch.testing.assert_close(one.source(x), two.source(other), rtol=0, atol=1e-5)
    torch.testing.assert_close(one.mixture(m), two.mixture(n), rtol=0, atol=1e-5)
    torch.testing.assert_close(one.error(m[0], 0.9 * m, 10), two.error(n[0], n - (high - low) * 0.1 * m, 10),
                               rtol=0, atol=1e-4)  # fmt: skip
    torch.testing.assert_close(one.spread(0.1 * x, 2), two.spread((high - low) * 0.1 * x, 2), rtol=0, atol=1e-6)


def test_without_limits_the_mixture_says_what_is_shown():
    m = torch.tensor([[-2.0, 0.0, 6.0]])
    found = view(m, basis.WeightedSum([1.0, 1.0]), (2, 1, 3), None)
    assert (tuple(found.sources), tuple(found.mixtures)) == ((-2.0, 6.0), (-2.0, 6.0))
    flat = view(torch.zeros(1, 3), basis.WeightedSum([1.0]), (1, 1, 3), None)
    assert flat.sources[0] < 0 < flat.sources[1]


@pytest.mark.parametrize(
    ("saved", "shape", "found"),
    [
        ((32,), (1, 32), (1, 1, 32)), ((1, 32), (1, 32), (1, 1, 32)), ((4, 1, 32), (1, 32), (4, 1, 32)),
        ((2, 32), (2, 32), (1, 2, 32)), ((5,), (5,), (1, 5)), ((3, 5), (5,), (3, 5)),
        ((2, 3, 4, 5), (2, 3, 4, 5), (1, 2, 3, 4, 5)), ((4, 6), (1, 4, 6), (1, 1, 4, 6)),
    ],
)  # fmt: skip
def test_arrays_of_any_shape(saved, shape, found, tmp_path):
    x = np.random.default_rng(0).normal(size=saved).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    read = read_mixture(tmp_path / "x.npy", shape, 2, mean=False)
    assert torch.equal(read, torch.from_numpy(x).reshape(found))


@pytest.mark.parametrize(("saved", "shape"), [((33,), (1, 32)), ((2, 32), (1, 32)), ((1, 2, 1, 32), (1, 32)),
                                              ((6,), (5,)), ((0, 1, 32), (1, 32)), ((32,), (1, 4, 6))])  # fmt: skip
def test_arrays_that_do_not_fit(saved, shape, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(saved, np.float32))
    with pytest.raises(basis.DataError, match=rf"x.npy has shape .*, the prior takes {'×'.join(map(str, shape))}"):
        read_mixture(tmp_path / "x.npy", shape, 2, mean=False)
