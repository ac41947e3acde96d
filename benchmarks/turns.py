"""What `engine.py` and `ncsn_step.py` share: configurations that take turns, and a Langevin step by the library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor

import torch
from step import SPAWN

import basis

_made: list[Callable] = []


class LibraryStep:
    """One Langevin step of a batch of pairs by the library.

    Args:
        prior: the prior of both sources.
        mixture: (B, C, H, W).
        kind: what it is called; "bf16" and "compiled" in it are done.
        ratio: γ/σ.
        delta, sigma: the step size at the smallest noise level, and the noise level.
    """

    def __init__(
        self, prior: basis.Prior, mixture: torch.Tensor, kind: str, ratio: float, delta: float, sigma: float
    ) -> None:
        prior = prior.eval().requires_grad_(False)
        if "bf16" in kind or "compiled" in kind:
            prior = basis.Accelerated(prior, "bf16" if "bf16" in kind else "no", compile="compiled" in kind)
        self.sigma = sigma
        self.posterior = basis.AnnealedPosterior(
            basis.Product([prior, prior]), basis.WeightedSum([1.0, 1.0]), mixture, ratio
        )
        self.sampler = basis.AnnealedLangevin(delta=delta, stability=math.inf)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.sampler.step(x, self.sigma, 0.0, self.posterior, lambda: torch.randn_like(x))


def take_turns(
    make: Callable[..., Callable[[], tuple[float, float]]], configurations: Mapping[str, tuple], repetitions: int
) -> dict[str, list[tuple[float, float]]]:
    """Return what ``make(*configuration)()`` says, (seconds, MiB), at each repetition of each configuration.

    Each is made once, in a process of its own.
    """
    pools = {name: ProcessPoolExecutor(1, SPAWN) for name in configurations}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in configurations}
    for _ in range(repetitions):
        for name, pool in pools.items():
            found[name].append(pool.submit(_take, make, configurations[name]).result())
    for pool in pools.values():
        pool.shutdown()
    return found


def _take(make: Callable, configuration: tuple) -> tuple[float, float]:
    if not _made:
        _made.append(make(*configuration))
    return _made[0]()
