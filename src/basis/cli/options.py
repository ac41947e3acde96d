"""What several commands share: their options. Light: it does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BACKGROUND = "black"  # the same as that of `basis.signals.image`

PriorOption = Annotated[str, typer.Option("--prior", help="Bundled name, folder or file; A,B,… for one a source.")]
MethodOption = Annotated[
    str | None, typer.Option("--method", help="Preset or method, see `basis list`; or a folder that `basis fit` wrote.")
]
BudgetOption = Annotated[
    int | None, typer.Option("--budget", help="Instead of a method: evaluations of the prior to spend for each source.")
]
StepsOption = Annotated[int | None, typer.Option("--steps", help="Steps at each noise level.")]
LevelsOption = Annotated[int | None, typer.Option("--levels", help="Number of noise levels.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Another setting of the method, NAME=VALUE.")]
SamplesOption = Annotated[int, typer.Option("--samples", max=100_000, help="Posterior samples of each mixture.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Fixes the result.")]
DeviceOption = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1, mps.")]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="Compute the network in no (float32), tf32 (on GPUs), bf16, fp16.")
]
CompileOption = Annotated[bool, typer.Option("--compile", help="Compile the network: a minute's wait, then faster.")]
DataDirOption = Annotated[Path | None, typer.Option("--data-dir", help="Folder of data sets (or set BASIS_DATA).")]
SourcesOption = Annotated[int | None, typer.Option("--sources", "-k", help="Number K of sources (2 by default).")]
WeightsOption = Annotated[str | None, typer.Option("--weights", help="Mixing weights a,b,… one a source.")]
BackgroundOption = Annotated[
    str, typer.Option("--background", help="What transparent parts of images show: a colour's name or #rrggbb.")
]
InvertOption = Annotated[
    bool, typer.Option("--invert", help="Turn light and dark around first: for ink on paper, negatives.")
]
NoiseOption = Annotated[
    float, typer.Option("--noise", help="Standard deviation of noise in the mixture, in units of the file's values.")
]
BatchOption = Annotated[int, typer.Option("--batch-size", help="Mixtures at a time.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace results that basis wrote; other files are never touched.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Keep results of the same settings that are there; do what is missing.")
]
