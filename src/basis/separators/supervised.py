"""What an engineer would reach for: a network that regresses all sources from the mixture."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.noise import Noise
from basis.core.problem import Problem
from basis.core.sampler import State
from basis.core.separator import Stream, separation
from basis.core.settings import Count, Finite, Positive, Whole
from basis.io.learned import Learned, Learning, draw
from basis.nn.magnitude import hold_weights, release_weights, renew_weights
from basis.nn.unet import UNet
from basis.separators._weights import check

FLOOR = 1e-4  # mean squared error below which more accuracy earns little: 40 dB
START = 0.2  # scale of the network's first output: from 0, where all orders are equally good, no gradient leads away


class Supervised(Learned):
    """A U-Net that maps a mixture to all of its K sources, trained on pairs of both. Not in the paper; ours.

    ``x̂ = y + Aᵀ (m - A y) / ‖α‖²`` with ``y = F(m, …, m)``: what the network F says, moved onto the mixture, so that
    F = 0 is the average. It maximises PSNR with permutation-invariant training (Yu et al. 2017): the loss is
    ``min_π mean_k 10 log₁₀(MSE(x̂_π(k), x_k) + 1e-4)`` in dB, over the permutations π that exchange sources of one kind.

    It knows one mixing: other weights, or another number of sources, need another fit.

    Args:
        shape, kinds: see `Learned`.
        alphas: the K weights of the mixtures; all 1 by default.
        widths, blocks, attention: the network's size, see `basis.nn.unet.UNet`.
        steps, batch: optimiser steps, and mixtures in each, made of images drawn anew.
        learning_rate: Adam's; it falls linearly to zero.
        seed: fixes initial weights and data.

    Raises:
        UsageError: alphas that are not one for each source; separating another mixing.

    Example:
        >>> images = torch.rand(20, 1, 8, 8)
        >>> method = Supervised((1, 8, 8), widths=[8, 8], steps=2, batch=4)
        >>> for progress in method.fit([images]): pass
        >>> progress.step, method.learned
        (2, tensor(2))
    """

    values = None  # of any range

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        kinds: Sequence[int] = (0, 0),
        alphas: Sequence[Finite] | None = None,
        widths: Sequence[Count] = (32, 64, 128),
        blocks: Sequence[Count] | None = None,
        attention: Sequence[bool] | None = None,
        steps: Count = 3_000,
        batch: Count = 64,
        learning_rate: Positive = 1e-3,
        seed: Whole = 0,
    ) -> None:
        super().__init__(shape, kinds)
        self.alphas = tuple(alphas or [1.0] * len(self.kinds))
        if len(self.alphas) != len(self.kinds) or not any(self.alphas):
            raise UsageError(
                f"expected {len(self.kinds)} weights, not all zero, got {list(self.alphas)}",
                fix="give one for each source",
            )
        self.steps, self.batch, self.learning_rate, self.seed = steps, batch, learning_rate, seed
        orders = itertools.permutations(range(len(self.kinds)))
        self.orders = [order for order in orders if all(self.kinds[i] == self.kinds[k] for k, i in enumerate(order))]
        channels, *size = self.shape
        blocks, attention = blocks or [1] * len(widths), attention or [False] * len(widths)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.network = UNet((len(self.kinds) * channels, *size), widths, blocks, attention)
        self.network.gain.data.fill_(START)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.eval()

    def forward(self, m: Tensor) -> Tensor:
        """Return the estimated sources (B, K, *S) of mixtures m, (B, *S)."""
        alphas = m.new_tensor(self.alphas)
        m_again = m.repeat(1, len(alphas), *[1] * (m.dim() - 2))
        y = self.network(m_again, m.new_zeros(1)).unflatten(1, (len(alphas), -1))
        return y + _times(alphas, m - torch.einsum("k,bk...->b...", alphas, y)) / alphas.square().sum()

    def loss(self, estimate: Tensor, x: Tensor) -> Tensor:
        """Return the loss of estimated against true sources (B, K, *S), in dB."""
        error = (estimate[:, :, None] - x[:, None]).flatten(3).square().mean(3)
        level = 10 * torch.log10(error + FLOOR)
        sources = torch.arange(len(self.kinds))
        each = torch.stack([level[:, list(order), sources].mean(1) for order in self.orders])
        return each.amin(0).mean()

    def learn(self, images: Sequence[Tensor]) -> Iterator[Learning]:
        hold_weights(self.network)
        adam = torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99))
        device = self.learned.device
        try:
            for step in range(self.steps):
                for group in adam.param_groups:
                    group["lr"] = self.learning_rate * (1 - step / self.steps)
                x = draw(images, self.kinds, self.batch, (self.seed, step)).to(device)
                m = torch.einsum("k,bk...->b...", x.new_tensor(self.alphas), x)
                loss = self.loss(self(m), x)
                adam.zero_grad()
                loss.backward()
                adam.step()
                renew_weights(self.network)
                yield Learning(step + 1, self.steps, loss.item())
        finally:
            release_weights(self.network)

    def find(self, problem: Problem, noise: Noise) -> Stream:
        check(problem, "supervised", self.alphas)
        with torch.no_grad():
            x = self(problem.mixture).repeat_interleave(noise.samples, 0)
        yield State(x, sigma=0.0, level=1, levels=1, step=1, steps=1)
        return separation(problem, x)


def _times(alphas: Tensor, m: Tensor) -> Tensor:
    """Return ``Aᵀ m``, (B, K, *S)."""
    return torch.einsum("k,b...->bk...", alphas, m)
