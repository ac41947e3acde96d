"""Runs next to each other: the same mixtures, paired differences and how sure they are."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from basis.core.errors import DataError, UncertainWarning, UsageError
from basis.evaluate.statistics import FEW, FEWEST, mean_interval, share_interval
from basis.io.limits import read_file

SAME = ("data", "split", "task", "sources", "seed", "weights")  # what fixes mixture i


@dataclass(frozen=True, eq=False)
class Measured:
    """The PSNR of one run, mixture by mixture.

    Attributes:
        name: what to call it.
        values: PSNR of mixtures 0 to n - 1 in dB, (n,).
        mixtures: what fixes the mixtures; `SAME` and, where it is known, the images of each ("index").
    """

    name: str
    values: np.ndarray
    mixtures: dict

    @property
    def group(self) -> str:
        """What two runs must have in common, in words."""
        return ", ".join(f"{key} {self.mixtures[key]}" for key in SAME if self.mixtures.get(key) is not None)


@dataclass(frozen=True)
class Difference:
    """How much a run is above another on the mixtures that both have.

    Attributes:
        first, second: names of the runs.
        n: mixtures that both have.
        means: their mean PSNR on these, in dB.
        difference: the mean of second - first, in dB.
        low, high: 95 % confidence interval of it, see `basis.evaluate.statistics.mean_interval`.
        better: share of the mixtures on which the second is better.
        better_interval: 95 % confidence interval of it, Wilson's.
    """

    first: str
    second: str
    n: int
    means: tuple[float, float]
    difference: float
    low: float
    high: float
    better: float
    better_interval: tuple[float, float]


def read(path: str | Path) -> list[Measured]:
    """Return the runs in a file of `basis evaluate --json`, or in the results of `basis reproduce` (file or folder).

    Raises:
        DataError: the file is neither.
    """
    path = Path(path)
    file = path / "results.json" if path.is_dir() else path
    try:
        content = json.loads(read_file(file))
        if "experiments" in content:
            return _reproduced(path.name if path.is_dir() else path.stem, content["experiments"])
        info = content["mixtures"]
        weights = list(map(float, content["weights"]))
        mixtures = {**info, "sources": len(weights), "weights": None if set(weights) == {1.0} else weights}
        return [Measured(path.stem, _values(content["psnr"]), mixtures)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{file} holds no figures ({type(error).__name__}: {error})",
            fix="give files that `basis evaluate --json` wrote, or folders of `basis reproduce`",
        ) from error


def _values(entries: list) -> np.ndarray:
    """Return PSNRs as an array, (n,)."""
    values = np.asarray(entries, float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("expected a finite PSNR for each mixture")
    return values


def _reproduced(name: str, experiments: dict) -> list[Measured]:
    found: dict[str, Measured] = {}
    for cells in experiments.values():
        for cell in cells:
            if cell["unit"] == "dB" and cell["values"]:
                facts = {key: cell["facts"][key] for key in ("method", "settings", "samples", "prior", "mixtures")}
                label = f"{name}: {cell['row']}"
                key = json.dumps(facts, sort_keys=True)  # two experiments may show the same separations
                found.setdefault(key, Measured(label, _values(cell["values"]), facts["mixtures"]))
    return list(found.values())


def compare(first: Measured, second: Measured, seed: int = 0) -> Difference:
    """Return the paired difference of two runs with its 95 % confidence interval (studentised bootstrap).

    Mixtures are resampled, with both figures of each, so that what is hard about a mixture cancels.

    Args:
        first, second: runs on the same mixtures; the first of these count where one has more.
        seed: fixes the resampling.

    Raises:
        UsageError: they are of different mixtures, or have fewer than five in common.

    Warns:
        UncertainWarning: they have fewer than 30 in common.

    Example:
        >>> about = {"data": "mnist", "split": "test", "task": "agnostic", "seed": 0, "sources": 2}
        >>> one = Measured("one", np.arange(20.0, 50.0), about)
        >>> two = Measured("two", np.arange(20.0, 50.0) + np.tile([1.0, 2.0, 3.0], 10), about)
        >>> found = compare(one, two)
        >>> found.difference, found.better, found.low <= 2 <= found.high
        (2.0, 1.0, True)
    """
    n = min(len(first.values), len(second.values))
    if reason := differ(first, second, n):
        raise UsageError(
            f"{first.name} and {second.name} are of different mixtures: {reason}", fix="evaluate both anew"
        )
    if n < FEWEST:
        raise UsageError(
            f"{first.name} and {second.name} have {n} mixtures in common, an interval takes at least {FEWEST}",
            fix=f"evaluate more of them, best {FEW} or more",
        )
    if n < FEW:
        message = f"{first.name} and {second.name} have {n} mixtures in common; of skewed differences an interval from "
        message += f"fewer than {FEW} covers some 91 % instead of 95 %. To fix: evaluate more (--n)"
        warnings.warn(message, UncertainWarning, stacklevel=2)
    a, b = first.values[:n], second.values[:n]
    gain = b - a
    low, high = mean_interval(gain, seed)
    means, better = (float(a.mean()), float(b.mean())), float((gain > 0).mean())
    return Difference(
        first.name, second.name, n, means, float(gain.mean()), low, high, better, share_interval(better, n)
    )


def differ(first: Measured, second: Measured, n: int) -> str:
    """Return in what the first n mixtures of two runs differ, empty where they are the same."""
    for key in SAME:
        one, two = first.mixtures.get(key), second.mixtures.get(key)
        if one != two:
            return f"{key} {one} and {two}"
    indices = [run.mixtures.get("index") for run in (first, second)]
    if all(indices) and indices[0][:n] != indices[1][:n]:  # type: ignore[index]
        return "other images"
    return ""


def compare_all(runs: Sequence[Measured], seed: int = 0) -> list[Difference]:
    """Return the difference of each run from the first one on the same mixtures.

    Raises:
        UsageError: no two of them are of the same mixtures.
    """
    found, firsts = [], list[Measured]()
    for run in runs:
        match = next(
            (other for other in firsts if not differ(other, run, min(len(run.values), len(other.values)))), None
        )
        if match is None:
            firsts.append(run)
        else:
            found.append(compare(match, run, seed))
    if not found:
        raise UsageError(
            f"no two of these are of the same mixtures: {'; '.join(f'{run.name} ({run.group})' for run in runs)}",
            fix="evaluate them with the same data set, split, task, sources and seed",
        )
    return found
