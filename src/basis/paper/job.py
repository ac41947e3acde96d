"""What is separated, and how: everything that a figure depends on, apart from how many mixtures it averages over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from basis.core.dataset import Dataset, open_dataset
from basis.core.errors import UsageError
from basis.core.mixing import Mixing
from basis.core.presets import split
from basis.core.prior import Prior
from basis.core.version import VERSION
from basis.evaluate.mixtures import Mixtures, draw_mixtures
from basis.io.presets import published
from basis.mixings.grayscale import Grayscale
from basis.mixings.weighted_sum import WeightedSum

# The released code, by what is separated.
RELEASED_MNIST = split(published()["released-mnist"])[1]
RELEASED_CIFAR10 = split(published()["released-cifar10"])[1]
RELEASED_COLOUR = split(published()["released-colour"])[1]
# Its settings, with our ending: the last state is denoised and projected.
RELEASED = {"ratio": 0.7071, "delta": 3e-5, "stability": 2.0}  # for MNIST with an NCSN: γ² = σ²/2
RELEASED_GLOW = {"delta": 3e-5, "stability": 2.0}
OUR_ENDING = "released settings, our ending"
WHOSE = (
    "Whose a row is: BASIS (NCSN) is the released code exactly, which ends with its last state; BASIS (Glow), and rows "
    f'named "{OUR_ENDING}", take its settings, but end with a denoised estimate and a projection, which are ours; '
    '"the paper\'s text" is Algorithm 1 with δ = 2e-5 and γ = σ, and our ending; presets fast and quality are ours.'
)
WHOSE_PICTURES = (
    f"MNIST with the compact prior: {OUR_ENDING} (the last state is denoised and projected). CIFAR-10 with the compact "
    "prior: our preset fast. CIFAR-10 (NCSN): the released code exactly."
)
COLOUR = "colour"


@dataclass(frozen=True)
class Job:
    """Separations of a deterministic list of mixtures by one method with one prior.

    Args:
        data: data set, see `basis.core.dataset.open_dataset`.
        split, task, sources: which mixtures, see `basis.evaluate.mixtures.draw_mixtures`; task "colour" turns single
            images of a random order of the split to grey (equation 14).
        method: name of a separator, folder that `basis fit` wrote, or Python file with a `Separator` in it.
        settings: settings of the method.
        samples: posterior samples of each mixture.
        prior: bundled name, folder or file; several, separated by commas, for one a source; "flat" for methods that
            look at nothing but the shape.
        keep: whether all samples are kept, not the chosen one alone.

    Example:
        >>> Job(method="average", prior="flat").where
        'mnist test, agnostic, 2 sources'
    """

    data: str = "mnist"
    split: str = "test"
    task: str = "agnostic"
    sources: int = 2
    method: str = "basis"
    settings: dict = field(default_factory=dict)
    samples: int = 1
    prior: str = "mnist"
    keep: bool = False

    @property
    def where(self) -> str:
        """The mixtures in words."""
        kind = "grey images" if self.task == COLOUR else f"{self.task}, {self.sources} sources"
        return f"{self.data} {self.split}, {kind}"

    @property
    def mixing(self) -> Mixing:
        """How its sources mix: a plain sum, or colour to grey."""
        return Grayscale() if self.task == COLOUR else WeightedSum([1.0] * self.sources)

    @property
    def images(self) -> int:
        """Images of each mixture that are separated."""
        return 1 if self.task == COLOUR else self.sources

    def facts(self, seed: int, hashes: dict[str, str | None]) -> dict:
        """Return all that the separations depend on as JSON values; ``hashes`` are those of priors and method."""
        return {**asdict(self), "seed": seed, "hashes": hashes, "version": VERSION}

    def mixtures(self, seed: int) -> dict:
        """Return all that the mixtures depend on as JSON values."""
        return {"data": self.data, "split": self.split, "task": self.task, "sources": self.sources, "seed": seed}

    def draw(self, data: Dataset, seed: int, index: Sequence[int]) -> Mixtures:
        """Return the mixtures of the given numbers with their true sources."""
        if self.task != COLOUR:
            return draw_mixtures(data, self.split, self.task, self.sources, len(index), seed, index=index)
        images, labels = data.images(self.split)
        if max(index) >= len(images):
            raise UsageError(
                f"the {self.split} split of {self.data} has {len(images)} images, not {max(index) + 1}",
                fix="choose another split, or smaller numbers",
            )
        chosen = np.random.default_rng(seed).permutation(len(images))[list(index)]
        x = data.values(images[chosen])[:, None]
        info = {**self.mixtures(seed), "labels": labels[chosen][:, None].tolist(), "index": chosen[:, None].tolist()}
        return Mixtures(self.mixing(x), x, (), info)


class Flat(Prior):
    """A prior that finds every example as likely as any other, for methods that ask it for nothing but its shape."""

    def __init__(self, shape: Sequence[int], data_range: tuple[float, float] | None = None) -> None:
        super().__init__(shape, data_range)
        self.register_buffer("zero", torch.zeros(()))  # so that `.to(device)` has something to move

    def denoise(self, x: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
        return x


class Remembered(Dataset):
    """A data set that reads each split once."""

    def __init__(self, name: str, root: str | None) -> None:
        super().__init__(root)
        self.inner = open_dataset(name, root)
        self.spec, self.groups, self.data_range = self.inner.spec, self.inner.groups, self.inner.data_range
        self._splits: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def load(self, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        if split not in self._splits:
            self._splits[split] = self.inner.load(split)
        return self._splits[split]

    def values(self, stored: torch.Tensor) -> torch.Tensor:
        return self.inner.values(stored)


def digest(facts: dict) -> str:
    """Return a short name for JSON values, the same for the same values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
