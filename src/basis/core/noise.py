"""Randomness as an argument: one stream a sample, so that batch size, order and device change nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Noise:
    """Independent random streams, one for each (mixture, sample), addressed by number.

    The stream of sample j of mixture i depends on ``(seed, i, j)`` alone. Numbers are drawn on the CPU, hence the same
    for every device.

    Args:
        shape: shape of one draw, for instance (K, C, H, W).
        seed: the run's seed.
        index: number i of each of the B mixtures in its data set.
        samples: samples n per mixture.
        device: where the draws are needed.

    Example:
        >>> a = Noise((3,), seed=0, index=[0, 1]).normal()
        >>> b = Noise((3,), seed=0, index=[1]).normal()
        >>> torch.equal(a[1:], b)
        True
    """

    def __init__(
        self,
        shape: Sequence[int],
        seed: int,
        index: Sequence[int],
        samples: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shape, self.samples, self.device = tuple(shape), samples, device
        self.streams = [
            np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(i, j))))
            for i in index
            for j in range(samples)
        ]

    def part(self, streams: Sequence[int], samples: int = 1) -> Noise:
        """Return the noise of some streams alone, from where they stand; draws from it leave these as they are.

        Args:
            streams: which of the B · n streams, ``i n + j`` for sample j of mixture i.
            samples: samples per mixture among them.
        """
        other = copy.copy(self)
        other.samples, other.streams = samples, [copy.deepcopy(self.streams[i]) for i in streams]
        return other

    def shaped(self, shape: Sequence[int]) -> Noise:
        """Return the same streams with draws of another shape; a draw from either moves both on."""
        other = copy.copy(self)
        other.shape = tuple(shape)
        return other

    def spawn(self, count: int) -> Noise:
        """Return ``count`` new streams of each of these, side by side, with ``count`` times as many samples.

        They depend on the parent's address and on how often it has spawned, not on what was drawn from it.
        """
        other = copy.copy(self)
        other.samples = self.samples * count
        other.streams = [child for stream in self.streams for child in stream.spawn(count)]
        return other

    def normal(self) -> Tensor:
        """Return fresh draws from N(0, I), (B · n, *shape), all samples of a mixture side by side."""
        return self._draw("standard_normal")

    def uniform(self) -> Tensor:
        """Return fresh draws from the uniform distribution on [0, 1), (B · n, *shape)."""
        return self._draw("random")

    def _draw(self, kind: str) -> Tensor:
        x = torch.empty(len(self.streams), *self.shape)
        for stream, row in zip(self.streams, x.numpy(), strict=True):
            getattr(stream, kind)(out=row, dtype=np.float32)
        return x.to(self.device)


def correlated(z: Tensor, correlation: float) -> Tensor:
    """Return noise that is correlated between the sources of a stack, ``corr(ε_j, ε_k) = correlation`` for j ≠ k.

    ``ε_k = √(1 + (K - 1) ρ) z̄ + √(1 - ρ) (z_k - z̄)`` with z̄ the mean over the K sources: N(0, I) for each
    source by itself. The common part shows in the mixture, so that the projection onto the mixture removes it.

    Args:
        z: draws from N(0, I), (B, K, *S).
        correlation: ρ, from 0, which returns z, to 1, which gives all sources the same noise.

    Example:
        >>> correlated(torch.tensor([[[1.0], [-1.0]]]), 0.75)  # differences shrink
        tensor([[[ 0.5000],
                 [-0.5000]]])
    """
    mean, count = z.mean(1, keepdim=True), z.shape[1]
    return (1 + (count - 1) * correlation) ** 0.5 * mean + (1 - correlation) ** 0.5 * (z - mean)
