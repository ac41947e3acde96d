"""Diffusion models of Hugging Face `diffusers` (UNet2DModel with its scheduler) as priors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from basis.core.checks import unwrapped
from basis.core.errors import UsageError
from basis.core.prior import ScorePrior, per_example
from basis.priors._diffusers import (
    PIXELS,
    build_scheduler,
    build_unet,
    check_label,
    diffusers,
    image_shape,
    levels_of,
    plain,
    prediction_of,
    unet_settings,
)


class Diffusion(ScorePrior):
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
        settings = unet_settings(plain(unet if isinstance(unet, Mapping) else unet.config))
        plan = build_scheduler(scheduler)
        super().__init__(image_shape(settings), data_range=(0.0, 1.0))
        check_label(label, settings.get("num_class_embeds"))
        self.label = label
        described = {"_class_name": type(plan).__name__, **plain(plan.config)}
        self.arguments = {"unet": settings, "scheduler": described, "label": label}
        self.prediction = prediction_of(plan)
        self._times, self._log_levels = levels_of(plan)
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
