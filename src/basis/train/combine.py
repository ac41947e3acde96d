"""Priors that were trained for parts of the noise levels, made one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from basis.core.errors import UsageError
from basis.core.prior import Prior
from basis.io.checkpoint import PRIOR, PRIORS, header_of, load_prior, locate, open_weights, read_card
from basis.io.claim import claim
from basis.io.durable import sha256_of
from basis.io.loading import untouched
from basis.io.output import needed, replacing
from basis.io.saving import put, serialized


def combine(
    sources: Sequence[str | Path],
    borders: Sequence[float],
    out: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
) -> Path:
    """Write one prior that asks a network of its own in each range of noise levels; its card holds those of its parts.

    It is stored in bf16 where all of its parts are.

    Args:
        sources: priors of one kind and size, for falling noise levels: names, folders or files.
        borders: noise levels between them, falling, one less than there are priors.
        out: folder to write.
        overwrite: whether a prior that is there is replaced.
        resume: whether one that was made of the same parts is kept.

    Returns:
        The folder.

    Raises:
        UsageError: the folder is not free (see `basis.io.output.needed`), other numbers of priors and borders, priors
            that differ in more than their weights, or of a kind that knows no borders.
    """
    if len(borders) != len(sources) - 1 or not borders:
        raise UsageError(
            f"expected a border between each two of the priors, got {len(sources)} and {len(borders)}",
            fix="for instance `basis combine HIGH LOW --borders 0.3`",
        )
    request = {"sources": [sha256_of(locate(source)) for source in sources], "borders": list(borders)}
    out = Path(out)
    with claim(out):
        if needed(out, PRIOR, request, overwrite=overwrite, resume=resume):
            whole, arguments = _whole(sources, borders)
            halved = all(torch.bfloat16 in _dtypes(source) for source in sources)
            content = serialized(whole, header_of(whole, arguments), torch.bfloat16 if halved else None)
            with replacing(out, PRIOR, request) as new:
                put(content, new, _card(sources, borders))
    return out


def _whole(sources: Sequence[str | Path], borders: Sequence[float]) -> tuple[Prior, dict]:
    """Return the prior of all parts, and the arguments that build it."""
    kinds = [open_weights(source)[1] for source in sources]
    if strange := [str(source) for source, kind in zip(sources, kinds, strict=True) if kind != kinds[0]]:
        raise UsageError(f"{strange[0]} is of another kind or size than {sources[0]}", fix="combine priors of one size")
    arguments = {**kinds[0]["arguments"], "borders": list(borders)}
    try:
        with untouched():
            whole = PRIORS.get(kinds[0]["prior"])(**arguments)
    except TypeError as error:
        raise UsageError(f"priors of kind '{kinds[0]['prior']}' have no borders", fix="combine EDM priors") from error
    weights = {
        key.replace("network.", f"network.networks.{i}.", 1): value
        for i, source in enumerate(sources)
        for key, value in load_prior(source).state_dict().items()
    }
    whole.load_state_dict(weights)
    return whole, arguments


def _card(sources: Sequence[str | Path], borders: Sequence[float]) -> dict:
    cards = [read_card(locate(source)) for source in sources]
    return {
        "borders": list(borders),
        "steps": sum(card.get("steps", 0) for card in cards),
        "images": sum(card.get("images", 0) for card in cards),
        "hours": round(sum(card.get("hours", 0) for card in cards), 2),
        "parts": cards,
    }


def _dtypes(source: str | Path) -> set[torch.dtype]:
    return {value.dtype for value in load_file(locate(source)).values()}
