"""Saving models of any kind: weights and their card are written together or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from basis.core.claim import claim
from basis.core.errors import UsageError
from basis.core.mark import read_mark
from basis.core.output import needed, replacing

WEIGHTS, CARD, HEADER = "model.safetensors", "card.json", "basis"


def serialized(module: nn.Module, header: dict, dtype: torch.dtype | None = None) -> bytes:
    """Return the content of the weights file of a module of any kind; ``dtype`` as in `save_prior`."""
    tensors = {k: v.contiguous().cpu() for k, v in module.state_dict().items()}
    tensors |= {k: tensors[k].to(dtype) for k, weight in module.named_parameters() if dtype and weight.dim()}
    return save(tensors, metadata={HEADER: json.dumps(header)})


def save_content(
    content: bytes, folder: str | Path, kind: str, card: dict | None = None, *, overwrite: bool = False
) -> Path:
    """Write weights with their card into a folder of a kind; see `save_prior` and `save_separator`."""
    folder = Path(folder)
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
