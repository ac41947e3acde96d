"""Random streams: addressed by number, independent, with the right law."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from basis.core.noise import Noise, correlated

N = 20_000
BOUND = 5  # standard errors


def stream(seed, index, sample=0, shape=(N,)):
    return Noise(shape, seed, [index], sample + 1).normal()[sample]


def test_a_stream_depends_on_its_address_alone():
    together = Noise((7, 3), 5, [3, 0, 8], samples=2)
    first, second, third = together.normal(), together.uniform(), together.normal()
    for position, (index, sample) in enumerate(itertools.product([3, 0, 8], range(2))):
        alone = Noise((7, 3), 5, [index], samples=sample + 1)
        for expected in (first, second, third):
            draw = alone.uniform() if expected is second else alone.normal()
            assert torch.equal(draw[sample], expected[position])


def test_every_address_has_a_stream_of_its_own():
    # Also beyond 4 x 4 x 4: seed and index are not interchangeable, nor are sums and concatenations of digits.
    addresses = [
        *itertools.product(range(4), repeat=3),
        (0, 10, 0),
        (1, 0, 10),
        (10, 1, 0),
        (2**31, 0, 0),
        (0, 2**31, 0),
    ]
    heads = {tuple(stream(*address, shape=(4,)).tolist()) for address in addresses}
    assert len(heads) == len(addresses)


def test_large_seeds_do_not_meet_small_ones():
    assert not torch.equal(stream(2**32, 0, shape=(4,)), stream(0, 1, shape=(4,)))


def test_draws_follow_one_another():
    noise = Noise((N,), 0, [0])
    assert abs(np.corrcoef(noise.normal()[0], noise.normal()[0])[0, 1]) < BOUND / N**0.5


@pytest.mark.parametrize("seed", [0, 12345])
def test_normal_law(seed):
    x = stream(seed, 0)
    assert abs(x.mean()) < BOUND / N**0.5
    assert abs(x.var() - 1) < BOUND * (2 / N) ** 0.5
    assert kstest(x.numpy(), "norm").pvalue > 1e-5


def test_normal_law_across_streams():
    # The first draw of 2,000 neighbouring streams is normal too: the streams do not start alike.
    x = Noise((1,), 0, range(2000)).normal()[:, 0]
    assert kstest(x.numpy(), "norm").pvalue > 1e-5


def test_uniform_law():
    x = Noise((N,), 3, [1]).uniform()[0]
    assert x.min() >= 0
    assert x.max() < 1
    assert kstest(x.numpy(), "uniform").pvalue > 1e-5


def test_neighbours_are_uncorrelated():
    streams = [stream(*address) for address in [(0, 0), (0, 1), (1, 0), (1, 1), (0, 0, 1), (0, 1, 1), (2, 0)]]
    correlation = np.corrcoef(torch.stack(streams)) - np.eye(len(streams))
    assert np.abs(correlation).max() < BOUND / N**0.5


def test_children_are_streams_of_their_own():
    parent = Noise((4,), 5, [3, 0], samples=2)
    children = parent.spawn(3)
    assert children.samples == 6
    first = children.normal()
    assert len({tuple(row.tolist()) for row in [*first, *parent.normal(), *parent.spawn(3).normal()]}) == 12 + 4 + 12
    moved = Noise((4,), 5, [0], samples=2)
    moved.normal()  # what was drawn before changes nothing
    assert torch.equal(moved.spawn(3).normal(), first[6:])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_sources_share_a_part_of_their_noise(share):
    z = torch.randn(1, 3, N, generator=torch.Generator().manual_seed(0))
    covariance = correlated(z, share)[0].cov()
    expected = share + (1 - share) * torch.eye(3)
    assert (covariance - expected).abs().max() < BOUND * 2 / N**0.5
    assert share or torch.allclose(correlated(z, share), z, atol=1e-6)
