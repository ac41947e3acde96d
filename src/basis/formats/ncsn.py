"""Checkpoints of NCSN and NCSNv2 as their authors publish them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from basis.core.errors import DataError, UsageError
from basis.core.format import Foreign, Format
from basis.core.schedule import geometric
from basis.core.settings import Count, Positive
from basis.priors.ncsn import NCSN

PARALLEL = "module."  # DataParallel's prefix
SIGMAS = "sigmas"  # buffer of NCSNv2
EMA = 4  # place of the averaged parameters in a list that NCSNv2 saves
SHOWN = 8


class NCSNCheckpoint(Format):
    """`checkpoint.pth` of NCSN or NCSNv2: a list that begins with the network's state dict.

    Args:
        size: side of the (square) images, which the file does not say; 28 for one channel, 32 for three by default.
        sigmas: the noise levels; by default those that the file holds (NCSNv2), else as many as it has classes,
            geometric from 1 to 0.01 (NCSN).
        ema: whether to read the averaged parameters where the file has them (NCSNv2).

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "checkpoint.pth")
        >>> state = NCSN([1, 28, 28], width=4).network.state_dict()
        >>> torch.save([{f"module.{key}": value for key, value in state.items()}, {}], path)
        >>> NCSNCheckpoint().read(path).arguments["width"]
        4
    """

    def __init__(self, size: Count | None = None, sigmas: Sequence[Positive] | None = None, ema: bool = True) -> None:
        self.size, self.sigmas, self.ema = size, sigmas, ema

    def accepts(self, source: object) -> bool:
        return isinstance(source, str | Path) and Path(source).suffix == ".pth" and Path(source).is_file()

    def read(self, source: str | Path) -> Foreign:
        path, sigmas, size = Path(source), self.sigmas, self.size
        state, averaged = _states(path)
        stored = state.pop(SIGMAS, None)
        if averaged and self.ema:
            state = {**state, **averaged}
        width, channels, levels = _sizes(path, state)
        if sigmas is None:
            sigmas = (geometric(1.0, 0.01, levels or 1) if stored is None else stored.double()).tolist()
        if levels not in (None, len(sigmas)):
            raise UsageError(f"got {len(sigmas)} sigmas, {path} has {levels} levels", fix=f"give {levels} sigmas")
        if size is None:
            size = {1: 28, 3: 32}.get(channels)
        if not isinstance(size, int) or size < 4:
            raise UsageError(f"expected the side of the images, got size {size}", fix="for instance --set size=64")
        arguments: dict[str, Any] = {
            "shape": [channels, size, size],
            "width": width,
            "sigmas": list(sigmas),
            "version": 1 if levels else 2,
        }
        prior = NCSN(**arguments)
        _compare(path, prior.network.state_dict(), state)
        prior.network.load_state_dict(state)
        card = {
            "summary": f"NCSN{'' if levels else 'v2'}, {width} features, {len(sigmas)} levels",
            "ema": bool(averaged and self.ema),
        }
        return Foreign(prior.eval().requires_grad_(False), arguments, card)


def _states(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the state dict and the averaged parameters of a checkpoint, without DataParallel's prefix."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"no file at {path}", fix="give the published checkpoint.pth") from error
    except Exception as error:  # torch.load raises anything for a damaged file
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path} is not a checkpoint that holds tensors alone ({reason})",
            fix="give the published checkpoint.pth (not the config beside it), and fetch it anew if it is damaged",
        ) from error
    parts = content if isinstance(content, list | tuple) else [content]
    averaged = parts[EMA] if len(parts) > EMA else {}
    return _plain(path, parts[0] if parts else None), _plain(path, averaged)


def _plain(path: Path, state: Any) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(
            f"{path} does not begin with a state dict", fix="expected torch.save([network.state_dict(), …], path)"
        )
    return {str(key).removeprefix(PARALLEL): value for key, value in state.items()}


def _sizes(path: Path, state: dict[str, Tensor]) -> tuple[int, int, int | None]:
    """Return width, channels and number of levels (None for NCSNv2)."""
    first = state.get("begin_conv.weight")
    table = state.get("normalizer.embed.weight")
    if first is None or first.dim() != 4 or (table is None and "normalizer.gamma" not in state):
        raise DataError(
            f"{path} is not a network of NCSN: its tensors are {', '.join(sorted(state)[:SHOWN])}, …",
            fix="expected begin_conv.weight, normalizer.embed.weight (or normalizer.gamma) and so on",
        )
    return first.shape[0], first.shape[1], None if table is None else len(table)


def _compare(path: Path, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Raise an error that lists every tensor that is missing, left over or misshapen."""
    wrong = [
        *(f"{key} is missing" for key in ours.keys() - theirs.keys()),
        *(f"{key} is left over" for key in theirs.keys() - ours.keys()),
        *(
            f"{key} has shape {tuple(theirs[key].shape)}, expected {tuple(ours[key].shape)}"
            for key in ours.keys() & theirs.keys()
            if ours[key].shape != theirs[key].shape
        ),
    ]
    if wrong:
        raise DataError(
            f"{path} does not hold the network of NCSN or NCSNv2: {'; '.join(sorted(wrong))}",
            fix="deeper NCSNv2 networks (128 and 256 pixels) are not supported; else fetch the file anew",
        )
