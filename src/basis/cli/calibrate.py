"""`basis calibrate`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basis.cli import options as cli
from basis.cli.voice import remark, tell
from basis.core.errors import BasisError, UsageError

if TYPE_CHECKING:
    from basis.core.dataset import Dataset

MOST = 2_000  # examples that are looked at
BATCH = 50  # mixtures at a time


def calibrate(
    prior: Annotated[str, typer.Argument(help="Prior folder, or name of a bundled prior.")],
    data: Annotated[str | None, typer.Argument(help="Data set; without one, the prior's own samples.")] = None,
    n: Annotated[int, typer.Option("--n", help="Mixtures of each of six kinds.")] = 100,
    seed: cli.SeedOption = 0,
    device: cli.DeviceOption = "cpu",
    batch_size: cli.BatchOption = 50,
    data_dir: cli.DataDirOption = None,
    overwrite: cli.OverwriteOption = False,
) -> None:
    """Measure what a prior's own examples look like to it, so that `separate` knows sources that are unlike them.

    Separates mixtures of held-out images of a data set (its validation split), and writes `calibration.json` beside the
    prior's weights. `basis train` does this at its end.
    """
    from basis.core.dataset import open_dataset
    from basis.io.checkpoint import foreign

    if foreign(prior):
        raise UsageError(f"'{prior}' is no prior folder", fix="make one with `basis import`, and calibrate that")
    opened = None if data is None else open_dataset(data, data_dir)
    file = _write(prior, opened, n, seed, device, batch_size, overwrite)
    tell(f"{file}: `basis separate --prior {prior}` warns of mixtures that the prior did not make")


def after_training(folder: Path, data: Dataset, n: int) -> None:
    """Calibrate a prior that has been trained by n mixtures of each kind, unless it is; say so where it cannot be."""
    import torch

    from basis.io.checkpoint import load_prior

    prior = load_prior(folder)
    if n < 1 or prior.calibration is not None or prior.condition is not None:
        return
    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        tell(f"{folder}: calibrating, on {device} (Ctrl-C leaves it out)")
        _write(str(folder), data, n, 0, device, min(n, BATCH), overwrite=True)
    except BasisError as error:
        remark(f"{folder} is trained, and not calibrated: {error}")


def _write(
    prior: str,
    data: Dataset | None,
    n: int,
    seed: int,
    device: str,
    batch_size: int,
    overwrite: bool,
) -> Path:
    """Calibrate a prior by a data set, or by its own samples; return the file."""
    from basis.core.checks import device_of
    from basis.evaluate.calibration import calibrate as measure
    from basis.evaluate.calibration import save_calibration
    from basis.io.checkpoint import load_prior
    from basis.runs.write import versions

    device_of(device)
    loaded = load_prior(prior, device)
    if loaded.calibration is not None and not overwrite:
        raise UsageError(f"'{prior}' is calibrated already", fix="pass --overwrite to measure it anew")
    examples = None if data is None else data.values(data.images("validation")[0][:MOST])
    facts = {
        "data": "the prior's own samples" if data is None else f"{data.spec}, validation split",
        "examples": n if examples is None else len(examples),
        "n": n,
        "seed": seed,
        "device": device,
        "command": shlex.join(["basis", *sys.argv[1:]]),
        "versions": versions(),
    }
    return save_calibration(measure(loaded, examples, n, seed, batch_size), prior, facts)
