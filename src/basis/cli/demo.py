"""`basis demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from basis.api import stream
from basis.cli import options as cli
from basis.cli.separate import animate
from basis.core.metric import align, reorder
from basis.examples import FOLDER
from basis.files.pictures import grid
from basis.files.write import versions, write_separation
from basis.metrics.psnr import psnr
from basis.mixings.weighted_sum import WeightedSum


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = Path("demo"),
    prior: cli.PriorOption = "mnist",
    seed: cli.SeedOption = 0,
) -> None:
    """Separate the bundled examples (2, 3 and 4 overlapping digits), and show them beside the truth."""
    problems = {path.stem: np.load(path)["sources"] for path in sorted(FOLDER.glob("truth/*.npz"))}
    rows: list[list[Tensor | None]] = []
    for count in sorted({len(sources) for sources in problems.values()}):
        chosen = {name: sources for name, sources in problems.items() if len(sources) == count}
        truth = torch.from_numpy(np.stack(list(chosen.values()))).float() / 255
        mixing = WeightedSum([1.0] * count)
        run = stream(mixing(truth), cli.priors(prior, count, "cpu"), mixing, "quality", seed=seed)
        frames = animate(run, mixing(truth), mixing, f"{len(chosen)} mixtures of {count}")
        result = run.result
        figures = psnr(result.sources, truth)
        ordered = reorder(result.sources, align(result.sources, truth))
        for i, name in enumerate(chosen):
            facts = {"example": name, "seed": seed, "psnr": figures[i].item(), "prior": prior, "versions": versions()}
            write_separation(out / name, result.mixture[i], result.samples[i], 0, mixing, frames[i], facts)
            typer.echo(f"{name:12} {count} sources: {figures[i]:5.1f} dB, in {out / name}")
            blank: list[Tensor | None] = [None] * (4 - count)
            rows.append([result.mixture[i] / count, *ordered[i], *blank, *truth[i], *blank])
    labels = ["mixture", *(f"source {k}" for k in range(1, 5)), *(f"truth {k}" for k in range(1, 5))]
    grid(rows, labels).save(out / "demo.png")
    typer.echo(f"\nLook at {out / 'demo.png'}, and at anneal.gif in each folder.")
