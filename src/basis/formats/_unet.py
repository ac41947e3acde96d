"""The weights of a UNet2DModel as diffusers saves them: whole or in shards, safetensors or pickles, of any variant."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from basis.core.errors import DataError, UsageError
from basis.formats._pickled import read_pickled, state_of
from basis.io.durable import sha256_of
from basis.io.loading import (
    brief,
    build,
    check_finite,
    listed,
    mismatches,
    plain_names,
    read_object,
    refuse_pointer,
)
from basis.priors._diffusers import build_unet, unet_settings

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model"
FILE = re.compile(
    rf"{WEIGHTS}(?:\.(?P<before>[\w]+))??(?:-\d+-of-(?P<shards>\d+))?(?:\.(?P<after>\w+))?\.(?P<kind>safetensors|bin)"
)
OLD = re.compile(r"\.(query|key|value|proj_attn)\.(weight|bias)$")
NEW = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_unet(folder: Path, variant: str | None) -> tuple[Any, dict]:
    """Return the UNet and the sha256 of its files; `DataError` where tensors are missing, left over or misshapen."""
    settings = unet_settings(read_object(folder / CONFIG))
    tensors, hashes = {}, {}
    for path in _files(folder, variant):
        refuse_pointer(path)
        hashes[path.name] = _verify(path)
        tensors.update(_tensors(path))
    tensors = plain_names(tensors)
    model = build(folder, lambda: build_unet(settings), [tensor.numel() for tensor in tensors.values()])
    expected = model.state_dict()
    tensors = {_new_name(name, expected): tensor for name, tensor in tensors.items()}
    if wrong := mismatches(expected, tensors):
        raise DataError(
            f"{folder} does not hold the UNet that its {CONFIG} describes: {listed(wrong, '; ')}",
            fix=f"fetch {', '.join(hashes)} and {CONFIG} anew, or save the model again",
        )
    check_finite(folder, tensors)
    model.load_state_dict(tensors)
    return model, hashes


def _files(folder: Path, variant: str | None) -> list[Path]:
    """Return the files with the UNet's weights: one, or its shards; safetensors before pickles."""
    found: dict[str, dict[tuple, list[Path]]] = {}  # of each variant: (pickle?, number of shards), files
    for path in sorted(folder.glob(f"{WEIGHTS}*")):
        if match := FILE.fullmatch(path.name):
            kind = match["kind"] == "bin", int(match["shards"] or 0)
            found.setdefault(match["before"] or match["after"] or "", {}).setdefault(kind, []).append(path)
    if variant is None:
        if "" not in found and len(found) > 1:
            raise UsageError(f"{folder} has variants {', '.join(found)}", fix="choose one: --set variant=NAME")
        variant = "" if "" in found else next(iter(found), "")
    if variant not in found:
        there = f", it has {', '.join(name or 'those without a name' for name in found)}" if found else ""
        raise DataError(
            f"{folder} does not hold the UNet's weights {variant}, expected {WEIGHTS}.safetensors or .bin{there}",
            fix="fetch the missing file, or save the model again",
        )
    (_, shards), files = min(found[variant].items())
    if shards and len(files) != shards:
        raise DataError(f"{folder} has {len(files)} of {shards} parts of the UNet's weights", fix="fetch the others")
    return files


def _tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file, or of a pickle without what else is in it."""
    if path.suffix != ".safetensors":
        return state_of(path, read_pickled(path))
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path} is not a safetensors file, or damaged ({brief(error)})", fix="fetch it anew"
        ) from error


def _new_name(name: str, expected: Mapping) -> str:
    """Return the name that a tensor of an attention layer has today; in models of 2022 it has another."""
    new = OLD.sub(lambda match: f".{NEW[match[1]]}.{match[2]}", name)
    return new if name not in expected and new in expected else name


def _verify(path: Path) -> str:
    """Return a file's sha256; the hub's cache names a large file by what that should be, and links to it."""
    actual = sha256_of(path)
    expected = Path(os.readlink(path)).name if path.is_symlink() else actual
    if re.fullmatch("[0-9a-f]{64}", expected) and expected != actual:
        raise DataError(
            f"{path} has sha256 {actual[:16]}…, expected {expected[:16]}…",
            fix=f"delete {path.resolve()} and load the model again",
        )
    return actual
