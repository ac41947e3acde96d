"""`basis train`."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from basis.cli import options as cli
from basis.core.dataset import DATASETS
from basis.core.errors import DataError, UsageError

OTHER_PROCESS = os.environ.get("RANK", "0") != "0"  # of several: the first one reports for all


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, for instance recipes/mnist.toml.")],
    data_dir: cli.DataDirOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Prior folder; runs/RECIPE by default.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="PRIOR", help="Begin with the weights of this prior.")
    ] = None,
) -> None:
    """Train a prior, or go on with a training that was stopped.

    Stop it with Ctrl-C and start it again with the same command: it goes on from the last checkpoint. Losses are logged
    for TensorBoard in OUT/log. Several processes or GPUs: `accelerate launch -m basis train RECIPE`.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter

        from basis.training import loop
    except ImportError as error:
        raise UsageError(f"training needs {error.name}", fix="pip install 'basis-separation[train]'") from error
    from basis.training.recipe import read_recipe

    plan = read_recipe(recipe)
    folder = out or Path("runs") / recipe.stem
    data = DATASETS.get(plan.data)(data_dir)
    held_out = float("nan")
    with tqdm(
        total=plan.steps, unit="step", desc=recipe.stem, dynamic_ncols=True, disable=OTHER_PROCESS or None
    ) as bar:
        log = None
        try:
            for progress in loop.train(plan, data, folder, start):
                if OTHER_PROCESS:
                    continue
                log = log or SummaryWriter(folder / "log", purge_step=progress.step)
                log.add_scalar("loss/train", progress.loss, progress.step)
                log.add_scalar("learning_rate", progress.learning_rate, progress.step)
                if progress.held_out is not None:
                    held_out = progress.held_out
                    log.add_scalar("loss/held_out", held_out, progress.step)
                bar.update(progress.step - bar.n)
                bar.set_postfix_str(f"loss {progress.loss:.4f}, held out {held_out:.4f}, {progress.rate:.0f} images/s")
        except KeyboardInterrupt:
            cli.complain(f"stopped; `basis train {recipe} --out {folder}` goes on from the last checkpoint")
            raise typer.Exit(130) from None
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"cannot write {folder} ({reason})", fix="make room, or choose another --out") from error
        finally:
            if log:
                log.close()
    if OTHER_PROCESS:
        return
    loss = "already trained" if math.isnan(held_out) else f"held-out loss {held_out:.4f}"
    typer.echo(f"{folder}: {loss}; separate with --prior {folder}")
