"""Priors by the verbs that users of Hugging Face know: from_pretrained, save_pretrained, push_to_hub."""

from __future__ import annotations

import inspect
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from basis.core.checks import device_of
from basis.core.errors import DataError, UsageError, shown
from basis.core.plausibility import CALIBRATION
from basis.core.prior import Prior
from basis.io.checkpoint import CARD, WEIGHTS, load_prior, pretrained, read_card, save_prior
from basis.io.durable import write_atomically

HUB = "hub:"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


def load(source: str | Path | object, device: str = "cpu") -> Prior:
    """Return a prior from what `load_prior` takes, or from a repository of the hub; see `Prior.from_pretrained`."""
    device_of(device)
    text = str(source) if isinstance(source, str) else ""
    if REPOSITORY.fullmatch(text) and not Path(text).exists():
        text = f"{HUB}{text}"
    if not text.startswith(HUB):
        return load_prior(source, device)
    folder = _download(text.removeprefix(HUB))
    return load_prior(text if folder is None else folder, device)


def save(prior: Prior, folder: str | Path, card: dict | None = None, *, overwrite: bool = False) -> Path:
    """Write a prior with the arguments that it was made from; see `Prior.save_pretrained`."""
    folder = save_prior(prior, arguments_of(prior), folder, card, overwrite=overwrite)
    if prior.calibration is not None:
        content = {"sha256": read_card(folder / WEIGHTS)["sha256"], **prior.calibration.facts()}
        write_atomically(folder / CALIBRATION, (json.dumps(content, indent=1) + "\n").encode())
    return folder


def arguments_of(prior: Prior) -> dict[str, Any]:
    """Return the arguments that a prior was made from, as JSON holds them.

    Raises:
        UsageError: one of them is no number, text, list or array.
    """
    args, kwargs = prior.made_from
    signature = inspect.signature(type(prior))
    bound, found = signature.bind(*args, **kwargs), dict[str, Any]()
    for name, value in bound.arguments.items():
        several = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        found |= value if several else {name: value}
    return {name: _plain(value, name, prior) for name, value in found.items()}


def push(prior: Prior, repository: str, *, private: bool = False, revision: str | None = None) -> str:
    """Save a prior to a repository of the hub; see `Prior.push_to_hub`."""
    hub = _hub()
    if not REPOSITORY.fullmatch(repository) or "@" in repository:
        raise UsageError(f"expected a repository OWNER/NAME, got {shown(repository)}", fix="for instance me/my-prior")
    with tempfile.TemporaryDirectory() as folder:
        save(prior, folder)
        try:
            api = hub.HfApi()
            api.create_repo(repository, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                allow_patterns=[WEIGHTS, CARD, CALIBRATION],
                commit_message="Prior of basis",
                revision=revision,
            )
        except Exception as error:  # of httpx or requests, by version of huggingface_hub
            raise DataError(
                f"{repository} could not be written ({type(error).__name__}: {_first_line(error)})",
                fix="log in with `hf auth login`, and check the name and the connection",
            ) from error
    return str(done)


def _download(name: str) -> Path | None:
    """Fetch a prior of ours from the hub; None where the repository holds none."""
    hub = _hub()
    repository, _, revision = name.partition("@")
    try:
        options: dict[str, Any] = {"revision": revision or None}
        folder = Path(hub.snapshot_download(repository, allow_patterns=[CARD, CALIBRATION], **options))
        if not (folder / CARD).is_file():
            return None
        return Path(hub.snapshot_download(repository, allow_patterns=[CARD, CALIBRATION, WEIGHTS], **options))
    except Exception as error:  # as above
        raise DataError(
            f"{repository} could not be downloaded ({type(error).__name__}: {_first_line(error)})",
            fix=f"check the name and the connection; bundled priors are {', '.join(pretrained())}",
        ) from error


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UsageError("the hub needs huggingface_hub", fix="pip install 'basis-separation[hub]'") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return " ".join(str(error).strip().partition("\n")[0].split())


def _plain(value: object, name: str, prior: Prior) -> Any:
    """Return a value as JSON holds it."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(one, name, prior) for key, one in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(one, name, prior) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(
        f"{type(prior).__name__} was made from {name}, a {type(value).__name__}, which no file can describe",
        fix="save the prior inside, or derive a class from Prior whose arguments are numbers, text and lists",
    )
