"""Modes: alignment, grouping, moments by hand, and weights against the exact posterior."""

import itertools

import numpy as np
import torch

import basis
from basis.core.modes import find_modes, interchangeable, like
from closed_forms import exact

# Well separated, equally wide: 1 is 0.35 + 0.65 or, less likely, 0 + 1.
TIGHT = ([0.2, 0.3, 0.3, 0.2], [[0.0], [0.35], [0.65], [1.0]], [[[0.0016]]] * 4)


def posterior(m, n, seed=0):
    """Return exact samples (n, 2, 1) of x + y = m, their log-density, and the exact modes (J, 2) with weights."""
    weights, means, H = exact([TIGHT] * 2, [1.0, 1.0], [m], 0.0, 1e-3)
    rng = np.random.default_rng(seed)
    which = rng.choice(len(weights), n, p=weights)
    C = np.linalg.inv(H)
    x = np.stack([rng.multivariate_normal(means[j], C[j]) for j in which])
    d = x[:, None] - means
    logs = np.log(weights) - 0.5 * np.einsum("njd,jde,nje->nj", d, H, d) + 0.5 * np.linalg.slogdet(H)[1]
    return torch.tensor(x)[..., None].float(), torch.tensor(np.logaddexp.reduce(logs, 1)), means, weights


def merged(means, weights):
    """Return the exact modes up to order: sorted pairs with the sums of their weights."""
    found = {}
    for pair, weight in zip(np.sort(means, 1), weights, strict=True):
        key = tuple(pair.round(2))
        found[key] = found.get(key, 0.0) + weight
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def test_weights_of_exact_samples():
    x, logs, means, weights = posterior(1.0, 400)
    expected = {pair: weight for pair, weight in merged(means, weights).items() if weight > 0.01}
    assert len(expected) >= 2
    for scores in (None, logs):
        found = find_modes(x, scores, [0, 0], same=0.15)
        for j, (pair, weight) in enumerate(expected.items()):
            np.testing.assert_allclose(np.sort(found.mean[j].flatten()), pair, atol=0.03)
            assert abs(found.rank_weights[j].item() - weight) < 0.1


def test_weights_from_scores_do_not_ask_how_often_a_mode_was_found():
    x, logs, means, weights = posterior(1.0, 400)
    seldom = (x.amax(1) > 0.75).flatten()
    keep = torch.cat([seldom.nonzero().flatten(), (~seldom).nonzero().flatten()[:20]])
    found = find_modes(x[keep], logs[keep], [0, 0], same=0.15)
    (first, weight), *_ = merged(means, weights).items()
    assert abs(found.rank_weights[0].item() - weight) < 0.1
    counted = find_modes(x[keep], None, [0, 0], same=0.15)
    assert np.abs(np.sort(counted.mean[0].flatten()) - first).max() > 0.2  # counting alone is misled
    flat = find_modes(x[keep], logs[keep], [0, 0], same=0.15, temperature=1e6).rank_weights
    torch.testing.assert_close(flat, torch.full_like(flat, 1 / len(flat)))


def test_moments_by_hand():
    a, b = torch.tensor([[0.1, 0.2], [0.9, 0.7]]), torch.tensor([[0.5, 0.0], [0.4, 0.3]])
    samples = torch.stack([a, b, (a + 0.02).flip(0), b, a - 0.04])
    found = find_modes(samples, torch.tensor([0.0, 2.0, -1.0, 2.0, 1.0]), [0, 0], same=0.1)
    torch.testing.assert_close(found.mean, torch.stack([b, a - 0.02 / 3]))
    spread = torch.tensor([0.0, 0.02, -0.04]).std(correction=0)
    torch.testing.assert_close(found.spread, torch.stack([torch.zeros(2, 2), spread.expand(2, 2)]))
    torch.testing.assert_close(found.rank_weights, torch.softmax(torch.tensor([2.0, 0.0]), 0))
    assert found.counts.tolist() == [2, 3]
    assert len(find_modes(samples, same=0.1).counts) == 3  # no source may change places
    assert len(find_modes(samples, same=1e-6).counts) == 4


def test_sources_come_in_the_nearest_order_of_all():
    x = torch.rand(4, 7, generator=torch.Generator().manual_seed(0))
    leader = torch.rand(4, 7, generator=torch.Generator().manual_seed(1))
    for kinds in ([0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 2, 3]):
        orders = [p for p in itertools.permutations(range(4)) if [kinds[i] for i in p] == kinds]
        best = min(orders, key=lambda p: (x[list(p)] - leader).square().sum())
        assert torch.equal(like(x, leader, kinds), x[list(best)])


def test_which_sources_may_change_places(gaussian):
    other = basis.GaussianMixture([1.0], gaussian.means.reshape(1, 1, 2, 2), torch.eye(4)[None])
    for priors, alphas, expected in [
        ([gaussian] * 3, [1.0, 1.0, 1.0], [0, 0, 0]),
        ([gaussian] * 3, [1.0, -1.0, 1.0], [0, 1, 0]),
        ([gaussian, other, gaussian, other], [1.0] * 4, [0, 1, 0, 1]),
    ]:
        assert interchangeable(basis.Product(priors), basis.WeightedSum(alphas)) == expected
