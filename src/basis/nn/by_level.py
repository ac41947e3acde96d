"""One network for each range of noise levels, behind the interface of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class ByLevel(nn.Module):
    """Networks that share the noise levels: as large as all of them together, as fast as one.

    Denoising at high noise decides what an image shows, at low noise how its strokes run; a network for each is the
    cheapest way to have more parameters at the same cost (Balaji et al. 2022, eDiff-I, section 4).

    Args:
        networks: of inputs (x, level), for falling ranges of the level.
        borders: the levels between them, falling; a level that is a border belongs to the range above it.
    """

    def __init__(self, networks: Iterable[nn.Module], borders: Sequence[float]) -> None:
        super().__init__()
        self.networks, self.borders = nn.ModuleList(networks), tuple(borders)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Map x (B, *S) and level (B,) or (1,) to (B, *S)."""
        owner = (level[:, None] < level.new_tensor(self.borders)).sum(1)
        present = owner.unique().tolist()
        if len(present) == 1:
            return self.networks[present[0]](x, level)
        parts, rows = [], []
        for i in present:
            mine = (owner == i).nonzero()[:, 0]
            parts.append(self.networks[i](x[mine], level[mine]))
            rows.append(mine)
        return torch.cat(parts)[torch.cat(rows).argsort()]
