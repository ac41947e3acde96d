"""Priors on disk: a folder with `model.safetensors` (weights; class and arguments in its header) and `card.json`.

The two change together: see `basis.io.output.replacing`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import safetensors
import torch
from safetensors.torch import load_file
from torch import nn

from basis.core.arrays import plain_torch
from basis.core.checks import device_of, path_of
from basis.core.errors import DataError, UsageError, unknown
from basis.core.plausibility import read_calibration
from basis.core.prior import Prior
from basis.core.registry import Registry
from basis.core.settings import checked
from basis.io.durable import sha256_of
from basis.io.format import FORMATS, Format
from basis.io.loading import (
    brief,
    build,
    check_finite,
    listed,
    mismatches,
    plain_names,
    read_object,
    refuse_pointer,
    untouched,
)  # fmt: skip
from basis.io.output import READY, current
from basis.io.presets import presets_of
from basis.io.saving import CARD, HEADER, WEIGHTS, save_content, serialized

PRIORS = Registry("kind of prior", "basis.priors", Prior)
PRETRAINED = Path(__file__).parents[1] / "assets" / "pretrained"
WHAT = "the name, folder or file of a prior"
PRIOR = "prior"  # kind of folder, see `basis.io.output.Mark`
M = TypeVar("M", bound=nn.Module)


@checked
def save_prior(
    prior: Prior,
    arguments: dict,
    folder: str | Path,
    card: dict | None = None,
    dtype: torch.dtype | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a prior so that `load_prior` finds it again; weights and card are written together or not at all.

    Args:
        prior: the prior; its class is found by name through the registry.
        arguments: keyword arguments of its class that build it, JSON values.
        folder: folder to write. Other files in it stay as they are.
        card: what a reader should know (data, command, steps, scores); the sha256 of the weights is added.
        dtype: what weights are rounded to in the file, for instance `torch.bfloat16`, half as large: computing in
            it a network is the same to the bit. Buffers stay, and numbers that stand alone.
        overwrite: whether to replace a prior that was saved there before.

    Returns:
        The folder.

    Raises:
        UsageError: the folder holds a prior already and ``overwrite`` is not set, or files of these names that basis
            did not write, or another process is writing there; the prior is of no kind that `load_prior` finds, or
            arguments, card or dtype are not as described.

    Example:
        >>> import tempfile
        >>> from basis.priors.edm import EDM
        >>> arguments = dict(shape=[1, 8, 8], mean=0.3, std=0.4, widths=[8], blocks=[1], attention=[False])
        >>> folder = save_prior(EDM(**arguments), arguments, tempfile.mkdtemp())
        >>> load_prior(folder).shape
        (1, 8, 8)
    """
    header = header_of(prior, arguments)
    with untouched():
        built = PRIORS.make(header["prior"], arguments)
    if wrong := mismatches(built.state_dict(), plain_names(prior.state_dict())):
        raise UsageError(
            f"the arguments do not build this prior: {listed(wrong)}", fix="give those that it was made with"
        )
    content = serialized(prior, header, dtype)
    return save_content(content, folder, PRIOR, card, overwrite=overwrite)


def header_of(prior: Prior, arguments: dict) -> dict:
    """Return what the header of a prior's weights says, from which `load_prior` builds it."""
    name = PRIORS.name_of(type(prior))
    if name not in PRIORS.names() or PRIORS.get(name) is not type(prior):
        raise UsageError(
            f"no kind of prior by which it could be found again has the class {type(prior).__name__}",
            fix="name the class in an entry point of the group basis.priors, see CONTRIBUTING.md",
        )
    return {"prior": name, "arguments": arguments}


@plain_torch()
def load_prior(source: str | Path | object, device: str = "cpu", sha256: str | None = None) -> Prior:
    """Load a prior by bundled name, from a folder or `.safetensors` file, or from a foreign format.

    Args:
        source: "mnist", a folder that `save_prior`, `basis train` or `basis import` wrote, or its weights file; or
            what a foreign format reads directly, see `basis list`: for instance "hub:google/ddpm-cifar10-32", the
            folder of a diffusers pipeline, or a pipeline itself.
        device: where to compute, for instance "cpu" or "cuda".
        sha256: expected hash of the weights file; by default the one on the card beside it, if there is one.

    Returns:
        The prior in evaluation mode, without gradients for its parameters.

    Raises:
        UsageError: no such prior; names the near matches.
        DataError: the file is not such a checkpoint, is damaged, or its hash is not the expected one.

    Example:
        >>> load_prior("mnist").shape
        (1, 28, 28)
    """
    where = device_of(device)
    if isinstance(source, str | Path):
        path_of(source, WHAT)
    if reader := foreign(source):
        return reader.read(source).prior.to(where)
    if not isinstance(source, str | Path):
        raise UsageError(f"expected {WHAT}, got {type(source).__name__}", fix="see basis.load_prior")
    path, config = open_weights(source, sha256)
    name, arguments = described(path, config, "prior")
    prior = load_module(path, lambda: PRIORS.get(name)(**arguments))
    card = read_card(path)
    prior.calibration = read_calibration(folder_of(path), card.get("sha256"))
    prior.presets = presets_of(card.get("presets"), str(path))
    return prior.to(where)


def load_module(path: Path, make: Callable[[], M]) -> M:
    """Return the module that ``make`` builds with a file's weights, in evaluation mode and without gradients.

    Raises:
        DataError: the weights are not of such a module, which may ask for no more than the file holds, or not finite.
    """
    try:
        tensors = load_file(path)
    except (FileNotFoundError, RuntimeError):  # torch's word where another process has just moved it to its place
        if path.is_file():
            raise
        tensors = load_file(still(path))
    module = build(path, make, [value.numel() for value in tensors.values()])
    expected = module.state_dict()
    if tensors.keys() != expected.keys():
        tensors = plain_names(tensors)
    if wrong := mismatches(expected, tensors):
        raise DataError(f"{path} does not hold what it describes: {listed(wrong, '; ')}", fix="write it anew")
    check_finite(path, tensors)
    module.load_state_dict(tensors)
    return module.eval().requires_grad_(False)


def open_weights(source: str | Path, sha256: str | None = None) -> tuple[Path, dict]:
    """Return the weights file of a prior and what its header says: the class's name and arguments.

    Args and errors are those of `load_prior`, for priors in our own format.
    """
    seen = None
    while True:
        try:
            path = locate(source)
            expected = sha256 or read_card(path).get("sha256")
            actual = sha256_of(path) if expected else None
            if actual == expected:
                return path, _header(path)
        except (FileNotFoundError, RuntimeError):  # torch's word where another process has just moved it to its place
            if path.is_file():
                raise
            continue
        if seen == (seen := (path, expected, actual)):  # at the first time another process may just have replaced it
            raise DataError(
                f"{path} has sha256 {str(actual)[:16]}…, expected {str(expected)[:16]}…",
                fix="fetch or train the file anew: it was damaged or changed since its card was written",
            )


def _header(path: Path) -> dict:
    """Return what the header of a weights file says."""
    refuse_pointer(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(HEADER)
    except safetensors.SafetensorError as error:
        raise DataError(
            f"{path} is not a safetensors file ({brief(error)})", fix="give a folder or file that `basis train` wrote"
        ) from error
    if header is None:
        raise DataError(
            f"{path} holds tensors but does not say which prior they belong to",
            fix="write it with basis.save_prior, which stores the class and its arguments",
        )
    try:
        return dict(json.loads(header))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} does not describe a prior ({brief(error)})", fix="write it with basis.save_prior"
        ) from error


def described(path: Path, config: dict, kind: str) -> tuple[str, dict]:
    """Return the name of the class and the arguments that a header gives, as ``kind``: "prior" or "separator"."""
    name, arguments = config.get(kind), config.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise DataError(
            f"{path} does not describe a {kind}: expected its kind and arguments, got {', '.join(config) or 'nothing'}",
            fix=f"write it with basis.save_{kind}",
        )
    return name, arguments


def weights_sha256(source: str | Path) -> str | None:
    """Return the hash of a file, or of the weights in a folder; None where there is no such file."""
    path = Path(source)
    file = current(path, WEIGHTS) if path.is_dir() else path
    return sha256_of(file) if file.is_file() else None


def foreign(source: object) -> Format | None:
    """Return the foreign format that the source is of, None for one of our own."""
    readers = (FORMATS.get(name)() for name in FORMATS.names())
    return next((reader for reader in readers if reader.accepts(source)), None)


def locate(source: str | Path) -> Path:
    """Return the weights file of a prior given by bundled name, folder or file."""
    path = Path(source)
    if path.is_file():
        return current(path.parent, WEIGHTS) if path.name == WEIGHTS else path
    if (weights := current(path, WEIGHTS)).is_file():
        return weights
    bundled = PRETRAINED / str(source) / WEIGHTS
    if bundled.is_file() and len(path.parts) == 1:
        return bundled
    if path.is_dir():
        raise UsageError(f"{path} has no {WEIGHTS}", fix="give a folder that `basis train` wrote")
    raise unknown("prior", str(source), pretrained())


def pretrained() -> list[str]:
    """Return the names of the bundled priors."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{WEIGHTS}"))


def read_card(weights: Path) -> dict:
    """Return the card beside the weights of a prior folder, empty where there is none."""
    card = current(folder_of(weights), CARD)
    if weights.name != WEIGHTS or not card.is_file():
        return {}
    found = read_object(card, fix="delete it, or write the prior anew")
    if not isinstance(found.get("sha256"), str | None):
        raise DataError(f"{card} has no text as sha256", fix="delete it, or write the prior anew")
    return found


def folder_of(weights: Path) -> Path:
    """Return the folder of a weights file, in which it may still be staged: see `basis.io.output`."""
    return weights.parent.parent if weights.parent.name == READY else weights.parent


def still(weights: Path) -> Path:
    """Return where a weights file is now: one that was staged may have been moved to its place."""
    return weights if weights.is_file() else folder_of(weights) / weights.name
