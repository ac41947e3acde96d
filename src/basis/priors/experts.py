"""Several networks of one kind, each for a range of noise levels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from basis.core.checkpoint import PRIORS
from basis.core.errors import UsageError
from basis.core.prior import Prior


class Experts(Prior):
    """Priors of one kind that share the noise levels: as large as all of them together, as fast as one.

    Denoising at high noise decides what an image shows, at low noise how its strokes run; one network for each is the
    cheapest way to have more parameters at the same cost (Balaji et al. 2022, eDiff-I, section 4).

    Args:
        kind: name of the members' class, see `basis list`.
        arguments: keyword arguments of that class, the same for every member.
        borders: noise levels, decreasing, between the members' ranges: the first member is for σ ≥ borders[0].

    Raises:
        UsageError: borders that do not decrease or are not positive.

    Example:
        >>> size = dict(shape=[1, 8, 8], mean=0.3, std=0.4, widths=[8], blocks=[1], attention=[False])
        >>> prior = Experts("edm", size, borders=[0.2])
        >>> prior.score(torch.zeros(2, 1, 8, 8), 0.3).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, kind: str, arguments: dict, borders: Sequence[float]) -> None:
        if not borders or not all(a > b for a, b in pairwise([*borders, 0.0])):
            raise UsageError(f"expected decreasing positive noise levels as borders, got {[*borders]}")
        members = [PRIORS.get(kind)(**arguments) for _ in range(len(borders) + 1)]
        super().__init__(members[0].shape, members[0].support, members[0].levels)
        self.members, self.borders = nn.ModuleList(members), tuple(borders)

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        if not isinstance(sigma, Tensor) or not sigma.dim():
            return self._member(sum(float(sigma) < border for border in self.borders)).score(x, sigma)
        owner = (sigma[:, None] < sigma.new_tensor(self.borders)).sum(1)
        score = torch.empty_like(x)
        for i in owner.unique().tolist():
            rows = (owner == i).nonzero()[:, 0]
            score[rows] = self._member(i).score(x[rows], sigma[rows])
        return score

    def _member(self, i: int) -> Prior:
        return cast(Prior, self.members[i])
