"""`basis fit`."""

from __future__ import annotations

import re
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basis.cli import options as cli
from basis.cli.data import TaskOption
from basis.cli.progress import progress as show
from basis.cli.voice import Stopped, tell
from basis.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from basis.io.learned import Learned, Learning

SPLIT = "train"


def fit(
    method: Annotated[str, typer.Argument(help="A method that learns, for instance nmf; see `basis list`.")],
    data: Annotated[str, typer.Option("--data", help="Data set, see `basis list`.")] = "mnist",
    task: TaskOption = "agnostic",
    sources: cli.SourcesOption = None,
    weights: cli.WeightsOption = None,
    set_: cli.SetOption = None,
    seed: cli.SeedOption = 0,
    device: cli.DeviceOption = "cpu",
    data_dir: cli.DataDirOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; fits/METHOD-DATA-TASK by default.")] = None,
    overwrite: cli.OverwriteOption = False,
    resume: cli.ResumeOption = False,
) -> None:
    """Let a method learn from the training images of a data set; then separate with --method FOLDER.

    The folder is written when the method has learned: stopped before, it leaves nothing. --weights is for methods that
    learn to undo one mixing.
    """
    from basis.cli import given
    from basis.core.checks import device_of
    from basis.core.dataset import open_dataset
    from basis.core.separator import SEPARATORS, choose
    from basis.evaluate import mixtures as mix
    from basis.io.claim import cannot_write, claim
    from basis.io.learned import METHOD, Learned, header_of
    from basis.io.output import needed, replacing
    from basis.io.saving import put, serialized
    from basis.runs.write import versions

    if not issubclass(SEPARATORS.get(method), Learned):
        raise UsageError(f"method '{method}' has nothing to learn", fix=f"separate with --method {method}")
    folder = out or Path("fits") / re.sub(r"[^\w.-]+", "-", f"{method}-{data}-{task}")
    mixing, settings = given.mixing(sources, weights), given.settings(None, None, set_)
    own = {"seed": seed, **settings, **({} if weights is None else {"alphas": list(mixing.alphas)})}
    request = {"method": method, "data": data, "task": task, "sources": mixing.sources, "settings": own}
    device_of(device)
    loaded, start = open_dataset(data, data_dir), time.monotonic()
    with claim(folder):
        if not needed(folder, METHOD, request, overwrite=overwrite, resume=resume):
            tell(f"{folder}: learned already")
            return
        images, labels = loaded.images(SPLIT)
        pools = mix.pools(loaded, labels, task)
        kinds = [k % len(pools) for k in range(mixing.sources)]
        arguments = {"shape": list(images.shape[1:]), "kinds": kinds, **own}
        separator: Learned = choose(method, arguments)  # type: ignore[assignment]
        examples = [loaded.values(images[pool]) for pool in pools[: len(set(kinds))]]
        progress = _follow(method, separator.to(device), examples, folder)
        card = {
            "data": data,
            "split": SPLIT,
            "task": task,
            "images": [len(pool) for pool in pools],
            "steps": progress.step,
            "loss": progress.loss,
            "hours": round((time.monotonic() - start) / 3600, 3),
            "device": device,
            "command": shlex.join(["basis", *sys.argv[1:]]),
            "versions": versions(),
        }
        content = serialized(separator, header_of(separator, arguments))
        try:
            with replacing(folder, METHOD, request) as new:
                put(content, new, card)
        except OSError as error:
            raise cannot_write(folder, error) from error
    tell(f"{folder}: {progress.step} steps, loss {progress.loss:.4f}; separate with --method {folder}")


def _follow(method: str, separator: Learned, images: list[Tensor], folder: Path) -> Learning:
    """Let the separator learn behind a progress bar; return where it ended."""
    progress = None
    try:
        with show(method, leave=True) as bar:
            for progress in separator.fit(images):
                bar.total = progress.steps
                bar.update(progress.step - bar.n)
                bar.set_postfix_str(f"loss {progress.loss:.4f}", refresh=False)
    except KeyboardInterrupt:
        raise Stopped(f"stopped before the method had learned; nothing is written to {folder}") from None
    if progress is None:
        raise UsageError(f"method '{method}' took no step", fix="let it take some with --set")
    return progress
