"""Diffusion models of Hugging Face `diffusers` (UNet2DModel with its scheduler) as priors."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from basis.core.errors import BasisError, UsageError
from basis.core.loading import brief, untouched, unwrapped
from basis.core.prior import Prior, per_example

PREDICTIONS = ("epsilon", "v_prediction", "sample")
SUPPORTED = (
    "DDPMScheduler, DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler and others"
)
LONGEST = 10**6  # discrete times of a schedule
DEFAULT_WIDTHS, MOST_HALVINGS = (224, 448, 672, 896), 30  # of a UNet2DModel; and more than any has
PIXELS = "choose a pixel-space model that no text conditions; latent and text-conditional ones are out of scope"


class Diffusion(Prior):
    """An unconditional or class-conditional pixel-space diffusion model of Hugging Face `diffusers`.

    Such a model sees images y in [-1, 1] at discrete times t = 0, 1, … of a variance-preserving process,
    ``z = a_t y₀ + b_t ε`` with ``a_t = √ᾱ_t``, ``b_t = √(1 - ᾱ_t)`` (Ho et al. 2020, equation 4). Images here are x in
    [0, 1] with noise σ in the same units, so that everything below happens at ``y = 2x - 1`` and ``s = 2σ``:

    - ``z = a y`` has the process's distribution at the time t whose noise-to-signal ratio is ``b_t / a_t = s``; there,
      ``a = 1 / √(1 + s²)`` and ``b = s a`` are exact.
    - t is read off the scheduler's ᾱ by linear interpolation of ``ln(b_t / a_t)``, minus half the log-SNR, between
      neighbouring times (float64); the network is given this fractional time, which its sinusoidal embedding takes.
    - The network's output F gives the noise, ``ε̂ = F`` (epsilon), ``ε̂ = b z + a F`` (v_prediction: F estimates
      ``v = a ε - b y₀``; Salimans & Ho 2022, appendix D) or ``ε̂ = (z - a F) / b`` (sample: F estimates y₀).
    - ``∇ log p_σ(x) = 2 ∇ log q_s(y) = -2 ε̂ / s = -ε̂ / σ``: nothing cancels at small σ.

    Below the model's smallest level (time 0; near 0.005 for the usual schedules) the score is the one at that level:
    the model knows nothing finer, and this is the score of an actual distribution, not steeper than ``1/σ²``. Clipping
    and thresholding that the scheduler's config asks of a sampler are no part of the model and are ignored. The network
    runs in evaluation mode, in float32, in the channels-last layout.

    Args:
        unet: config of a UNet2DModel (its ``config.json``), for a network with untrained weights to load others into;
            or a live UNet2DModel, compiled or in a DataParallel if you like, of which a copy is taken.
        scheduler: config of its scheduler (``scheduler_config.json``; a DDPMScheduler's if it names no class), or the
            live scheduler. Any that holds ᾱ will do: only ᾱ and the type of prediction are used.
        label: class to draw from, 0 to ``num_class_embeds`` - 1, for a class-conditional network; None for others.

    Attributes:
        arguments: keyword arguments that build this prior, JSON values, for `save_prior`.
        sigma_min, sigma_max: smallest and largest noise level that the model was trained at, in units of [0, 1].

    Raises:
        UsageError: diffusers is not installed; the network is none of those above (latent or text-conditional models
            are not), its schedule has no ᾱ, or the label does not fit; `score` at a level that is not positive or
            above ``sigma_max``.

    Example:
        >>> unet = dict(sample_size=8, in_channels=1, out_channels=1, block_out_channels=[8], norm_num_groups=4)
        >>> blocks = dict(down_block_types=["DownBlock2D"], up_block_types=["UpBlock2D"], add_attention=False)
        >>> prior = Diffusion(unet | blocks, {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"})
        >>> prior.shape, round(prior.sigma_min, 4), prior.score(torch.rand(2, 1, 8, 8), 0.1).shape
        ((1, 8, 8), 0.0032, torch.Size([2, 1, 8, 8]))
    """

    def __init__(
        self, unet: Mapping[str, Any] | nn.Module, scheduler: Mapping[str, Any] | object, label: int | None = None
    ) -> None:
        unet = unwrapped(unet) if isinstance(unet, nn.Module) else unet  # type: ignore[assignment]
        if not isinstance(unet, Mapping | diffusers().UNet2DModel):
            raise UsageError(f"expected a UNet2DModel or its config, got a {type(unet).__name__}", fix=PIXELS)
        settings = unet_settings(_plain(unet if isinstance(unet, Mapping) else unet.config))
        plan = _build_scheduler(scheduler)
        super().__init__(_shape(settings), support=(0.0, 1.0))
        _check_label(label, settings.get("num_class_embeds"))
        self.label = label
        described = {"_class_name": type(plan).__name__, **_plain(plan.config)}
        self.arguments = {"unet": settings, "scheduler": described, "label": label}
        self.prediction = _prediction(plan)
        self._times, self._log_levels = _levels(plan)
        self.sigma_min, self.sigma_max = (float(np.exp(level) / 2) for level in self._log_levels[[0, -1]])
        # A copy, so that neither the caller's model nor this prior changes behind the other's back.
        self.unet = copy.deepcopy(unet) if isinstance(unet, nn.Module) else build_unet(settings)
        self.unet.float().eval().requires_grad_(False)
        self.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=torch.float64, device="cpu").detach().reshape(-1)
        if not (level > 0).all() or level.max() > self.sigma_max * (1 + 1e-6):
            raise UsageError(
                f"expected noise levels from above 0 to {self.sigma_max:.4g}, the largest that this model was trained "
                f"at, got {level.min():.4g} to {level.max():.4g}",
                fix=f"choose sigma_max at most {self.sigma_max:.4g}",
            )
        sigma = level.clamp(min=self.sigma_min)
        s, y = 2 * sigma, 2 * x - 1
        t = torch.from_numpy(np.interp(s.log().numpy(), self._log_levels, self._times))
        a, b = (per_example(factor, x) for factor in (1 / (1 + s**2).sqrt(), s / (1 + s**2).sqrt()))
        z = a * y
        F = self._network(z, t.to(x))
        if self.prediction == "epsilon":
            noise = F
        elif self.prediction == "v_prediction":
            noise = b * z + a * F
        else:
            noise = (z - a * F) / b
        return -noise / per_example(sigma, x)

    def _network(self, z: Tensor, t: Tensor) -> Tensor:
        labels = None if self.label is None else torch.full((len(z),), self.label, device=z.device)
        z = z.contiguous(memory_format=torch.channels_last)
        # A network that also learned the reverse process's variance gives that in further channels.
        return self.unet(z, t.expand(len(z)), class_labels=labels).sample[:, : z.shape[1]]


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


def _plain(config: Mapping) -> dict:
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
        raise UsageError(f"expected a UNet2DModel, got a {name}", fix=PIXELS)
    if (kind := settings.get("time_embedding_type", "positional")) != "positional":
        raise UsageError(
            f"the UNet's time_embedding_type is '{kind}', which does not take the fractional times of a "
            "variance-preserving process",
            fix="choose a model with 'positional', the default",
        )
    if kind := settings.get("class_embed_type"):
        raise UsageError(
            f"the UNet's class_embed_type is '{kind}'", fix="choose a model without labels, or with num_class_embeds"
        )
    return settings


def _shape(settings: dict) -> tuple[int, int, int]:
    """Return (C, H, W); `UsageError` for sizes that the network cannot halve as often as it does."""
    size, channels = settings.get("sample_size"), settings.get("in_channels", 3)
    if size is None:
        raise UsageError(
            "the UNet's config does not say the size of its images",
            fix='set "sample_size" in it: the height and width that the model was trained on',
        )
    sides = list(size) if isinstance(size, Sequence) and not isinstance(size, str) else [size, size]
    numbers = [*sides, channels, settings.get("out_channels", 3)]
    if len(sides) != 2 or any(type(number) is not int or number < 1 for number in numbers):
        raise UsageError(
            f"the UNet's config has sample_size {size}, in_channels {channels} and out_channels {numbers[-1]}",
            fix="set them to whole numbers of at least 1",
        )
    if numbers[-1] not in (channels, 2 * channels):
        raise UsageError(
            f"the UNet takes {channels} channels and returns {numbers[-1]}",
            fix="choose an unconditional model: both must be equal, or twice as many where it learned a variance",
        )
    multiple = _multiple(settings)
    if any(side % multiple for side in sides):
        near = sorted({max(side // multiple, 1) * multiple for side in sides} | {-(-max(sides) // multiple) * multiple})
        raise UsageError(
            f"the UNet halves its images {multiple.bit_length() - 1} times, which sample_size {size} does not allow",
            fix=f"set it to a multiple of {multiple}, for instance {' or '.join(map(str, near))}, and pad the images",
        )
    return channels, sides[0], sides[1]


def _multiple(settings: dict) -> int:
    """Return what sides have to be multiples of: every resolution but the last is halved."""
    widths = settings.get("block_out_channels", DEFAULT_WIDTHS)
    return 2 ** min(len(widths) - 1, MOST_HALVINGS) if isinstance(widths, Sequence) and widths else 1


def _check_label(label: int | None, classes: int | None) -> None:
    if classes is None and label is not None:
        raise UsageError(f"the model is unconditional, got label {label}", fix="leave the label out")
    if classes is not None and (type(label) is not int or not 0 <= label < classes):
        raise UsageError(
            f"the model is conditional on one of {classes} classes, got label {label}",
            fix=f"choose a label from 0 to {classes - 1}: Diffusion(unet, scheduler, label=0), or "
            "`basis import diffusers FOLDER DEST --set label=0`",
        )


def build_unet(settings: dict) -> nn.Module:
    """Return the UNet2DModel of a config, with initial weights, after one run on the smallest image that it takes."""
    try:
        unet = diffusers().UNet2DModel.from_config(settings)
        smallest = torch.zeros(1, settings.get("in_channels", 3), *[_multiple(settings)] * 2)
        labels = None if settings.get("num_class_embeds") is None else torch.zeros(1, dtype=torch.int64)
        with torch.no_grad():
            unet.eval()(smallest, torch.zeros(1), class_labels=labels)
    except BasisError:
        raise
    except Exception as error:  # whatever a layer makes of a wrong setting
        raise UsageError(
            f"the config does not build a UNet2DModel that runs ({brief(error)})", fix="compare it with one saved"
        ) from error
    return unet


def _build_scheduler(scheduler: Mapping | object) -> Any:
    """Return the scheduler that a config describes, or the live one given."""
    package = diffusers()
    if isinstance(scheduler, package.SchedulerMixin):
        return scheduler
    if not isinstance(scheduler, Mapping):
        raise UsageError(f"expected a scheduler or its config, got {scheduler!r}", fix=f"choose {SUPPORTED}")
    name, times = scheduler.get("_class_name", "DDPMScheduler"), scheduler.get("num_train_timesteps", 1000)
    cls: Any = getattr(package, name, None) if isinstance(name, str) else None
    known = isinstance(cls, type) and issubclass(cls, package.SchedulerMixin)
    if not known:
        raise UsageError(f"diffusers {package.__version__} has no scheduler {name}", fix=f"choose {SUPPORTED}")
    if type(times) is not int or not 1 <= times <= LONGEST:
        raise UsageError(
            f"the scheduler's num_train_timesteps is {times}, expected a whole number up to {LONGEST:,}",
            fix="set it to the number of times that the model was trained at, often 1000",
        )
    try:
        return cls.from_config(_plain(scheduler))
    except Exception as error:  # whatever a schedule makes of a wrong setting
        raise UsageError(
            f"the config does not build a {name} ({brief(error)})", fix="compare it with one saved"
        ) from error


def _prediction(scheduler: Any) -> str:
    kind = scheduler.config.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise UsageError(
            f"the scheduler's prediction_type is '{kind}'", fix=f"choose a model with one of {', '.join(PREDICTIONS)}"
        )
    return kind


def _levels(scheduler: Any) -> tuple[np.ndarray, np.ndarray]:
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
    if scheduler.config.get("rescale_betas_zero_snr"):
        bar[-1] = 0.0  # pure noise, for which some schedulers put another small number
    times = np.flatnonzero((bar > 0) & (bar < 1))  # without pure noise, which is the end of such a schedule
    levels = np.log((1 - bar[times]) / bar[times]) / 2
    if len(times) < 2 or not (np.diff(levels) > 0).all():
        raise UsageError(f"the noise of this {name} does not grow from step to step", fix="check its betas")
    return times.astype(np.float64), levels
