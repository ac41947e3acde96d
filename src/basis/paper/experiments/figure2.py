"""Figure 2: how large the scores of a prior are at each noise level."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from basis.core.noise import Noise
from basis.core.prior import Prior
from basis.core.schedule import geometric
from basis.paper.drawing import COLOURS, INK, subplots
from basis.paper.experiment import Cell, Experiment, Outcome, Picture
from basis.paper.job import Job
from basis.paper.setup import Setup, wanted
from basis.paper.store import Progress, Store

PUBLISHED = 50.0  # σ · ‖∇ log p_σ‖ at large σ, of NCSN and Glow on CIFAR-10; noise alone has √D = 55
BATCH = 100  # images at a time
UNIT = ""  # σ times an inverse unit of the data
ROWS = {  # prior, data set
    "NCSN, CIFAR-10": ("cifar10-ncsn", "cifar10"),
    "Glow, CIFAR-10": ("cifar10-glow", "cifar10"),
    "Compact prior, MNIST": ("mnist", "mnist"),
    "Small NCSN, MNIST": ("ncsn-mnist", "mnist"),
}


class Figure2(Experiment):
    """How large the scores of a prior are at each noise level: the paper's priors, and those that are bundled."""

    title = "Figure 2: the size of the score at each noise level"
    published_n = "CIFAR-10 images"

    def jobs(self, setup: Setup) -> list[tuple[Job, int]]:
        return []

    def run(self, setup: Setup, store: Store) -> Generator[Progress, None, Outcome]:
        cells, curves = [], {}
        for row, (key, data) in ROWS.items():
            prior = setup.priors.get(key, key)
            job = Job(data, prior=prior)
            published = PUBLISHED if data == "cifar10" else None
            reason = wanted(key) if data == "cifar10" and key not in setup.priors else setup.lacking(job)
            if reason:
                cells.append(Cell(row, "σ = 1", UNIT, published, missing=reason))
                continue
            yield Progress(f"{row}: scores", 0, 1)
            curve = self._curve(setup, store, job)
            curves[row] = curve
            for sigma, norm in curve:
                figure = published if sigma == curve[0][0] else None
                own = {"prior": prior, "hashes": setup.hashes(job), "device": setup.device, "seed": setup.seed}
                cells.append(Cell(row, f"σ = {sigma:.3g}", UNIT, figure, measured=norm, n=setup.n, facts=own))
        caption = f"σ · E ‖∇ log p_σ(x + σ ε)‖ over {setup.n} test images; √D is the mean norm of noise, nearly."
        picture = Picture("figure2", caption, lambda: draw(curves))
        return Outcome(cells, [picture] if curves else [], NOTES)

    def _curve(self, setup: Setup, store: Store, job: Job) -> list[list[float]]:
        prior = setup.prior(job)[0]
        sigmas = list(prior.levels or geometric().tolist())
        key = {"figure2": job.data, "prior": setup.hashes(job), "n": setup.n, "seed": setup.seed, "sigmas": sigmas}
        if (found := store.recall(key)) is not None:
            return found
        data = setup.data(job.data)
        examples = data.values(data.images(job.split)[0][: setup.n])
        norms = gradient_norms(prior, examples, sigmas, setup.seed)
        return store.keep(key, [list(pair) for pair in zip(sigmas, norms.tolist(), strict=True)])


def draw(curves: Mapping[str, Sequence[Sequence[float]]]) -> Any:
    """Return the curves as a matplotlib figure."""
    figure, axes = subplots(6.4, 3.6)
    for colour, (row, curve) in zip(COLOURS, curves.items(), strict=False):
        sigmas, norms = zip(*curve, strict=True)
        axes.plot(sigmas, norms, marker="o", markersize=4, color=colour, label=row)
    axes.axhline(math.sqrt(28 * 28), color=INK, linewidth=1, linestyle="--", label="√D of MNIST")
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set(xlabel=r"$\sigma$", ylabel=r"$\sigma\ \mathrm{E}\,\Vert\nabla \log p_\sigma\Vert$", ylim=(0, None))
    axes.legend(frameon=False)
    return figure


NOTES = [
    "Published: about 50 at large σ, where the noise alone has √D = 55 on CIFAR-10 (D = 3,072) and 28 on MNIST "
    "(D = 784). The product falls towards 0 with σ where the density of the data is finite.",
]


@torch.no_grad()
def gradient_norms(prior: Prior, images: Tensor, sigmas: Sequence[float] | None = None, seed: int = 0) -> Tensor:
    """Return ``σ · E ‖∇ log p_σ(x + σ ε)‖`` at each noise level, over images x and noise ε.

    For large σ it is near √D, for the score there is that of the noise; where the data have a finite density it falls
    to 0 with σ (section 3.3 of the paper).

    Args:
        prior: p, with or without a density.
        images: x, (N, *S) in [0, 1].
        sigmas: noise levels, (L,); by default those of the prior, or the paper's ten.
        seed: fixes ε.

    Returns:
        One figure a level, (L,).

    Example:
        >>> from basis import GaussianMixture
        >>> unit = GaussianMixture([1.0], [[0.0]], [[[1.0]]])
        >>> small, large = gradient_norms(unit, torch.randn(2000, 1), [0.01, 100.0])
        >>> bool(small < 0.02) and 0.7 < large.item() < 0.9  # E|ε| = √(2/π)
        True
    """
    if sigmas is None:
        sigmas = prior.levels or geometric().tolist()
    found = []
    for sigma in sigmas:
        norms = []
        for start in range(0, len(images), BATCH):
            x = images[start : start + BATCH].to(prior.device)
            eps = Noise(prior.shape, seed, range(start, start + len(x)), device=prior.device).normal()
            norms.append(sigma * prior.score(x + sigma * eps, sigma).flatten(1).norm(dim=1))
        found.append(torch.cat(norms).mean())
    return torch.stack(found)
