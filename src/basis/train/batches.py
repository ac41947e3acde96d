"""What a training run sees at each step: a function of the seed, the step and the process alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from basis.core.dataset import Dataset
from basis.core.errors import UsageError
from basis.core.metric import UNIT
from basis.core.prior import Prior, per_example
from basis.core.schedule import geometric, overlapping
from basis.train.objectives import known_weights, noise_levels
from basis.train.recipe import Recipe

PAIRED = 10_000  # training examples between which the largest distance is found


class Batches:
    """The batches of a run: every epoch holds every training example once, in an order of its own.

    Args:
        data: what is trained on.
        recipe: size of a batch, noise levels, and what is done to the examples.
    """

    def __init__(self, data: Dataset, recipe: Recipe) -> None:
        self.data, self.recipe = data, recipe
        self.stored, self.labels = data.images("train")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an example."""
        return tuple(self.stored.shape[1:])

    def draw(self, prior: Prior, step: int, process: int = 0, processes: int = 1) -> list[Tensor]:
        """Return examples (B, *S), noise levels (B,) and noise (B, *S) that one process sees at one step.

        Where the recipe asks for them, the weights of a known sum (B, C) and labels (B,) follow.
        """
        recipe = self.recipe
        position = np.arange(step * recipe.batch, (step + 1) * recipe.batch)[process::processes]
        epochs = {epoch: np.random.default_rng((recipe.seed, epoch)) for epoch in set(position // len(self.stored))}
        orders = {epoch: rng.permutation(len(self.stored)) for epoch, rng in epochs.items()}
        index = [orders[p // len(self.stored)][p % len(self.stored)] for p in position]
        generator = torch.Generator().manual_seed(
            int(np.random.SeedSequence((recipe.seed, step, process)).generate_state(1)[0])
        )
        sigma = noise_levels(torch.rand(len(index), generator=generator), recipe.noise, prior)
        x = values(self.data, self.stored[index], recipe, generator)
        if recipe.flip:
            x = torch.where(per_example(torch.rand(len(x), generator=generator), x) < 0.5, x, x.flip(-1))
        if recipe.shift:
            x = moved(x, recipe.shift, generator)
        eps = torch.randn(x.shape, generator=generator)
        names = known(torch.rand(len(x), generator=generator), recipe)
        return [x, sigma, eps, *names, *([self.labels[index]] if recipe.labels else [])]


def with_levels(recipe: Recipe, data: Dataset) -> Recipe:
    """Return the recipe with the noise levels that it asks to be found from the data (NCSNv2, techniques 1 and 2)."""
    if recipe.levels is None:
        return recipe
    some = data.values(data.images("train")[0][:PAIRED]).flatten(1)
    highest = torch.cdist(some, some).max().item() if recipe.levels.max == "data" else float(recipe.levels.max)
    if recipe.levels.count == "overlap":
        sigmas = overlapping(highest, recipe.levels.min, some.shape[1])
    else:
        sigmas = geometric(highest, recipe.levels.min, int(recipe.levels.count))
    return dataclasses.replace(recipe, arguments={**recipe.arguments, "sigmas": sigmas.tolist()})


def known(quantile: Tensor, recipe: Recipe) -> list[Tensor]:
    """Return what is known of each example, where the recipe says that something is, or labels come after it."""
    return [known_weights(quantile, recipe)] if recipe.known or recipe.labels else []


def moved(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Return examples (B, C, …) moved by up to shift places along each dimension, with their borders mirrored."""
    spatial = x.dim() - 2
    wide = functional.pad(x, (shift, shift) * spatial, mode="reflect")
    starts = torch.randint(0, 2 * shift + 1, (spatial, len(x)), generator=generator)
    for d, start in enumerate(starts, 2):
        places = per_example(start, x).long() + torch.arange(x.shape[d]).reshape(-1, *[1] * (x.dim() - 1 - d))
        shape = [*wide.shape]
        shape[d] = x.shape[d]
        wide = wide.gather(d, places.expand(shape))
    return wide


def values(data: Dataset, stored: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return stored examples in units of the data, spread over their quantisation steps if the recipe asks for it."""
    if not recipe.dequantize:
        return data.values(stored)
    if stored.dtype != torch.uint8:
        raise UsageError(f"data set '{recipe.data}' is not stored in 8 bits", fix="leave dequantize out")
    low, high = data.data_range
    unit = (stored + torch.rand(stored.shape, generator=generator)) / 256
    return unit if (low, high) == UNIT else low + (high - low) * unit
