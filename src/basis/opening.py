"""What callers may say in place of arrays, priors and mixings: paths, pictures, names and weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from basis.assets.examples import find_example
from basis.core.errors import UsageError
from basis.core.mixing import Mixing
from basis.core.prior import Prior
from basis.core.sampler import State
from basis.core.separator import Run
from basis.io.checkpoint import load_prior
from basis.mixings.weighted_sum import WeightedSum

if TYPE_CHECKING:
    from PIL.Image import Image

    Mixture = Tensor | np.ndarray | Image | str | Path
    Known = Prior | str | Path


def mixing_of(mixing: Mixing | None, weights: Sequence[float] | None) -> Mixing:
    """Return the mixing, of which one of the two says what it is.

    Raises:
        UsageError: neither says it, or both.
    """
    if mixing is not None and weights is not None:
        raise UsageError("got a mixing and weights", fix="give one of them")
    if weights is not None:
        return WeightedSum(weights)
    if mixing is None:
        raise UsageError(
            "expected a mixing or weights, got neither",
            fix="for instance weights=[1.0, 1.0] for a plain sum of two sources, [0.5, 0.5] for their mean",
        )
    return mixing


def priors_of(prior: Known | Sequence[Known]) -> Prior | Sequence[Prior]:
    """Return priors, those that are named loaded, each name once; errors are those of `load_prior`."""
    if isinstance(prior, str | Path):
        return load_prior(prior)
    if not isinstance(prior, list | tuple):
        return prior  # type: ignore[return-value]
    loaded = {name: load_prior(name) for name in dict.fromkeys(one for one in prior if isinstance(one, str | Path))}
    return [loaded[entry] if isinstance(entry, str | Path) else entry for entry in prior]


def array_of(mixture: Mixture, prior: Prior | Sequence[Prior]) -> Tensor | np.ndarray:
    """Return the values of a mixture that is a picture, (C, H, W) in [0, 1], or a path; any other as it is.

    A picture whose channels are all the same is grey where the prior has one channel.

    Args:
        mixture: a picture of PIL; the path of one, of a `.npy`, `.npz` or `.pt`, or "example:NAME"; or an array.
        prior: of the sources.

    Raises:
        DataError: the file is missing or damaged, see `basis.signals.image.read` and `basis.signals.array.read_array`.
    """
    from basis.signals import image
    from basis.signals.array import ARRAYS, read_array

    if isinstance(mixture, str | Path):
        path = find_example(Path(mixture))
        if path.suffix.lower() in ARRAYS:
            return read_array(path)
        found = image.read(path)
    elif hasattr(mixture, "getbands"):
        found = image.read(mixture)  # type: ignore[arg-type]
    else:
        return mixture
    first = prior[0] if isinstance(prior, list | tuple) and prior else prior
    one = isinstance(first, Prior) and first.shape[0] == 1
    return found[:1] if one and bool((found == found[:1]).all()) else found


def watch(run: Run, progress: bool | Callable[[State], object]) -> Run:
    """Return the run, at its end, with a bar on standard error or a function that is told of each state.

    Raises:
        UsageError: ``progress`` is neither a bool nor a function.
    """
    if not (isinstance(progress, bool) or callable(progress)):
        raise UsageError(f"expected progress as a bool or a function, got {progress!r}", fix="leave it out, or True")
    if progress is True:
        from tqdm import tqdm

        with tqdm(unit="step", dynamic_ncols=True) as bar:
            for state in run:
                bar.total = run.batches * state.steps
                bar.set_postfix_str(f"sigma {state.sigma:.3f}", refresh=False)
                bar.update()
    elif callable(progress):
        for state in run:
            progress(state)
    return run
