"""`basis train`, `basis finetune` and `basis combine`."""

from __future__ import annotations

import math
import os
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basis.assets.recipes import find_recipe
from basis.cli import options as cli
from basis.cli.calibrate import after_training
from basis.cli.progress import progress as show
from basis.cli.voice import Stopped, tell
from basis.core.errors import UsageError

if TYPE_CHECKING:
    from basis.core.dataset import Dataset

OTHER_PROCESS = os.environ.get("RANK", "0") != "0"  # of several: the first one reports for all

RecipeArgument = Annotated[Path, typer.Argument(help="A recipe: a TOML file, or recipe:NAME for a bundled one.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="With --overwrite: go on with a run of this recipe, replace that of another.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Prior folder; runs/RECIPE by default.")]


def train(
    recipe: RecipeArgument,
    data_dir: cli.DataDirOption = None,
    out: OutOption = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="PRIOR", help="Begin with the weights of this prior.")
    ] = None,
    overwrite: cli.OverwriteOption = False,
    resume: ResumeOption = False,
) -> None:
    """Train a prior, or go on with a training that was stopped.

    Stop it with Ctrl-C and start it again with the same command: it goes on from the last checkpoint. Losses are logged
    for TensorBoard in OUT/log. Several processes or GPUs: `accelerate launch -m basis train RECIPE`.
    """
    recipe = find_recipe(recipe)
    plan, data, folder = _prepare(recipe, data_dir, out)
    again, flags = _again("train", recipe, folder, data_dir, overwrite, start), _flags(overwrite, resume)
    loss = _follow(recipe.stem, plan, data, folder, start, again, flags)
    if not OTHER_PROCESS:
        after_training(folder, data, plan.calibrate)
        tell(f"{folder}: {_words(loss)}; separate with --prior {folder}")


def finetune(
    recipe: RecipeArgument,
    data_dir: cli.DataDirOption = None,
    out: OutOption = None,
    overwrite: cli.OverwriteOption = False,
    resume: ResumeOption = False,
) -> None:
    """Train a prior with a network for each noise level, one after another, or go on where this was stopped.

    The data's own prior comes first, then each level from the smallest to the largest, which starts from the one before
    (section 3.5 of the paper). Single levels lie in OUT/levels; OUT becomes the prior of all of them.
    """
    recipe = find_recipe(recipe)
    plan, data, folder = _prepare(recipe, data_dir, out)
    from basis.train.finetune import assemble, finetuning, stages

    again, flags = _again("finetune", recipe, folder, data_dir, overwrite), _flags(overwrite, resume)
    with nullcontext() if OTHER_PROCESS else finetuning(plan, folder, **flags):
        for stage in stages(plan, folder):
            name = f"sigma {stage.sigma:.4g}"
            loss = _follow(name, stage.recipe, data, stage.out, stage.start, again, flags)
            if not OTHER_PROCESS:
                tell(f"{name}: {_words(loss)}")
        if not OTHER_PROCESS:
            assemble(plan, folder)
    if not OTHER_PROCESS:
        after_training(folder, data, plan.calibrate)
        tell(f"{folder}: separate with --prior {folder}")


def combine(
    priors: Annotated[list[str], typer.Argument(metavar="PRIOR…", help="From the highest noise levels to the lowest.")],
    borders: Annotated[str, typer.Option("--borders", metavar="σ,…", help="Noise levels between them, falling.")],
    out: Annotated[Path, typer.Option("--out", help="Prior folder to write.")],
    overwrite: cli.OverwriteOption = False,
    resume: cli.ResumeOption = False,
) -> None:
    """Make one prior of several that were trained for parts of the noise levels."""
    from basis.train.combine import combine as write

    try:
        levels = [float(part) for part in borders.split(",")]
    except ValueError as error:
        raise UsageError(f"expected noise levels, got --borders {borders}", fix="for instance --borders 0.3") from error
    write(priors, levels, out, overwrite=overwrite, resume=resume)
    tell(f"{out}: separate with --prior {out}")


def _flags(overwrite: bool, resume: bool) -> dict[str, bool]:
    """Return what is done with a run that is there: by default it goes on."""
    return {"overwrite": overwrite, "resume": resume or not overwrite}


def _again(
    command: str, recipe: Path, folder: Path, data_dir: Path | None, overwrite: bool, start: str | None = None
) -> str:
    """Return the command that goes on with a training."""
    options = [*(["--data-dir", str(data_dir)] if data_dir else []), *(["--from", start] if start else [])]
    options += ["--overwrite", "--resume"] if overwrite else []
    return shlex.join(["basis", command, str(recipe), "--out", str(folder), *options])


def _words(held_out: float) -> str:
    return "already trained" if math.isnan(held_out) else f"held-out loss {held_out:.4f}"


def _prepare(recipe: Path, data_dir: Path | None, out: Path | None):
    """Return the recipe, its data set and the folder to write."""
    try:
        import accelerate  # noqa: F401
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise UsageError(f"training needs {error.name}", fix="pip install 'basis-separation[train]'") from error
    from basis.core.dataset import open_dataset
    from basis.train.recipe import read_recipe

    plan = read_recipe(recipe)
    return plan, open_dataset(plan.data, data_dir), out or Path("runs") / recipe.stem


def _follow(name: str, plan, data: Dataset, folder: Path, start: str | Path | None, again: str, flags: dict) -> float:
    """Train behind a progress bar and with a log; return the last held-out loss, NaN if there was nothing to do.

    ``again`` is the command that goes on, ``flags`` are --overwrite and --resume.
    """
    from torch.utils.tensorboard import SummaryWriter

    from basis.io.claim import cannot_write
    from basis.train import loop

    held_out = float("nan")
    with show(name, plan.steps, leave=True, shown=not OTHER_PROCESS) as bar:
        log = None
        try:
            for progress in loop.train(plan, data, folder, start, **flags):
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
            raise Stopped(f"stopped; `{again}` goes on from the last checkpoint") from None
        except OSError as error:
            raise cannot_write(folder, error) from error
        finally:
            if log:
                log.close()
    return held_out
