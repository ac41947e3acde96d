"""Windows: exact where pixels are independent, without seams where they are not, in memory that windows bound."""

import math
from itertools import pairwise

import pytest
import torch

import basis
from basis.core.prior import ScorePrior, per_example
from basis.priors.edm import EDM
from basis.priors.wrappers.windowed import Windowed, hann, starts

COLOUR = torch.tensor([[0.05, 0.03, 0.01], [0.03, 0.04, 0.02], [0.01, 0.02, 0.06]])  # of a pixel's channels
MEAN = torch.tensor([0.3, 0.5, 0.6])


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def coloured(height, width):
    """Independent pixels with correlated channels, N(MEAN, COLOUR) each."""
    covariance = torch.einsum("cd,ij->cidj", COLOUR, torch.eye(height * width)).reshape([3 * height * width] * 2)
    return basis.GaussianMixture([1.0], MEAN[None, :, None, None].expand(1, 3, height, width), covariance[None])


class Pixels(ScorePrior):
    """The same at any size, by a matrix of the channels alone."""

    def score(self, x, sigma):
        precision = torch.linalg.inv(COLOUR + sigma**2 * torch.eye(3))
        return -torch.einsum("cd,bdhw->bchw", precision, x - MEAN[:, None, None])


class Smooth(ScorePrior):
    """A stationary Gaussian process on n×n pixels, covariance ``s² exp(-d²/2ℓ²)``; counts what it is called with."""

    def __init__(self, n, length, std=0.2):
        super().__init__((1, n, n))
        place = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64)] * 2)
        distance = (place[:, None] - place).square().sum(-1)
        covariance = std**2 * (torch.exp(-distance / (2 * length**2)) + 1e-3 * torch.eye(n * n))
        self.variances, self.basis = torch.linalg.eigh(covariance)
        self.calls = []

    def score(self, x, sigma):
        self.calls.append(len(x))
        z = x.flatten(1).double() @ self.basis
        z = z / (self.variances + per_example(sigma, z) ** 2)
        return -(z @ self.basis.T).reshape(x.shape).to(x)


SIZES = [(4, 4), (4, 7), (9, 4), (9, 10), (5, 16)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.9])
def test_independent_pixels_are_exact(size, overlap):
    large, whole = Windowed(coloured(4, 4), size, overlap), coloured(*size)
    x = normal(3, 3, *size)
    for sigma in (0.05, torch.tensor([0.01, 0.3, 2.0])):
        torch.testing.assert_close(large.denoise(x, sigma), whole.denoise(x, sigma), rtol=1e-5, atol=1e-5)


def test_the_window_itself_changes_nothing(edm):
    x = normal(2, 1, 8, 8)
    assert torch.equal(Windowed(edm, (8, 8)).score(x, 0.3), edm.score(x, 0.3))
    torch.testing.assert_close(Windowed(edm, (8, 8)).denoise(x, 0.3), edm.denoise(x, 0.3), rtol=0, atol=1e-6)


def test_estimates_are_averaged_with_the_weights(edm):
    """The formula written out a second time, pixel by pixel, for two windows that meet in columns 4 to 7."""
    x, h = normal(1, 1, 8, 12), hann(8)
    left, right = edm.denoise(x[..., :8], 0.4), edm.denoise(x[..., 4:], 0.4)
    found = Windowed(edm, (8, 12)).denoise(x, 0.4)
    torch.testing.assert_close(found[..., :4], left[..., :4])
    torch.testing.assert_close(found[..., 8:], right[..., 4:])
    for column in range(4, 8):
        a, b = h[column].item(), h[column - 4].item()
        expected = (a * left[..., column] + b * right[..., column - 4]) / (a + b)
        torch.testing.assert_close(found[..., column], expected)


def test_weights_of_half_overlapping_windows_sum_to_1():
    h = hann(8)
    torch.testing.assert_close(h[:4] + h[4:], torch.ones(4))
    assert 0 < h.min() < 0.05 < 0.9 < h.max() < 1


@pytest.mark.parametrize(("length", "window", "overlap"), [(100, 28, 0.5), (29, 28, 0.5), (64, 64, 0.5), (50, 7, 0.9)])
def test_windows_lie_evenly_from_end_to_end(length, window, overlap):
    places = starts(length, window, overlap)
    hops = [b - a for a, b in pairwise(places)]
    assert (places[0], places[-1]) == (0, length - window)
    assert all(0 < hop <= window * (1 - overlap) + 1 for hop in hops)
    assert not hops or max(hops) - min(hops) <= 1


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_memory_is_bounded_by_windows_not_by_the_image(batch):
    calls = {}
    for side in (16, 32, 64):
        prior = Smooth(8, 2.0)
        Windowed(prior, (side, side), at_once=6).score(normal(batch, 1, side, side), 0.5)
        calls[side] = prior.calls
        assert sum(prior.calls) == batch * (side // 4 - 1) ** 2
    assert all(max(found) == 6 for found in calls.values())


def test_backward_passes_keep_no_more_than_windows():
    """They compute the windows again, and the gradient is that of all of them at once."""
    prior, direction = Smooth(8, 2.0), normal(1, 1, 16, 16, seed=1)
    found = []
    for at_once in (2, 100):
        x = normal(1, 1, 16, 16).requires_grad_()
        score = Windowed(prior, (16, 16), at_once=at_once).score(x, 0.5)
        before = len(prior.calls)
        found.append(torch.autograd.grad(score, x, direction)[0])
        again = prior.calls[before:]
        assert (max(again), sum(again)) == (min(at_once, 9), 9)
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
    x = normal(1, 1, 16, 16)
    ahead, behind = (Windowed(prior, (16, 16)).score(x + e * direction, 0.5) for e in (0.1, -0.1))
    by_differences = ((ahead - behind) / 0.2 * x).sum()  # x · J d, for a score that is linear
    torch.testing.assert_close((_transposed(prior, x) * direction).sum(), by_differences, rtol=1e-3, atol=1e-3)


def _transposed(prior, v):
    """Return Jᵀ v of the windowed score."""
    x = torch.zeros_like(v).requires_grad_()
    return torch.autograd.grad(Windowed(prior, (16, 16)).score(x, 0.5), x, v)[0]


def test_how_many_at_a_time_changes_nothing():
    x, sigma = normal(5, 1, 20, 13), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    reference = Windowed(Smooth(8, 2.0), (20, 13), at_once=1).score(x, sigma)
    for at_once in (2, 5, 7, 1000):
        found = Windowed(Smooth(8, 2.0), (20, 13), at_once=at_once).score(x, sigma)
        torch.testing.assert_close(found, reference, rtol=1e-5, atol=1e-5)


def gradients(prior, size):
    """Return the mean |difference| of neighbouring columns of samples by DDIM, (W - 1,), exactly.

    DDIM with a linear score is a linear map of its first noise: its columns are what it makes of unit vectors.
    """
    h, w = size
    x = torch.eye(h * w).reshape(-1, 1, h, w)
    for state in basis.Ancestral(basis.karras(1.0, 0.01, 20), eta=0.0).run(prior, x, normal):
        x = state.x
    middle = x[:, 0, h // 2]
    std = (middle[:, 1:] - middle[:, :-1]).square().sum(0).sqrt()
    return std * math.sqrt(2 / math.pi)


@pytest.mark.parametrize("length", [1.0, 2.0, 4.0])
def test_no_seams(length):
    """The mean gradient across the borders of windows is within 5 % of elsewhere, and near the process's own."""
    window, size = 8, (8, 32)
    prior = Smooth(window, length)
    found = gradients(Windowed(prior, size, at_once=256), size)
    corners = starts(size[1], window, 0.5)
    borders = {edge - 1 for start in corners for edge in (start, start + window)}
    inside = range(window, size[1] - window)
    across = found[[j for j in inside if j in borders]].mean().item()
    elsewhere = found[[j for j in inside if j not in borders]].mean().item()
    assert across / elsewhere == pytest.approx(1, abs=0.05)
    own = gradients(prior, (window, window)).mean().item()
    assert found[list(inside)].mean().item() == pytest.approx(own, rel=0.15)


WEIGHTS = torch.tensor([0.5, 0.3, 0.2])


def given(mean, covariance, grey):
    """Return mean and covariance of ``x ~ N(mean, covariance)`` of which ``w · x = grey`` is known."""
    gain = covariance @ WEIGHTS / (WEIGHTS @ covariance @ WEIGHTS)
    return mean + gain * (grey - WEIGHTS @ mean), covariance - torch.outer(gain, WEIGHTS @ covariance)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_the_expected_colours_of_a_large_grey_image(sigma):
    """E[x₀ | x, m] in closed form, pixel by pixel: x₀ | x is normal, and m tells its weighted sum."""
    size = (9, 7)
    x, grey = normal(1, 1, 3, *size), normal(1, 1, *size, seed=1)
    prior = basis.Product([Windowed(Pixels((3, 4, 4)), size)])
    posterior = basis.MMPS(prior, basis.Grayscale(WEIGHTS.tolist()), grey, iterations=8)
    found = posterior.denoise(x, sigma)[0, 0]
    share = COLOUR @ torch.linalg.inv(COLOUR + sigma**2 * torch.eye(3))
    for i, j in ((0, 0), (3, 3), (4, 2), (8, 6)):
        clean = MEAN + share @ (x[0, 0, :, i, j] - MEAN)
        expected, _ = given(clean, sigma**2 * share, grey[0, 0, i, j])
        torch.testing.assert_close(found[:, i, j], expected, rtol=0, atol=1e-3)


def test_colours_of_a_large_image_follow_their_posterior():
    """Correlated channels of independent pixels: the colours of a grey image are normal, with moments known."""
    size, grey, mixing = (7, 9), 0.4, basis.Grayscale(WEIGHTS.tolist())
    prior = Windowed(Pixels((3, 4, 4)), size, at_once=400)
    settings = {"posterior": "mmps", "sampler": "heun", "iterations": 1, "steps": 30, "sigma_max": 50.0}
    result = basis.separate(torch.full((1, *size), grey), prior, mixing, "sample", samples=60, **settings)
    mean, covariance = given(MEAN, COLOUR, grey)
    x = result.samples[0, :, 0].movedim(1, -1).flatten(0, -2)  # (n · pixels, 3)
    error = 4 * covariance.diagonal().sqrt() / math.sqrt(len(x))
    assert ((x.mean(0) - mean).abs() < error).all()
    torch.testing.assert_close(x.T.cov(), covariance, rtol=0.1, atol=1e-3)
    assert result.residual.max() < (1 / 255) ** 2


def test_two_large_sources():
    mixture = torch.full((1, 12, 20), 1.0) + 0.2 * normal(1, 12, 20)
    result = basis.separate(mixture, Windowed(Smooth(8, 2.0), (12, 20)), basis.WeightedSum([1, 1]), levels=3, steps=4)
    assert result.sources.shape == (1, 2, 1, 12, 20)
    assert result.residual.item() < (1 / 255) ** 2


@pytest.mark.parametrize(
    ("size", "settings"),
    [((7, 9), {}), ((9, 7), {}), ((9,), {}), ((9, 9), {"overlap": 1.0}), ((9, 9), {"overlap": -0.1}),
     ((9, 9), {"at_once": 0})],
)  # fmt: skip
def test_refused(size, settings):
    with pytest.raises(basis.UsageError):
        Windowed(coloured(8, 8), size, **settings)


def test_another_size_is_refused():
    with pytest.raises(basis.UsageError, match=r"expected examples of shape \(3, 9, 9\), got \(3, 8, 8\)"):
        Windowed(coloured(4, 4), (9, 9)).score(torch.zeros(1, 3, 8, 8), 0.5)


@pytest.mark.parametrize("levels", [None, [1.0, 0.1]])
def test_support_and_levels_are_the_windows(levels):
    class Plain(ScorePrior):
        def score(self, x, sigma):
            return -x

    prior = Windowed(Plain((3, 4, 4), (0.0, 1.0), levels), (6, 8))
    assert (prior.shape, prior.data_range, prior.levels) == ((3, 6, 8), (0.0, 1.0), levels and tuple(levels))


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.9])
def test_signals_of_one_dimension(overlap):
    """Independent values are exact; a process with memory is averaged where two windows meet."""

    class Values(ScorePrior):
        def score(self, x, sigma):
            return -(x - 0.5) / (0.04 + per_example(sigma, x) ** 2)

    long, x = Windowed(Values((2, 8)), (21,), overlap), normal(3, 2, 21)
    assert long.shape == (2, 21)
    torch.testing.assert_close(long.denoise(x, 0.3), Values((2, 21)).denoise(x, 0.3))


def test_two_windows_of_a_signal():
    process = EDM((1, 8), 0.0, 0.5, widths=[8], blocks=[1], attention=[True], data_range=None)
    for name, parameter in process.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.5)
    process.requires_grad_(False)
    x, h = normal(2, 1, 12), hann(8)
    left, right, found = (process.denoise(x[..., :8], 0.4), process.denoise(x[..., 4:], 0.4),
                          Windowed(process, (12,)).denoise(x, 0.4))  # fmt: skip
    torch.testing.assert_close(found[..., :4], left[..., :4])
    torch.testing.assert_close(found[..., 8:], right[..., 4:])
    meet = (h[4:] * left[..., 4:] + h[:4] * right[..., :4]) / (h[4:] + h[:4])
    torch.testing.assert_close(found[..., 4:8], meet)
    assert not torch.allclose(left[..., 4:], right[..., :4], atol=1e-3)
    for size in ((7,), (8, 8), ()):
        with pytest.raises(basis.UsageError, match="at least as large as a window"):
            Windowed(process, size)
