"""The folder of a training run: checkpoint, weights and card change together, and a run goes on from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator

from basis.core.errors import DataError, UsageError
from basis.io.checkpoint import foreign, locate, read_card
from basis.io.claim import claim
from basis.io.mark import read_mark
from basis.io.output import decide, needed, replacing, unmark
from basis.io.saving import put
from basis.train.recipe import Recipe

CHECKPOINT = "checkpoint.pt"
TRAINING, FINETUNING = "training", "fine-tuning"  # kinds of folders, see `basis.io.output.Mark`
STARTED_FROM = "started_from"
FREE = ("steps", "decay", "every", "stored", "calibrate")  # what may change when a run goes on


@dataclass(frozen=True)
class RunFolder:
    """A folder that a run has claimed.

    Attributes:
        path: where it is.
        request: what the run depends on: the recipe but for what is `FREE`, and the prior that it started from.
        state: the checkpoint to go on from, None for a run that begins.
        incomplete: whether weights or card of that checkpoint are not there.
    """

    path: Path
    request: dict
    state: dict | None = field(repr=False)
    incomplete: bool

    def save(self, state: dict, weights: bytes, card: dict) -> None:
        """Write checkpoint, weights and card, all together or not at all."""
        with replacing(self.path, TRAINING, self.request) as new:
            torch.save({**state, "card": card}, new / CHECKPOINT)
            put(weights, new, card)

    def complete(self, weights: bytes, card: dict) -> None:
        """Write weights and card of the checkpoint that is there."""
        with replacing(self.path, TRAINING, self.request, keep=True) as new:
            put(weights, new, card)


def request_of(recipe: Recipe, start: str | Path | None = None) -> dict:
    """Return what a run of this recipe depends on, JSON values."""
    facts = {name: value for name, value in dataclasses.asdict(recipe).items() if name not in FREE}
    return facts if start is None else {**facts, STARTED_FROM: origin(start)}


def origin(start: str | Path) -> str:
    """Return what a prior is known by: the hash on its card, or its name where it has none."""
    return str(start) if foreign(start) else read_card(locate(start)).get("sha256", str(start))


@contextmanager
def run_folder(
    out: Path, request: dict, accelerator: Accelerator, *, overwrite: bool = False, resume: bool = True
) -> Iterator[RunFolder]:
    """Claim the folder of a run and find where the run stands; ask before any work is done.

    Args:
        out: the folder.
        request: see `request_of`.
        accelerator: of several processes the first one alone writes.
        overwrite: whether the run of another request that is there, or any if ``resume`` is not set, begins anew.
        resume: whether one of the same request goes on.

    Raises:
        UsageError: another process is writing there; the folder holds something else, or the run of another request
            (says in what), or files that were changed since.
        DataError: the checkpoint cannot be read.
    """
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        yield RunFolder(out, request, _read(out, request, overwrite, resume), False)
        return
    with marked(out, TRAINING, request, overwrite=overwrite, resume=resume) as whole:
        accelerator.wait_for_everyone()
        mark = read_mark(out)
        yield RunFolder(out, whole, _read(out, whole, overwrite, resume), bool(mark and mark.missing(out)))


@contextmanager
def marked(out: Path, kind: str, request: dict, *, overwrite: bool, resume: bool) -> Iterator[dict]:
    """Claim and mark the folder of a run; give the whole request of what goes on there.

    Arguments and errors are those of `run_folder`.
    """
    with claim(out):
        mark = read_mark(out)
        if mark is None or (mark.kind == kind and not mark.files):  # of a run that came to nothing
            if mark is None:
                needed(out, kind, request)
            with replacing(out, kind, request):
                pass
        else:
            needed(out, kind, request, overwrite=overwrite, resume=resume)
            mark.check(out)
            if not decide(out, mark.request, request, overwrite, resume):
                request = {**mark.request, **request}
                if CHECKPOINT in mark.missing(out):
                    raise UsageError(
                        f"{out} has lost its {CHECKPOINT}, without which the run cannot go on",
                        fix="put it back, pass --overwrite to train anew, or choose another --out",
                    )
        try:
            yield request
        finally:
            unmark(out)


def _read(out: Path, request: dict, overwrite: bool, resume: bool) -> dict | None:
    """Return the checkpoint of the run that goes on, None for one that begins."""
    mark = read_mark(out)
    if mark is None or CHECKPOINT not in mark.files or decide(out, mark.request, request, overwrite, resume):
        return None
    try:
        return dict(torch.load(out / CHECKPOINT, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises anything for a damaged file
        raise unfit(out, error) from error


def unfit(out: Path, error: Exception) -> DataError:
    """Return the error for a checkpoint from which the run cannot go on."""
    reason = str(error).partition("\n")[0]
    return DataError(
        f"{out / CHECKPOINT} does not fit this recipe ({reason})",
        fix="train into another --out folder, or pass --overwrite to train anew",
    )
