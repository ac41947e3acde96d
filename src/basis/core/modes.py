"""Distinct answers: an ambiguous mixture shows its alternatives instead of hiding them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from basis.core.mixing import Mixing
from basis.core.prior import Product
from basis.core.settings import checked

SAME = 0.05  # root mean square difference, in units of the data, up to which samples count as one mode


@dataclass(frozen=True, eq=False)
class Modes:
    """The distinct answers among the samples of one mixture, the weightiest first.

    Attributes:
        mean: mean of the samples in each mode, (J, K, *S).
        spread: standard deviation of these samples in each value, (J, K, *S), in units of the data; 0 for a mode of
            one sample. It is that of the answers that were kept, and the posterior's only where they are exact samples
            of it: a search keeps answers that are closer together (a fifth of the posterior's was measured).
        rank_weights: what the ranking gives each mode, (J,), with sum 1, see `find_modes`. Shares of the posterior
            only where the scores are exact log-densities and the modes equally wide.
        counts: samples in each mode, (J,), int64.

    Example:
        >>> samples = torch.tensor([[[0.1], [0.9]], [[0.92], [0.08]], [[0.5], [0.5]]])  # three pairs
        >>> found = find_modes(samples, kinds=[0, 0])  # the second pair is the first in another order
        >>> found.counts, found.mean[0].flatten()
        (tensor([2, 1]), tensor([0.0900, 0.9100]))
    """

    mean: Tensor
    spread: Tensor
    rank_weights: Tensor
    counts: Tensor


@checked
def find_modes(
    samples: Tensor,
    scores: Tensor | None = None,
    kinds: Sequence[int] | None = None,
    same: float = SAME,
    temperature: float = 1.0,
) -> Modes:
    """Group samples of one mixture into modes, sources that could change places aligned.

    The best sample that is left takes to itself all others within ``same`` of it, until none is left. Without scores,
    a mode's rank weight is its share of the samples. With scores ``log p(x) + constant`` it is ``∝ exp(mean score /
    temperature)``: over a mode q_j of posterior weight w_j the mean of log p(x | m) is ``log w_j`` minus the entropy of
    q_j. So at temperature 1, with exact scores and modes that are equally wide, rank weights are the posterior's,
    however often each mode was found. Otherwise they rank, and are no probabilities. (A mode in which sources are alike
    up to ``same`` weighs too much, by their orders.)

    Args:
        samples: n stacks of sources, (n, K, *S).
        scores: log-density of each up to a constant, (n,), in nats.
        kinds: K numbers; sources of the same number may change places, see `interchangeable`. By default none may.
        same: root mean square difference over all sources and values, in units of the data.
        temperature: 1 for exact scores; more, where they are estimates with errors of some nats, evens the weights out.

    Returns:
        J modes, by falling rank weight.

    Example:
        >>> samples = torch.tensor([[[0.1]], [[0.12]], [[0.9]]])  # of one source
        >>> [find_modes(samples, scores).rank_weights for scores in (None, torch.tensor([0.0, 0.0, 3.0]))]
        [tensor([0.6667, 0.3333]), tensor([0.9526, 0.0474])]
    """
    order = torch.arange(len(samples)) if scores is None else scores.cpu().argsort(descending=True, stable=True)
    left, members, aligned = order.tolist(), [], samples.clone()
    kinds = list(range(samples.shape[1])) if kinds is None else kinds
    while left:
        leader = samples[left[0]]
        for i in left:
            aligned[i] = like(samples[i], leader, kinds)
        close = [i for i in left if (aligned[i] - leader).square().mean().sqrt() <= same]
        members.append(close)
        left = [i for i in left if i not in close]
    if scores is None:
        weights = torch.tensor([len(close) / len(samples) for close in members])
    else:
        means = torch.stack([scores[close].mean() for close in members]).double().cpu()
        weights = torch.softmax(means / temperature, 0).float()
    rank = weights.argsort(descending=True, stable=True).tolist()
    return Modes(
        torch.stack([aligned[members[j]].mean(0) for j in rank]),
        torch.stack([aligned[members[j]].std(0, correction=0) for j in rank]),
        weights[rank],
        torch.tensor([len(members[j]) for j in rank]),
    )


def like(x: Tensor, leader: Tensor, kinds: Sequence[int]) -> Tensor:
    """Return the sources x, (K, *S), in the order nearest to the leader's, changing places within a kind only."""
    return x[order(x, leader, kinds)]


def order(x: Tensor, leader: Tensor, kinds: Sequence[int]) -> Tensor:
    """Return the places of the sources x, (K, *S), in that order, (K,): ``x[order]`` is nearest to the leader."""
    if len(set(kinds)) == len(kinds):
        return torch.arange(len(kinds))
    from scipy.optimize import linear_sum_assignment  # takes a quarter of a second, and few need it

    distance = (x.flatten(1)[:, None] - leader.flatten(1)).square().sum(-1).double().cpu()
    kind = torch.tensor(kinds)
    distance = distance.masked_fill(kind[:, None] != kind, float(distance.sum()) + 1.0)
    places, sources = linear_sum_assignment(distance.T.numpy())
    return torch.as_tensor(sources)[torch.as_tensor(places)]


def interchangeable(prior: Product, mixing: Mixing) -> list[int]:
    """Return K numbers, the same for sources with one prior that can change places without changing the mixture.

    Example:
        >>> from basis import GaussianMixture, WeightedSum
        >>> unit = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])
        >>> interchangeable(Product([unit] * 3), WeightedSum([1.0, 0.5, 1.0]))
        [0, 1, 0]
    """
    x = torch.rand(1, *prior.shape, generator=torch.Generator().manual_seed(0)).to(prior.device)
    m, kinds = mixing(x), list(range(len(prior.order)))
    for k in kinds:
        for j in range(k):
            places = list(range(len(kinds)))
            places[j], places[k] = k, j
            if prior.order[j] == prior.order[k] and torch.allclose(mixing(x[:, places]), m, rtol=1e-4, atol=1e-6):
                kinds[k] = kinds[j]
                break
    return kinds
