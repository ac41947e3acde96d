"""What a prior's own examples look like to it, alone and separated: by this `separate` knows unlikely sources."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from basis.api import generate, separate
from basis.core.errors import UsageError
from basis.core.plausibility import CALIBRATION, Calibration, surprise
from basis.core.prior import Prior, Product
from basis.io.checkpoint import folder_of, locate, read_card
from basis.io.durable import write_atomically
from basis.mixings.weighted_sum import WeightedSum

WEIGHTS = ((1.0,), (1.0, 1.0), (0.3, 0.7), (1.0, 1.0, 1.0), (0.5, 1.0, 1.5), (1.0, 1.0, 1.0, 1.0))
MARGIN = 1.25  # of the limits above the largest surprise that was found
STEPS = 20  # between the quantiles


def calibrate(
    prior: Prior, examples: Tensor | None = None, n: int = 100, seed: int = 0, batch_size: int = 50
) -> Calibration:
    """Measure what a prior's own examples look like to it; then ``prior.calibration = calibrate(prior, …)``.

    Mixtures of one to four examples are separated, n of each of six kinds (K = 2 and 3 with equal and unequal weights),
    by the preset "fast" (by "paper", where the prior's values have no bounds), since its sources have the largest
    errors. The largest surprise among them, and a margin of a quarter, is the limit for each number of sources.

    Args:
        prior: over any signal. Not one that is trained to be shown a measurement, `Prior.condition`.
        examples: held-out examples, (N, *S) in units of the data; by default N = n samples of the prior, which are
            a little likelier to it than data are.
        n: mixtures of each kind.
        seed: fixes mixtures and separations.
        batch_size: mixtures at a time.

    Raises:
        UsageError: fewer than four examples, n below 1, or a prior that is shown a measurement.

    Example:
        >>> from basis import GaussianMixture
        >>> import basis
        >>> two = basis.GaussianMixture([1, 1], [[[[0.1]]], [[[0.9]]]], [[[0.001]], [[0.001]]])
        >>> two.calibration = calibrate(two, torch.tensor([0.1, 0.9, 0.08, 0.93]).reshape(4, 1, 1, 1), n=2)
        >>> found = basis.separate(torch.full((1, 1, 1), 3.0), two, basis.WeightedSum([1, 1]), "basis")
        >>> found.assessment.unlikely
        tensor([True])
    """
    if prior.condition is not None:
        raise UsageError(
            f"a prior that is shown the {prior.condition} of x cannot be calibrated without it",
            fix="choose one that is not",
        )
    if n < 1 or batch_size < 1:
        raise UsageError(f"expected n >= 1 and batch_size >= 1, got {n} and {batch_size}", fix="for instance n=100")
    examples = generate(prior, n, seed) if examples is None else examples.to(prior.device)
    most = max(map(len, WEIGHTS))
    if len(examples) < most or tuple(examples.shape[1:]) != prior.shape:
        raise UsageError(
            f"expected at least {most} examples of shape {prior.shape}, got {tuple(examples.shape)}",
            fix="give held-out examples of the prior's own kind",
        )
    quantiles = np.quantile(_surprise(prior, examples[:, None], batch_size).mean(1).cpu(), np.linspace(0, 1, STEPS + 1))
    limits: dict[int, Tensor] = {}
    for number, weights in enumerate(WEIGHTS):
        rng, mixing = np.random.default_rng((seed, number)), WeightedSum(weights)
        chosen = np.stack([rng.choice(len(examples), len(weights), replace=False) for _ in range(n)])
        mixture, method = mixing(examples[chosen]), "fast" if prior.data_range else "paper"
        found = separate(mixture, prior, mixing, method, seed=seed, batch_size=batch_size, assess=False).sources
        worst = MARGIN * _surprise(prior, found, batch_size).amax(0).cpu()
        limits[len(weights)] = torch.maximum(limits.get(len(weights), worst), worst)
    return Calibration(_rounded(quantiles.tolist()), {k: _rounded(limit.tolist()) for k, limit in limits.items()})


def _surprise(prior: Prior, x: Tensor, batch_size: int) -> Tensor:
    """Return the surprise of each source of stacks x (N, K, *S), (N · K, L)."""
    product = Product([prior] * x.shape[1])
    return torch.cat([surprise(product, part) for part in x.split(batch_size)]).flatten(0, 1)


def _rounded(values: list[float]) -> tuple[float, ...]:
    return tuple(round(value, 5) for value in values)


def save_calibration(calibration: Calibration, prior: str | Path, facts: dict | None = None) -> Path:
    """Write a calibration beside the weights of its prior, so that `load_prior` finds it.

    Args:
        calibration: what `calibrate` returned for this prior.
        prior: a prior folder, or the name of a bundled prior.
        facts: how it was measured (data, n, seed, command), JSON values.

    Returns:
        The file.

    Raises:
        UsageError: a prior that is not a folder with a card; a file of that name that is no calibration.

    Example:
        >>> import basis, tempfile
        >>> from basis.priors.edm import EDM
        >>> arguments = dict(shape=[1, 8, 8], mean=0.3, std=0.4, widths=[8], blocks=[1], attention=[False])
        >>> folder = basis.save_prior(EDM(**arguments), arguments, tempfile.mkdtemp())
        >>> file = save_calibration(basis.Calibration((0.0, 1.0), {2: (1.0, 1.0, 1.0)}), folder)
        >>> basis.load_prior(folder).calibration.limits
        {2: (1.0, 1.0, 1.0)}
    """
    weights = locate(prior)
    sha256 = read_card(weights).get("sha256")
    if sha256 is None:
        raise UsageError(f"{prior} is not a folder with a prior and its card", fix="make one with `basis import`")
    content = {**(facts or {}), "sha256": sha256, **calibration.facts()}
    if (file := folder_of(weights) / CALIBRATION).exists() and "quantiles" not in file.read_text():
        raise UsageError(f"{file} is there, and basis did not write it", fix="move it away")
    write_atomically(file, (json.dumps(content, indent=1) + "\n").encode())
    return file
