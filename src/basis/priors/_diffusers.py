"""What `diffusers` says of a model: its network, its images and the noise of its times."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from basis.core.errors import BasisError, UsageError, shown
from basis.io.loading import brief, untouched

PREDICTIONS = ("epsilon", "v_prediction", "sample")
SUPPORTED = (
    "DDPMScheduler, DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler and others"
)
LONGEST = 10**6  # discrete times of a schedule
DEFAULT_WIDTHS, MOST_HALVINGS = (224, 448, 672, 896), 30  # of a UNet2DModel; and more than any has
PIXELS = "choose a pixel-space model that no text conditions; latent and text-conditional ones are out of scope"


def diffusers():
    """Return the package `diffusers`, imported only here because that takes seconds."""
    try:
        with untouched():
            import diffusers
    except ImportError as error:
        raise UsageError(
            f"models of Hugging Face diffusers need that package ({error})",
            fix="pip install 'basis-separation[diffusers]'",
        ) from error
    return diffusers


def plain(config: Mapping) -> dict:
    """Return a config as JSON values; of its notes to itself only the name of the class."""
    settings = {key: value for key, value in config.items() if not key.startswith("_") or key == "_class_name"}
    return json.loads(json.dumps(settings, default=lambda array: array.tolist()))


def unet_settings(config: Mapping) -> dict:
    """Return the arguments of the UNet2DModel that a config describes; `UsageError` where it is none for `Diffusion`.

    Example:
        >>> unet_settings({"_class_name": "UNet2DModel", "sample_size": 32})
        {'sample_size': 32}
    """
    settings = dict(config)
    name = settings.pop("_class_name", "UNet2DModel")
    if name != "UNet2DModel":
        raise UsageError(f"expected a UNet2DModel, got a {shown(name)}", fix=PIXELS)
    if (kind := settings.get("time_embedding_type", "positional")) != "positional":
        raise UsageError(
            f"the UNet's time_embedding_type is '{shown(kind)}', which does not take the fractional times of a "
            "variance-preserving process",
            fix="choose a model with 'positional', the default",
        )
    if kind := settings.get("class_embed_type"):
        raise UsageError(
            f"the UNet's class_embed_type is '{shown(kind)}'",
            fix="choose a model without labels, or with num_class_embeds",
        )
    return settings


def image_shape(settings: dict) -> tuple[int, int, int]:
    """Return (C, H, W); `UsageError` for sizes that the network cannot halve as often as it does."""
    size, channels = settings.get("sample_size"), settings.get("in_channels", 3)
    if size is None:
        raise UsageError(
            "the UNet's config does not say the size of its images",
            fix='set "sample_size" in it: the height and width that the model was trained on',
        )
    sides = list(size) if isinstance(size, Sequence) and not isinstance(size, str) else [size, size]
    numbers = [*sides, channels, settings.get("out_channels", 3)]
    layers, classes = settings.get("layers_per_block", 2), settings.get("num_class_embeds")
    others = [layers] if classes is None else [layers, classes]
    if len(sides) != 2 or any(type(number) is not int or number < 1 for number in numbers + others):
        raise UsageError(
            f"the UNet's config has sample_size {shown(size)}, in_channels {shown(channels)}, "
            f"out_channels {shown(numbers[-1])}, layers_per_block {shown(layers)} and "
            f"num_class_embeds {shown(classes)}",
            fix="set them to whole numbers of at least 1",
        )
    if numbers[-1] not in (channels, 2 * channels):
        raise UsageError(
            f"the UNet takes {channels} channels and returns {numbers[-1]}",
            fix="choose an unconditional model: both must be equal, or twice as many where it learned a variance",
        )
    multiple = multiple_of(settings)
    if any(side % multiple for side in sides):
        near = sorted({max(side // multiple, 1) * multiple for side in sides} | {-(-max(sides) // multiple) * multiple})
        raise UsageError(
            f"the UNet halves its images {multiple.bit_length() - 1} times, which sample_size {size} does not allow",
            fix=f"set it to a multiple of {multiple}, for instance {' or '.join(map(str, near))}, and pad the images",
        )
    return channels, sides[0], sides[1]


def multiple_of(settings: dict) -> int:
    """Return what sides have to be multiples of: every resolution but the last is halved."""
    widths = settings.get("block_out_channels", DEFAULT_WIDTHS)
    return 2 ** min(len(widths) - 1, MOST_HALVINGS) if isinstance(widths, Sequence) and widths else 1


def check_label(label: int | None, classes: int | None) -> None:
    if classes is None and label is not None:
        raise UsageError(f"the model is unconditional, got label {shown(label)}", fix="leave the label out")
    if classes is not None and (type(label) is not int or not 0 <= label < classes):
        raise UsageError(
            f"the model is conditional on one of {classes} classes, got label {shown(label)}",
            fix=f"choose a label from 0 to {classes - 1}: Diffusion(unet, scheduler, label=0), or "
            "`basis import diffusers FOLDER DEST --set label=0`",
        )


def build_unet(settings: dict) -> nn.Module:
    """Return the UNet2DModel of a config, with initial weights, after one run on the smallest image that it takes."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of layers without channels, which the run finds out
            unet = diffusers().UNet2DModel.from_config(settings)
            smallest = torch.zeros(1, settings.get("in_channels", 3), *[multiple_of(settings)] * 2)
            labels = None if settings.get("num_class_embeds") is None else torch.zeros(1, dtype=torch.int64)
            unet.eval()(smallest, torch.zeros(1), class_labels=labels)
    except BasisError:
        raise
    except Exception as error:  # whatever a layer makes of a wrong setting
        raise UsageError(
            f"the config does not build a UNet2DModel that runs ({brief(error)})", fix="compare it with one saved"
        ) from error
    return unet


def build_scheduler(scheduler: Mapping | object) -> Any:
    """Return the scheduler that a config describes, or the live one given."""
    package = diffusers()
    if isinstance(scheduler, package.SchedulerMixin):
        return scheduler
    if not isinstance(scheduler, Mapping):
        raise UsageError(f"expected a scheduler or its config, got {shown(repr(scheduler))}", fix=f"choose {SUPPORTED}")
    name, times = scheduler.get("_class_name", "DDPMScheduler"), scheduler.get("num_train_timesteps", 1000)
    cls: Any = getattr(package, name, None) if isinstance(name, str) else None
    known = isinstance(cls, type) and issubclass(cls, package.SchedulerMixin)
    if not known:
        raise UsageError(f"diffusers {package.__version__} has no scheduler {shown(name)}", fix=f"choose {SUPPORTED}")
    if type(times) is not int or not 1 <= times <= LONGEST:
        raise UsageError(
            f"the scheduler's num_train_timesteps is {shown(times)}, expected a whole number up to {LONGEST:,}",
            fix="set it to the number of times that the model was trained at, often 1000",
        )
    try:
        return cls.from_config(plain(scheduler))
    except Exception as error:  # whatever a schedule makes of a wrong setting
        raise UsageError(
            f"the config does not build a {name} ({brief(error)})", fix="compare it with one saved"
        ) from error


def prediction_of(scheduler: Any) -> str:
    kind = scheduler.config.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise UsageError(
            f"the scheduler's prediction_type is '{shown(kind)}'",
            fix=f"choose a model with one of {', '.join(PREDICTIONS)}",
        )
    return kind


def levels_of(scheduler: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the discrete times t with 0 < ᾱ_t < 1 and ``ln(b_t / a_t)`` there, both (T,), float64, increasing.

    ᾱ is the scheduler's own, in float32 as in training: at time 0 its rounding moves the level by up to 3e-4 of it.
    """
    name = type(scheduler).__name__
    bar = getattr(scheduler, "alphas_cumprod", None)
    if bar is None or scheduler.config.get("timestep_type") == "continuous":
        raise UsageError(
            f"{name} does not describe a variance-preserving process in discrete time", fix=f"choose {SUPPORTED}"
        )
    bar = np.asarray(bar, dtype=np.float64).copy()
    betas = np.asarray(getattr(scheduler, "betas", 0.0), dtype=np.float64)
    if not ((betas >= 0) & (betas <= 1)).all():
        raise UsageError(f"the betas of this {name} are not all in [0, 1]", fix="check beta_start and beta_end")
    if bar.ndim != 1 or not len(bar):
        raise UsageError(f"the schedule of this {name} has no times", fix="check its betas")
    if scheduler.config.get("rescale_betas_zero_snr"):
        bar[-1] = 0.0  # pure noise, for which some schedulers put another small number
    times = np.flatnonzero((bar > 0) & (bar < 1))  # without pure noise, which is the end of such a schedule
    levels = np.log((1 - bar[times]) / bar[times]) / 2
    if len(times) < 2 or not (np.diff(levels) > 0).all():
        raise UsageError(f"the noise of this {name} does not grow from step to step", fix="check its betas")
    return times.astype(np.float64), levels
