"""`basis demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basis.cli import options as cli
from basis.cli.voice import tell

if TYPE_CHECKING:
    from torch import Tensor


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = Path("demo"),
    prior: cli.PriorOption = "mnist",
    seed: cli.SeedOption = 0,
) -> None:
    """Separate the bundled examples (2, 3 and 4 overlapping digits), and show them beside the truth.

    A demonstration that is there is replaced; no other file is touched.
    """
    from basis.cli import given
    from basis.io.claim import claim
    from basis.io.output import needed, replacing

    request = {"seed": seed, "prior": prior, "prior_sha256": given.hashes(prior)}
    with claim(out):
        needed(out, "demo", request, overwrite=True)
        with replacing(out, "demo", request) as new:
            _separate(new, out, prior, seed)
    tell(f"\nLook at {out / 'demo.png'}, and at anneal.gif in each folder.")


def _separate(folder: Path, out: Path, prior: str, seed: int) -> None:
    """Write the demonstration into a folder, which will be ``out``."""
    import numpy as np
    import torch

    from basis.api import stream
    from basis.assets.examples import FOLDER
    from basis.cli import given
    from basis.cli.inputs import animate
    from basis.core.metric import align, reorder
    from basis.metrics.psnr import psnr
    from basis.mixings.weighted_sum import WeightedSum
    from basis.runs.write import fill, versions
    from basis.signals._pictures import grid

    problems = {path.stem: np.load(path)["sources"] for path in sorted(FOLDER.glob("truth/*.npz"))}
    rows: list[list[Tensor | None]] = []
    for count in sorted({len(sources) for sources in problems.values()}):
        chosen = {name: sources for name, sources in problems.items() if len(sources) == count}
        truth = torch.from_numpy(np.stack(list(chosen.values()))).float() / 255
        mixing = WeightedSum([1.0] * count)
        run = stream(mixing(truth), given.priors(prior, count, "cpu"), mixing, "quality", seed=seed, assess=False)
        frames = animate(run, mixing(truth), mixing, f"{len(chosen)} mixtures of {count}")
        result = run.result
        figures = psnr(result, truth)
        ordered = reorder(result.sources, align(result, truth))
        for i, name in enumerate(chosen):
            facts = {"example": name, "seed": seed, "psnr": figures[i].item(), "prior": prior, "versions": versions()}
            fill(folder / name, result.mixture[i], result.samples[i], 0, mixing, frames[i], facts)
            tell(f"{name:12} {count} sources: {figures[i]:5.1f} dB, in {out / name}")
            blank: list[Tensor | None] = [None] * (4 - count)
            rows.append([result.mixture[i] / count, *ordered[i], *blank, *truth[i], *blank])
    labels = ["mixture", *(f"source {k}" for k in range(1, 5)), *(f"truth {k}" for k in range(1, 5))]
    grid(rows, labels).save(folder / "demo.png")
