"""Mixtures with their ground truth: what separations are measured on."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from basis.core.arrays import as_tensor
from basis.core.checks import data_range_of
from basis.core.dataset import Dataset
from basis.core.errors import DataError, UsageError, unknown
from basis.core.metric import UNIT
from basis.core.settings import Count, Finite, NonNegative, Whole, takes
from basis.io.claim import whole
from basis.io.limits import check_archive, check_request
from basis.io.output import replacing
from basis.mixings.weighted_sum import WeightedSum

TASKS = ("agnostic", "split")
CROWDED = 10  # squared number of sources by the number of examples, up to which few draws have one twice
INFO, KIND = "mixtures.json", "set of mixtures"
TOLD = ("data", "split", "task", "seed", "labels", "index")
EACH = ("labels", "index")  # what `Mixtures.info` holds of each mixture


@dataclass(frozen=True)
class Mixtures:
    """n mixtures of K sources with their ground truth.

    Attributes:
        mixture: (n, *S), the weighted sums, with noise if there is any.
        sources: (n, K, *S), within the data range.
        weights: the K weights.
        info: how they were drawn, JSON values.
    """

    mixture: Tensor
    sources: Tensor
    weights: tuple[float, ...]
    info: dict

    @property
    def noise(self) -> float:
        """Standard deviation of the noise in the mixtures."""
        return self.info.get("noise", 0.0)

    @property
    def data_range(self) -> tuple[float, float]:
        """Smallest and largest value of the sources, those of the data set; (0, 1) where nothing else is recorded."""
        low, high = self.info.get("data_range", UNIT)
        return low, high


def draw_mixtures(
    data: Dataset,
    split: str = "test",
    task: str = "agnostic",
    sources: int = 2,
    n: int = 100,
    seed: int = 0,
    weights: Sequence[float] | None = None,
    index: Sequence[int] | None = None,
    noise: float = 0.0,
) -> Mixtures:
    """Draw mixtures of a data set's examples; mixture i depends on the seed and i alone, not on n.

    Args:
        data: the data set.
        split: "train", "validation" (for tuning) or "test" (for final figures).
        task: "agnostic" draws every source from all examples; "split" draws them from the data set's two groups of
            labels in turn (section 5, "Class conditional separation").
        sources: sources K in each mixture, at least 2.
        n: number of mixtures.
        seed: fixes the mixtures.
        weights: K mixing weights; all 1 by default.
        index: numbers of the mixtures to draw, in place of the first n.
        noise: standard deviation of Gaussian noise that is added to the mixtures.
    """
    if index is not None and not takes(Sequence[Whole], index):
        raise UsageError(f"expected numbers of mixtures, whole and at least 0, got {index}", fix="leave index out")
    if not (takes(Count, sources) and sources > 1 and takes(Count, n) and takes(Whole, seed)):
        raise UsageError(
            f"expected at least 2 sources, n >= 1 and seed >= 0, whole numbers, got {sources}, {n} and {seed}",
            fix="for instance --sources 2 --n 100 --seed 0",
        )
    mixing = WeightedSum([1.0] * sources if weights is None else weights)
    if mixing.sources != sources:
        raise UsageError(f"expected {sources} weights, got {mixing.sources}", fix="give one weight a source")
    images, labels = data.images(split)
    kinds = pools(data, labels, task)
    most = -(-sources // len(kinds))  # from one pool
    if any(len(pool) < most or CROWDED * len(pool) < most**2 for pool in kinds):
        raise DataError(f"the {split} split has too few examples for mixtures of {sources}", fix="mix fewer sources")
    drawn = [kinds[k % len(kinds)] for k in range(sources)]
    check_request(f"n={n}", 4 * n * (sources + 1) * images[0].numel(), fix="draw fewer mixtures")
    numbers = range(n) if index is None else index
    images_of = np.array([_pick(np.random.default_rng((seed, i)), drawn) for i in numbers])
    x = data.values(images[images_of])
    info = {
        "data": data.spec,
        "split": split,
        "task": task,
        "seed": seed,
        "labels": labels[images_of].tolist(),
        "index": images_of.tolist(),
    }
    if data.data_range != UNIT:
        info["data_range"] = list(data.data_range)
    if not takes(NonNegative, noise):
        raise UsageError(f"expected noise of at least 0, got {noise}", fix="for instance --noise 0.05")
    m = mixing(x)
    if noise:
        info["noise"] = noise
        draws = [np.random.default_rng((seed, i, 1)).standard_normal(m.shape[1:]) for i in numbers]
        m = m + noise * torch.from_numpy(np.array(draws)).float()
    return Mixtures(m, x, mixing.alphas, info)


def pools(data: Dataset, labels: Tensor, task: str) -> list[Tensor]:
    """Return the numbers of the examples that sources are drawn from: source k from the pool ``k % len(pools)``.

    Args:
        data: the data set, whose groups of labels count in the task "split".
        labels: those of its examples, (N,).
        task: "agnostic" (one pool of all examples) or "split" (a pool for each group).

    Example:
        >>> from basis.core.dataset import open_dataset
        >>> pools(open_dataset("mnist"), torch.tensor([7, 0, 3]), "split")
        [tensor([1, 2]), tensor([0])]
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    everything = torch.arange(len(labels))
    if task == "agnostic":
        return [everything]
    return [everything[torch.isin(labels, torch.tensor(group))] for group in data.groups]


def _pick(rng: np.random.Generator, pools: list[Tensor]) -> list[int]:
    """Draw one example from each pool, none twice."""
    while True:
        chosen = [int(pool[rng.integers(len(pool))]) for pool in pools]
        if len(set(chosen)) == len(chosen):
            return chosen


def save_mixtures(mixtures: Mixtures, folder: str | Path) -> None:
    """Write `NNNNN.npz` (arrays "mixture" and "sources") for each mixture, and `mixtures.json`.

    A set that was written there before is replaced, as one; any other file in the way is an error.

    Raises:
        DataError: a file in the way is not of such a set, or the folder cannot be written.
    """
    info = {**mixtures.info, "n": len(mixtures.mixture), "weights": mixtures.weights}
    with replacing(folder, KIND, request(mixtures)) as new:
        for i, (m, x) in enumerate(zip(mixtures.mixture.numpy(), mixtures.sources.numpy(), strict=True)):
            with (new / f"{i:05d}.npz").open("wb") as file:
                np.savez_compressed(file, mixture=m, sources=x)
        (new / INFO).write_text(json.dumps(info))


def request(mixtures: Mixtures) -> dict:
    """Return what a set of mixtures depends on: how they were drawn, how many they are, and of which examples."""
    drawn = json.dumps([mixtures.info[key] for key in EACH])
    info = {key: value for key, value in mixtures.info.items() if key not in EACH}
    facts = {**info, "n": len(mixtures.mixture), "weights": mixtures.weights}
    return {**facts, "images_sha256": hashlib.sha256(drawn.encode() + mixtures.sources.numpy().tobytes()).hexdigest()}


def load_mixtures(folder: str | Path) -> Mixtures:
    """Read what `save_mixtures` wrote; raises `DataError` for a folder that it did not write."""
    folder = Path(folder)
    whole(folder)
    try:
        info = json.loads((folder / INFO).read_bytes())
        if not takes(Count, info["n"]) or not takes(Sequence[Finite], info["weights"]):
            raise ValueError(f"{INFO} says n = {info['n']} and weights = {info['weights']}")
        pairs = []
        for i in range(info["n"]):
            path = folder / f"{i:05d}.npz"
            check_archive(path)
            with np.load(path, allow_pickle=False) as file:
                pairs.append(tuple(as_tensor(file[key], f"{path}: {key}") for key in ("mixture", "sources")))
        mixture, sources = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        weights = WeightedSum(info["weights"]).alphas
        if mixture.dim() < 2 or sources.shape[1:] != (len(weights), *mixture.shape[1:]):
            raise ValueError(f"mixtures {tuple(mixture.shape)} and sources {tuple(sources.shape)} do not fit together")
        if not (torch.isfinite(mixture).all() and torch.isfinite(sources).all()):
            raise ValueError("it has NaN or infinite values")
        data_range_of(info.get("data_range", UNIT))
        if lacking := [key for key in TOLD if key not in info]:
            raise ValueError(f"{INFO} lacks {', '.join(lacking)}")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        UsageError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:  # RecursionError is a RuntimeError
        raise DataError(
            f"{folder} is not a folder of mixtures ({error})", fix="write one with `basis make-mixtures`"
        ) from error
    return Mixtures(mixture, sources, weights, info)


def first(mixtures: Mixtures, n: int) -> Mixtures:
    """Return the first n mixtures."""
    if n < 1:
        raise UsageError(f"expected n >= 1, got {n}", fix="for instance --n 100")
    info = {key: value[:n] if key in EACH else value for key, value in mixtures.info.items()}
    return replace(mixtures, mixture=mixtures.mixture[:n], sources=mixtures.sources[:n], info=info)
