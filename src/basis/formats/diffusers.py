"""Pipelines of Hugging Face `diffusers`: from a folder, from the hub, or from memory."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

from basis.core.checks import unwrapped
from basis.core.errors import BasisError, DataError, UsageError
from basis.core.settings import Whole
from basis.formats._unet import CONFIG, FILE, WEIGHTS, load_unet
from basis.io.format import Foreign, Format
from basis.io.loading import brief, read_object
from basis.priors._diffusers import diffusers, unet_settings
from basis.priors.diffusion import Diffusion

HUB, INDEX, SCHEDULER = "hub:", "model_index.json", "scheduler_config.json"
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

    Weights are read from safetensors where there are such, else from ``.bin``, pickles that are opened with
    ``torch.load(weights_only=True)`` so that they cannot run code; in one file or in shards. Weights of 16 bits become
    float32. Where there are variants alone ("fp16"), the only one is taken.

    Args:
        label: class to draw from, for a class-conditional model.
        variant: which weights to read, for instance "fp16" or "ema"; by default those without such a name.
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

    def __init__(self, label: Whole | None = None, scheduler: dict | None = None, variant: str | None = None) -> None:
        self.label, self.scheduler, self.variant = label, scheduler, variant

    def accepts(self, source: object) -> bool:
        if not isinstance(source, str | Path):
            return any(cls.__module__.partition(".")[0] == "diffusers" for cls in type(unwrapped(source)).__mro__)
        if str(source).startswith(HUB):
            return True
        folder = Path(source)
        if (folder / INDEX).is_file() or (folder / "unet" / CONFIG).is_file():
            return True
        return (folder / CONFIG).is_file() and '"UNet2D' in (folder / CONFIG).read_text(errors="replace")

    def read(self, source: Any) -> Foreign:
        if not isinstance(source, str | Path):
            return _live(source, self.label, self.scheduler)
        hub = str(source).startswith(HUB)
        folder, origin = _download(str(source), self.variant) if hub else (Path(source), {})
        unet = _unet(folder)
        plan = self.scheduler or _scheduler(folder)
        model, weights = load_unet(unet, self.variant)
        try:
            prior = Diffusion(model, plan, self.label)
        except UsageError as error:
            raise UsageError(f"{source}: {error}") from error
        return Foreign(prior, prior.arguments, {"format": "diffusers", "weights": weights, **origin})


def _live(source: Any, label: int | None, scheduler: dict | None) -> Foreign:
    """Read a pipeline, or a UNet with the scheduler that it was trained with."""
    source = unwrapped(source)
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
        index = read_object(folder / INDEX)
        parts = [
            k for k, v in index.items() if not k.startswith("_") and isinstance(v, list) and v and v[-1] is not None
        ]
        _check(str(index.get("_class_name", "the pipeline")), parts)
    unet = folder / "unet" if (folder / "unet" / CONFIG).is_file() else folder
    if not (unet / CONFIG).is_file():
        raise DataError(
            f"{folder} has neither unet/{CONFIG} nor {CONFIG}",
            fix="save the model with pipeline.save_pretrained(folder), or fetch the missing file",
        )
    unet_settings(read_object(unet / CONFIG))
    return unet


def _scheduler(folder: Path) -> dict:
    """Return the scheduler's config: in a pipeline, beside the UNet, or in the pipeline that the UNet lies in."""
    for place in (folder / "scheduler", folder, folder.parent / "scheduler"):
        if (place / SCHEDULER).is_file():
            return read_object(place / SCHEDULER)
    raise DataError(
        f"{folder} has no {SCHEDULER}, so that nothing says which noise the UNet's times stand for",
        fix="save the scheduler that it was trained with there, scheduler.save_pretrained(folder), or say it: "
        """--set 'scheduler={"_class_name": "DDPMScheduler", "beta_schedule": "linear"}'""",
    )


def _download(source: str, variant: str | None) -> tuple[Path, dict]:
    """Fetch a pipeline's configs and weights through huggingface_hub; returns its folder and where it came from."""
    diffusers()
    from huggingface_hub import snapshot_download

    repository, _, revision = source.removeprefix(HUB).partition("@")
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=["*.json"]))
        unet = _unet(folder)  # before the weights come, which for a model out of scope may be large
        fetch = partial(snapshot_download, repository, revision=folder.name)
        stem = f"{WEIGHTS}" if unet == folder else f"unet/{WEIGHTS}"
        for name, kind in itertools.product([variant] if variant else ["", "fp16"], ["safetensors", "bin"]):
            dotted = f".{name}" if name else ""
            parts = [f"{stem}{dotted}.{kind}", f"{stem}{dotted}-*-of-*.{kind}", f"{stem}-*-of-*{dotted}.{kind}"]
            fetch(allow_patterns=parts)
            if any(FILE.fullmatch(path.name) for path in unet.glob(f"{WEIGHTS}*.{kind}")):
                break
    except BasisError:
        raise
    except Exception as error:  # of httpx or requests, by version of huggingface_hub
        raise DataError(
            f"{repository} could not be downloaded ({type(error).__name__}: {brief(error)})",
            fix="check the name and the connection; without internet, run "
            f"`hf download {repository} --local-dir FOLDER` (`huggingface-cli download …` in older versions) on "
            "another machine and pass the folder",
        ) from error
    return folder, {"repository": repository, "revision": folder.name}
