"""Saving models of any kind: weights and their card are written together or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from basis.core.checks import path_of
from basis.core.errors import UsageError
from basis.io.claim import claim
from basis.io.mark import read_mark
from basis.io.output import needed, replacing

WEIGHTS, CARD, HEADER = "model.safetensors", "card.json", "basis"


def serialized(module: nn.Module, header: dict, dtype: torch.dtype | None = None) -> bytes:
    """Return the content of the weights file of a module of any kind; ``dtype`` as in `save_prior`."""
    if dtype is not None and not dtype.is_floating_point:
        raise UsageError(f"expected a floating-point type of weights, got {dtype}", fix="for instance torch.bfloat16")
    if any(value.is_meta for value in module.state_dict().values()):
        raise UsageError("the weights are on the meta device, where they have no values", fix="load them first")
    tensors = {k: v.contiguous().cpu() for k, v in module.state_dict().items()}
    tensors |= {k: tensors[k].to(dtype) for k, weight in module.named_parameters() if dtype and weight.dim()}
    return save(tensors, metadata={HEADER: as_json(header, "arguments")})


def as_json(value: object, what: str, indent: int | None = None) -> str:
    """Return a value as JSON; raises `UsageError` where it has parts that are none."""
    try:
        return json.dumps(value, indent=indent)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{what} that are saved have to be JSON values ({error})", fix="leave others out") from error


def save_content(
    content: bytes, folder: str | Path, kind: str, card: dict | None = None, *, overwrite: bool = False
) -> Path:
    """Write weights with their card into a folder of a kind; see `save_prior` and `save_separator`."""
    folder = path_of(folder, "a folder to write")
    as_json(card, "the entries of the card")
    with claim(folder):
        if read_mark(folder) is not None:
            if not overwrite:
                raise UsageError(
                    f"{folder} holds a {kind} already",
                    fix="pass overwrite=True to replace it, or choose another folder",
                )
            needed(folder, kind, {}, overwrite=True)
        with replacing(folder, kind, {}) as new:
            put(content, new, card)
    return folder


def put(content: bytes, new: Path, card: dict | None = None) -> None:
    """Write weights and their card into the folder that `replacing` gives."""
    (new / WEIGHTS).write_bytes(content)
    card = {**(card or {}), "sha256": hashlib.sha256(content).hexdigest()}
    (new / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
