"""Checkpoints of NCSN and NCSNv2 as their authors publish them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from basis.core.checks import falling
from basis.core.errors import DataError, UsageError
from basis.core.schedule import geometric
from basis.core.settings import Count, Positive
from basis.formats._pickled import read_pickled, state_of
from basis.io.format import Foreign, Format
from basis.io.loading import build, check_finite, listed, mismatches, plain_names
from basis.priors.ncsn import NCSN

SIGMAS = "sigmas"  # buffer of NCSNv2
EMA = 4  # place of the averaged parameters in a list that NCSNv2 saves
LEVELS = 10  # of every published NCSN: geometric from 1 to 0.01
SIZES = {1: 28, 3: 32}  # published NCSNs: channels to the side of the images
SIZES_2 = {232: 32, 500: 64}  # published NCSNv2s: levels to the side (CIFAR-10, CelebA)


class NCSNCheckpoint(Format):
    """`checkpoint.pth` of NCSN or NCSNv2: a list that begins with the network's state dict, or that alone.

    The file is opened without running what may be in it, and only its weights are read. What it does not say is asked
    for: of the sizes and levels, those of the published models alone are known.

    Args:
        size: side of the (square) images, which the file does not say. By default that of the published models: 28 for
            one channel and 32 for three (NCSN), 32 for 232 levels and 64 for 500 (NCSNv2).
        sigmas: the noise levels, decreasing. By default those that the file holds (NCSNv2); for NCSN with ten classes
            the published ones, geometric from 1 to 0.01.
        ema: whether to read the averaged parameters where the file has them (NCSNv2).

    Example:
        >>> import os, tempfile, torch
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
        path = Path(source)
        if not path.is_file():
            raise UsageError(f"no file at {path}", fix="give the published checkpoint.pth")
        state, averaged = _states(path)
        stored = state.pop(SIGMAS, None)
        if averaged and self.ema:
            state = {**state, **averaged}
        width, channels, classes = _sizes(path, state)
        sigmas = _sigmas(path, self.sigmas, stored, classes)
        arguments: dict[str, Any] = {
            "shape": [channels, *[_side(path, self.size, channels, len(sigmas), classes)] * 2],
            "width": width,
            "sigmas": sigmas,
            "version": 1 if classes else 2,
        }
        prior = build(path, lambda: NCSN(**arguments), [value.numel() for value in state.values()])
        _compare(path, prior.network.state_dict(), state)
        check_finite(path, state)
        prior.network.load_state_dict(state)
        card = {
            "summary": f"NCSN{'' if classes else 'v2'}, {width} features, {len(sigmas)} levels",
            "ema": bool(averaged and self.ema),
        }
        return Foreign(prior.eval().requires_grad_(False), arguments, card)


def _states(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the state dict and the averaged parameters of a checkpoint, under the network's own names."""
    content = read_pickled(path)
    parts = content if isinstance(content, list | tuple) else [content]
    averaged = parts[EMA] if len(parts) > EMA else {}
    return plain_names(state_of(path, parts[0] if parts else None)), plain_names(state_of(path, averaged))


def _sigmas(path: Path, given: Sequence[float] | None, stored: Tensor | None, classes: int | None) -> list[float]:
    """Return the noise levels: those given, those in the file, or the published ones of a network that has them."""
    if given is not None:
        if classes not in (None, len(given)):
            raise UsageError(f"got {len(given)} sigmas, {path} has {classes} levels", fix=f"give {classes} sigmas")
        return list(given)
    if stored is not None:
        found = stored.double().flatten().tolist()
        if classes in (None, len(found)) and falling(found):
            return found
        raise DataError(
            f"{path} holds the sigmas {listed([f'{sigma:.4g}' for sigma in found])}, expected decreasing positive ones",
            fix="give those of its training: --set sigmas='[…]'",
        )
    if classes == LEVELS:
        return geometric(1.0, 0.01, LEVELS).tolist()
    what = "averaged weights of NCSNv2 alone" if classes is None else f"an NCSN of {classes} levels"
    raise UsageError(
        f"{path} holds {what}, which do not say their noise levels",
        fix="give those of its training: --set sigmas='[…]' (in Python NCSNCheckpoint(sigmas=[…]).read(…))",
    )


def _side(path: Path, given: int | None, channels: int, levels: int, classes: int | None) -> int:
    """Return the side of the images: the one given, or that of the published model of these sizes."""
    side = given if given is not None else SIZES.get(channels) if classes else SIZES_2.get(levels)
    if side is None:
        raise UsageError(
            f"{path} does not say the size of its images, and no published model has {channels} channels and {levels} "
            "levels",
            fix="give their side, for instance --set size=64",
        )
    if not isinstance(side, int) or side < 4:
        raise UsageError(f"expected the side of the images, got size {side}", fix="for instance --set size=64")
    return side


def _sizes(path: Path, state: dict[str, Tensor]) -> tuple[int, int, int | None]:
    """Return width, channels and number of levels (None for NCSNv2)."""
    first = state.get("begin_conv.weight")
    table = state.get("normalizer.embed.weight")
    if first is None or first.dim() != 4 or (table is None and "normalizer.gamma" not in state):
        raise DataError(
            f"{path} is not a network of NCSN: its tensors are {listed(sorted(state)) or 'none'}",
            fix="expected begin_conv.weight, normalizer.embed.weight (or normalizer.gamma) and so on",
        )
    return first.shape[0], first.shape[1], None if table is None else len(table)


def _compare(path: Path, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Raise an error that lists tensors that are missing, left over or misshapen."""
    if wrong := mismatches(ours, theirs):
        raise DataError(
            f"{path} does not hold the network of NCSN or NCSNv2: {listed(wrong, '; ')}",
            fix="deeper NCSNv2 networks (128 and 256 pixels) are not supported; else fetch the file anew",
        )
