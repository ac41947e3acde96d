"""How likely an example is to a prior, beside examples of the prior's own data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from basis.core.errors import DataError
from basis.core.noise import Noise
from basis.core.schedule import geometric, nearest

if TYPE_CHECKING:
    from basis.core.prior import Product

LEVELS = geometric(1.0, 0.1, 3)  # noise levels, in widths of the data's range
CALIBRATION = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """What a prior's own examples look like to it, measured once for each prior by `basis.calibrate`.

    Attributes:
        quantiles: `surprise` of the prior's own examples, averaged over the levels: quantiles at even steps from 0 to
            1, rising.
        limits: largest surprise at each level, (L,), of any source separated from a mixture of K such examples, for
            each K that was tried, with the margin that `basis.calibrate` gives.

    Example:
        >>> known = Calibration(quantiles=(0.0, 1.0, 2.0), limits={1: (3.0,), 2: (4.0,)})
        >>> known.plausibility(torch.tensor([[0.5], [5.0]])), known.unlikely(torch.tensor([[0.5], [5.0]]), count=2)
        (tensor([0.7500, 0.0000]), tensor([False,  True]))
    """

    quantiles: tuple[float, ...]
    limits: Mapping[int, tuple[float, ...]]

    def plausibility(self, surprise: Tensor) -> Tensor:
        """Return the share of the prior's own examples that are less likely than each, for (..., L), (...)."""
        below = np.interp(surprise.mean(-1).cpu().numpy(), self.quantiles, np.linspace(0, 1, len(self.quantiles)))
        return torch.as_tensor(1 - below, dtype=torch.float32)

    def unlikely(self, surprise: Tensor, count: int) -> Tensor:
        """Return whether a source of a mixture of ``count`` is beyond the limits at any level, for (..., L), (...).

        For a count that was not tried the limits are the largest of all.
        """
        limits = torch.tensor([self.limits[count]] if count in self.limits else list(self.limits.values())).amax(0)
        return (surprise.cpu() > limits).any(-1)

    def facts(self) -> dict:
        """Return the calibration as JSON values."""
        return {"quantiles": list(self.quantiles), "limits": {str(k): list(v) for k, v in self.limits.items()}}

    @classmethod
    def of(cls, facts: dict) -> Calibration:
        """Return the calibration that JSON values describe; raises `DataError` where they do not."""
        try:
            quantiles = tuple(map(float, facts["quantiles"]))
            limits = {int(k): tuple(map(float, v)) for k, v in facts["limits"].items()}
            good = len(quantiles) > 1 and all(a <= b for a, b in pairwise(quantiles))
            if not good or not limits or len({len(v) for v in limits.values()}) > 1:
                raise ValueError("expected quantiles that rise, and a limit for each noise level")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"this is no calibration ({error})", fix="make it anew with `basis calibrate`") from error
        return cls(quantiles, limits)


@torch.no_grad()
def surprise(prior: Product, x: Tensor) -> Tensor:
    """Return how badly the prior denoises each source of stacks x (N, K, *S), (N, K, L).

    ``‖D(x + σ ε, σ) - x‖² / (n σ²)``, n the number of values in x, at L noise levels σ of 1, 0.32 and 0.1 times the
    width of the prior's data range (of 1, where it has none). One draw ε, the same for every x, and one evaluation of
    the prior at each.
    """
    found = denoising_errors(prior, x, in_widths(prior, LEVELS))
    return torch.stack([error.flatten(2).square().mean(2) / sigma**2 for sigma, error in found], -1)


def denoising_errors(
    prior: Product, x: Tensor, sigmas: Sequence[float], draws: int = 1
) -> Iterator[tuple[float, Tensor]]:
    """Yield each noise level σ with ``D(x + σ ε, σ) - x``, (N, K, *S), once for each draw of ε.

    Args:
        prior: of any kind.
        x: stacks of sources, (N, K, *S).
        sigmas: noise levels that the prior knows.
        draws: of ε at each level, the same for every stack and every source.
    """
    # (1, 1, *S) each: one stream a draw.
    noise = Noise(prior.shape[1:], 0, range(draws), device=x.device).normal()[:, None, None]
    for sigma in sigmas:
        for eps in noise:
            yield sigma, prior.denoise(x + sigma * eps, sigma) - x


def in_widths(prior: Product, levels: Tensor) -> list[float]:
    """Return noise levels that are given in widths of the prior's data range (of 1, where it has none) in its units.

    For a prior with discrete levels they are the nearest of those, each once.
    """
    low, high = prior.data_range or (0.0, 1.0)
    return nearest((high - low) * levels, prior.levels).tolist()


def read_calibration(folder: Path, sha256: str | None) -> Calibration | None:
    """Return the calibration in a prior folder, None where there is none that is of the weights with this hash."""
    file = folder / CALIBRATION
    if sha256 is None or not file.is_file():
        return None
    try:
        facts = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{file} is not a JSON object ({error})", fix="delete it; `basis calibrate` makes it"
        ) from error
    return Calibration.of(facts) if facts.get("sha256") == sha256 else None
