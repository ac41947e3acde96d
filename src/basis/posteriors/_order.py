"""The order of sources of one prior: with unequal weights only one of them explains the mixture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import Mixing, weights_of
from basis.core.prior import Prior


def ordered(x: Tensor, r: Tensor, alphas: Tensor, kinds: Sequence[int]) -> Tensor:
    """Return sources x, (B, K, *S), with two of a kind exchanged where that brings their weighted sum nearest to m.

    Args:
        r: what x lacks to mix to m, (B, *S).
        alphas: weights, (K,).
        kinds: K numbers; sources of the same number may change places.

    Example:
        >>> ordered(torch.tensor([[[1.0], [0.0]]]), torch.tensor([[0.4]]), torch.tensor([0.3, 0.7]), [0, 0]).flatten()
        tensor([0., 1.])
    """
    orders, off = [list(range(len(alphas)))], [r.flatten(1).square().sum(1)]
    for j, k in combinations(range(len(alphas)), 2):
        if kinds[j] != kinds[k] or alphas[j] == alphas[k]:
            continue
        other = list(orders[0])
        other[j], other[k] = k, j
        orders.append(other)
        off.append((r - (alphas[j] - alphas[k]) * (x[:, k] - x[:, j])).flatten(1).square().sum(1))
    best = torch.tensor(orders, device=x.device)[torch.stack(off, 1).argmin(1)]
    return x[torch.arange(len(x), device=x.device)[:, None], best]


def kinds(prior: Prior) -> Sequence[int]:
    """Return K numbers, the same for sources of one prior over stacks (K, *S)."""
    return getattr(prior, "order", None) or range(prior.shape[0])


def weights(mixing: Mixing, shape: Sequence[int], mixture: Tensor) -> Tensor:
    """Return the weights of a mixing that is a weighted sum, (K,), as the mixture's type; `UsageError` for others."""
    alphas = weights_of(mixing, shape, mixture.device)
    if alphas is None:
        raise UsageError(
            f"bounded_variance, reorder and own noise levels need a weighted sum, got {type(mixing).__name__}",
            fix="leave them out",
        )
    return alphas.to(mixture)
