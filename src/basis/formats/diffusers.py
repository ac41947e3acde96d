"""Pipelines of Hugging Face `diffusers`: from a folder, from the hub, or from memory."""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

from basis.core.errors import BasisError, DataError, UsageError
from basis.core.format import Foreign, Format
from basis.core.settings import Whole
from basis.priors.diffusion import Diffusion, diffusers, unet_settings

HUB, INDEX, CONFIG, SCHEDULER = "hub:", "model_index.json", "config.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model"
LATENT = {"vae", "vqvae", "movq", "autoencoder", "text_encoder", "transformer"}
OURS = "a DDPMPipeline or DDIMPipeline, for instance hub:google/ddpm-cifar10-32"


class Diffusers(Format):
    """Pixel-space diffusion models of Hugging Face `diffusers`: a UNet2DModel with its scheduler.

    What can be read:

    - the folder of a pipeline (``model_index.json``), with the UNet in ``unet/`` or, as in repositories of the first
      versions such as google/ddpm-cifar10-32, at its root;
    - the folder of a UNet alone (``config.json``), whose scheduler is looked for beside it;
    - ``"hub:OWNER/NAME"`` or ``"hub:OWNER/NAME@REVISION"``, downloaded into the cache of huggingface_hub, which also
      serves it without internet from then on; sizes and, for large files, the sha256 are checked;
    - a live pipeline, of whose network a copy is taken.

    Weights are read from safetensors where there are such, else from ``diffusion_pytorch_model.bin``: a pickle, which
    diffusers opens with ``torch.load(weights_only=True)``, so that it can hold tensors but cannot run code.

    Args:
        label: class to draw from, for a class-conditional model.
        scheduler: config of the scheduler that the model was trained with, in place of the stored one.

    Raises:
        UsageError: in `read`, the pipeline is none of those above (latent models are out of scope), or the label is
            wrong.
        DataError: in `read`, a file is missing or damaged, or cannot be downloaded; says what to do without internet.

    Example:
        >>> import diffusers, tempfile
        >>> unet = diffusers.UNet2DModel(
        ...     sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8,), norm_num_groups=4,
        ...     down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False)
        >>> pipeline = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler())
        >>> Diffusers().read(pipeline).prior.shape
        (1, 8, 8)
    """

    def __init__(self, label: Whole | None = None, scheduler: dict | None = None) -> None:
        self.label, self.scheduler = label, scheduler

    def accepts(self, source: object) -> bool:
        if not isinstance(source, str | Path):
            return any(cls.__module__.partition(".")[0] == "diffusers" for cls in type(source).__mro__)
        if str(source).startswith(HUB):
            return True
        folder = Path(source)
        if (folder / INDEX).is_file() or (folder / "unet" / CONFIG).is_file():
            return True
        return (folder / CONFIG).is_file() and '"UNet2D' in (folder / CONFIG).read_text(errors="replace")

    def read(self, source: Any) -> Foreign:
        if not isinstance(source, str | Path):
            return _live(source, self.label, self.scheduler)
        folder, origin = _download(str(source)) if str(source).startswith(HUB) else (Path(source), {})
        unet = _unet(folder)
        plan = self.scheduler or _scheduler(folder)
        model, weights = _load(unet)
        prior = Diffusion(model, plan, self.label)
        return Foreign(prior, prior.arguments, {"format": "diffusers", "weights": weights, **origin})


def _live(source: Any, label: int | None, scheduler: dict | None) -> Foreign:
    """Read a pipeline, or a UNet with the scheduler that it was trained with."""
    if isinstance(source, diffusers().DiffusionPipeline):
        _check(type(source).__name__, [name for name, part in source.components.items() if part is not None])
        source, scheduler = source.unet, scheduler or source.scheduler
    if scheduler is None:
        raise UsageError(
            f"a {type(source).__name__} alone does not say which noise its times stand for",
            fix="pass the pipeline, or make the prior with Diffusion(unet, scheduler)",
        )
    prior = Diffusion(source, scheduler, label)
    return Foreign(prior, prior.arguments, {"format": "diffusers"})


def _check(name: str, parts: list[str]) -> None:
    """Refuse a pipeline that is not a UNet and a scheduler."""
    if latent := sorted(LATENT & set(parts)):
        raise UsageError(
            f"{name} is a latent or text-conditional model (it has a {latent[0]}): its score is not one of images, and "
            "such models are out of scope",
            fix=f"choose {OURS}",
        )
    if set(parts) != {"unet", "scheduler"}:
        raise UsageError(
            f"expected a pipeline of a unet and a scheduler, {name} has {', '.join(sorted(parts)) or 'nothing'}",
            fix=f"choose {OURS}",
        )


def _unet(folder: Path) -> Path:
    """Return the folder of the UNet after checking that `Diffusion` has a use for it."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", fix=f"give the folder of a pipeline, or {HUB}OWNER/NAME")
    if (folder / INDEX).is_file():
        index = _json(folder / INDEX)
        parts = [k for k, v in index.items() if not k.startswith("_") and isinstance(v, list) and v[-1] is not None]
        _check(index.get("_class_name", "the pipeline"), parts)
    unet = folder / "unet" if (folder / "unet" / CONFIG).is_file() else folder
    if not (unet / CONFIG).is_file():
        raise DataError(
            f"{folder} has neither unet/{CONFIG} nor {CONFIG}",
            fix="save the model with pipeline.save_pretrained(folder), or fetch the missing file",
        )
    unet_settings(_json(unet / CONFIG))
    return unet


def _scheduler(folder: Path) -> dict:
    """Return the scheduler's config: in a pipeline, beside the UNet, or in the pipeline that the UNet lies in."""
    for place in (folder / "scheduler", folder, folder.parent / "scheduler"):
        if (place / SCHEDULER).is_file():
            return _json(place / SCHEDULER)
    raise DataError(
        f"{folder} has no {SCHEDULER}, so that nothing says which noise the UNet's times stand for",
        fix="save the scheduler that it was trained with there, scheduler.save_pretrained(folder), or say it: "
        """--set 'scheduler={"_class_name": "DDPMScheduler", "beta_schedule": "linear"}'""",
    )


def _load(folder: Path) -> tuple[Any, dict]:
    """Return the UNet and the sha256 of its files; `DataError` where tensors are missing, left over or misshapen."""
    files = sorted(folder.glob(f"{WEIGHTS}*.safetensors")) or sorted(folder.glob(f"{WEIGHTS}*.bin"))
    hashes = {path.name: _verify(path) for path in files}
    try:
        # local_files_only: a folder is never taken for the name of a repository.
        model, info = diffusers().UNet2DModel.from_pretrained(
            str(folder), low_cpu_mem_usage=False, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # whatever safetensors, torch and diffusers make of a wrong file
        raise DataError(
            f"{folder} does not hold the UNet that its {CONFIG} describes ({' '.join(str(error).split())[:200]})",
            fix=f"fetch {WEIGHTS}.safetensors and {CONFIG} anew, or save the model again",
        ) from error
    if wrong := sorted(str(key) for key in {*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]}):
        raise DataError(
            f"{folder}: {len(wrong)} tensors are missing, left over or misshapen: {', '.join(wrong[:8])}",
            fix=f"fetch {WEIGHTS}.safetensors and {CONFIG} anew, or save the model again",
        )
    return model, hashes


def _download(source: str) -> tuple[Path, dict]:
    """Fetch a pipeline's configs and weights through huggingface_hub; returns its folder and where it came from."""
    diffusers()
    from huggingface_hub import snapshot_download

    repository, _, revision = source.removeprefix(HUB).partition("@")
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=["*.json"]))
        unet = _unet(folder)  # before the weights come, which for a model out of scope may be large
        fetch = partial(snapshot_download, repository, revision=folder.name)
        inside = "" if unet == folder else "unet/"
        fetch(allow_patterns=[f"{inside}{WEIGHTS}.safetensors", f"{inside}{WEIGHTS}-*-of-*.safetensors"])
        if not any(unet.glob(f"{WEIGHTS}*.safetensors")):
            fetch(allow_patterns=[f"{inside}{WEIGHTS}.bin"])
    except BasisError:
        raise
    except Exception as error:  # of httpx or requests, by version of huggingface_hub
        raise DataError(
            f"{repository} could not be downloaded ({type(error).__name__}: {' '.join(str(error).split())[:200]})",
            fix="check the name and the connection; without internet, run "
            f"`hf download {repository} --local-dir FOLDER` (`huggingface-cli download …` in older versions) on "
            "another machine and pass the folder",
        ) from error
    return folder, {"repository": repository, "revision": folder.name}


def _verify(path: Path) -> str:
    """Return a file's sha256; the hub's cache names a large file by what that should be, and links to it."""
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = Path(os.readlink(path)).name if path.is_symlink() else actual
    if re.fullmatch("[0-9a-f]{64}", expected) and expected != actual:
        raise DataError(
            f"{path} has sha256 {actual[:16]}…, expected {expected[:16]}…",
            fix=f"delete {path.resolve()} and load the model again",
        )
    return actual


def _json(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a JSON object ({error})", fix="fetch or write it anew") from error
