"""Glow: a multi-scale normalising flow (Kingma & Dhariwal 2018), layer by layer as in its published checkpoints.

A flow is an invertible map z = f(x) with z ~ N(0, I), so that ``log p(x) = log N(f(x); 0, I) + log |det ∂f/∂x|``. The
learned means and standard deviations of the parts of z (split priors, top prior) are counted as a last layer of f.
`basis.nn.frozen_glow` computes the same with the weights' products prepared, and the inverse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basis.nn.frozen_glow import FORMAT, FrozenGlow, border, exact, standardise

SHARPNESS = 3.0  # published scales are exp(3 · logs): learned three times as fast
WAVES = 16  # cosines that describe the noise level
WORST_CONDITION = 1e6  # of a 1×1 convolution that float32 can still undo


class ActNorm(nn.Module):
    """Affine map of each channel, ``(x + b) · exp(3 logs)``; computed with what comes next, see `scaled_conv`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.b, self.logs = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))

    @property
    def log_scale(self) -> Tensor:
        """Logarithm of each channel's scale, (C,)."""
        return SHARPNESS * self.logs

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Set b and logs so that this batch leaves with mean 0 and standard deviation 1 in each channel."""
        std, mean = torch.std_mean(x, (0, 2, 3), correction=0)
        self.b.copy_(-mean)
        self.logs.copy_(-torch.log(std + 1e-6) / SHARPNESS)


class Mix(nn.Module):
    """Matrix W of an invertible 1×1 convolution, by which the row vector of each pixel's channels is multiplied.

    With ``lu``, ``W = P (L + I) (U + diag(sign_S · exp(log_S)))``, L and U strictly triangular, P a permutation: the
    log-determinant is then a sum over channels.
    """

    def __init__(self, channels: int, *, lu: bool = False) -> None:
        super().__init__()
        self.lu = lu
        W = torch.linalg.qr(torch.randn(channels, channels))[0]
        if not lu:
            self.W = nn.Parameter(W)
            return
        P, L, U = torch.linalg.lu(W)
        self.register_buffer("P", P)
        self.register_buffer("sign_S", U.diagonal().sign())
        self.L, self.U = nn.Parameter(L.tril(-1)), nn.Parameter(U.triu(1))
        self.log_S = nn.Parameter(U.diagonal().abs().log())

    def matrix(self) -> Tensor:
        """Return W, (C, C)."""
        if not self.lu:
            return self.W
        lower = self.L.tril(-1) + torch.eye(len(self.L), dtype=self.L.dtype, device=self.L.device)
        return self.P @ lower @ (self.U.triu(1) + torch.diag(self.sign_S * self.log_S.exp()))

    def log_det(self) -> Tensor:
        """Return log |det W|, 0-dimensional; -∞ where W is singular."""
        return self.log_S.sum() if self.lu else torch.linalg.slogdet(self.W)[1]

    def singular(self) -> bool:
        """Return whether float32 cannot undo the product with W."""
        W = exact(self.matrix())
        return not (torch.isfinite(W).all() and torch.linalg.cond(W) < WORST_CONDITION)


class Hidden(nn.Module):
    """Convolution without bias, a shift that depends on the noise level, actnorm, ReLU.

    A 3×3 convolution sees a further, last input channel: 1 on the padded border and 0 inside.
    """

    def __init__(self, c_in: int, c_out: int, size: int, embedding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.05 * torch.randn(c_out, c_in + (size > 1), size, size))
        self.norm = ActNorm(c_out)
        self.level = level_shift(embedding, c_out)

    def forward(self, x: Tensor, e: Tensor | None) -> Tensor:
        return F.relu_(scaled_conv(x, self, e))

    @torch.no_grad()
    def fit(self, x: Tensor, e: Tensor | None) -> None:
        """Set the actnorm so that this batch has mean 0 and standard deviation 1 before the ReLU."""
        self.norm.b.zero_()
        self.norm.logs.zero_()
        self.norm.fit(scaled_conv(x, self, e))

    @property
    def affine(self) -> tuple[Tensor, Tensor]:
        """b and the logarithm of the scale of what follows the convolution, (C,) each."""
        return self.norm.b, self.norm.log_scale


class ZeroConv(nn.Module):
    """3×3 convolution that starts at zero: ``(conv + b) · exp(3 logs)``; border channel and level as in `Hidden`."""

    def __init__(self, c_in: int, c_out: int, embedding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(c_out, c_in + 1, 3, 3))
        self.b, self.logs = nn.Parameter(torch.zeros(c_out)), nn.Parameter(torch.zeros(c_out))
        self.level = level_shift(embedding, c_out)

    def forward(self, x: Tensor, e: Tensor | None) -> Tensor:
        return scaled_conv(x, self, e)

    @property
    def affine(self) -> tuple[Tensor, Tensor]:
        """b and the logarithm of the scale of what follows the convolution, (C,) each."""
        return self.b, SHARPNESS * self.logs


class Step(nn.Module):
    """A step of flow: actnorm, 1×1 convolution, coupling.

    The first half z₁ of the channels gives, by a network of three layers, what is done to the second: affine
    ``z₂ ← (z₂ + shift) · sigmoid(s + 2)``, with the shift in the even and s in the odd outputs, or additive
    ``z₂ ← z₂ + shift``. Scales are below 1, so that nothing can overflow; actnorm makes up for it.
    """

    def __init__(self, channels: int, width: int, *, affine: bool = True, lu: bool = False, embedding: int = 0) -> None:
        super().__init__()
        half = channels // 2
        self.affine = affine
        self.norm, self.mix = ActNorm(channels), Mix(channels, lu=lu)
        self.l_1, self.l_2 = Hidden(half, width, 3, embedding), Hidden(width, width, 1, embedding)
        self.l_last = ZeroConv(width, (channels - half) * (2 if affine else 1), embedding)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map x (B, C, H, W) to z of that shape, with log |det ∂z/∂x|, (B,)."""
        z1, z2 = self.mixed(x)
        log_det = x.shape[2] * x.shape[3] * (self.norm.log_scale.sum() + self.mix.log_det())
        h = self.l_last(self.l_2(self.l_1(z1, e), e), e)
        if not self.affine:
            return torch.cat([z1, z2 + h], 1), log_det.expand(len(x))
        s = h[:, 1::2] + 2
        z2 = (z2 + h[:, 0::2]) * torch.sigmoid(s)
        return torch.cat([z1, z2], 1), log_det + F.logsigmoid(s).sum((1, 2, 3))

    def mixed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both halves of the channels after actnorm and 1×1 convolution."""
        gain, W = torch.exp(self.norm.log_scale), self.mix.matrix()
        z = F.conv2d(x, (gain[:, None] * W).T[:, :, None, None], (self.norm.b * gain) @ W)
        return z[:, : x.shape[1] // 2], z[:, x.shape[1] // 2 :]

    @torch.no_grad()
    def fit(self, x: Tensor, e: Tensor | None) -> None:
        """Set the actnorms, in order, so that this batch leaves each with mean 0 and standard deviation 1."""
        self.norm.fit(x)
        z1, _ = self.mixed(x)
        self.l_1.fit(z1, e)
        self.l_2.fit(self.l_1(z1, e), e)


class Top(nn.Module):
    """Prior of the coarsest latents: a `ZeroConv` whose only input is the border channel; means first, then log-sds."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.conv = ZeroConv(0, 2 * channels, embedding)

    def forward(self, z: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, log_sd = self.conv(z[:, :0], e).chunk(2, 1)
        return mean.expand_as(z), log_sd.expand_as(z)


class GlowNetwork(nn.Module):
    """The whole flow: at each scale squeeze 2×2 pixels into channels, take the steps, and split half of them off.

    Squeezed channels are ordered (channel, dy, dx). While the network is in evaluation mode and no parameter needs a
    gradient, what depends on the weights alone is computed once and kept (`FrozenGlow`).

    Args:
        shape: (C, H, W) of the images, H and W divisible by ``2**scales``.
        scales: number of scales (published: 3, for 64×64 pixels 4).
        depth: steps at each scale (published: 32, for 64×64 pixels 48).
        width: hidden channels of the couplings (published: 512).
        affine: affine couplings, else additive.
        lu: 1×1 convolutions in LU form.
        learned_top: whether the coarsest latents have a learned mean and standard deviation.
        embedding: width of the embedding of the noise level; 0 for a network of one level.
    """

    def __init__(
        self,
        shape: Sequence[int],
        scales: int,
        depth: int,
        width: int,
        *,
        affine: bool = True,
        lu: bool = False,
        learned_top: bool = True,
        embedding: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.depth = tuple(shape), depth
        self.embed = nn.Linear(WAVES, embedding) if embedding else None
        self.steps, self.splits = nn.ModuleList(), nn.ModuleList()
        channels = self.shape[0]
        for scale in range(scales):
            channels = channels * 4 if scale == 0 else channels * 2
            self.steps.append(
                nn.ModuleList(Step(channels, width, affine=affine, lu=lu, embedding=embedding) for _ in range(depth))
            )
            if scale < scales - 1:
                self.splits.append(ZeroConv(channels // 2, channels, embedding))
        self.top = Top(channels, embedding) if learned_top else None
        self.dtype: torch.dtype | None = None
        self._frozen: tuple[tuple, FrozenGlow] | None = None

    def compute_in(self, dtype: torch.dtype) -> None:
        """Compute the couplings' convolutions, nearly all of the cost, in another type while the weights are fixed.

        What is inverted and what the log-determinant sums up stays as it is.
        """
        self.dtype, self._frozen = dtype, None

    def forward(self, x: Tensor, level: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map images to latents.

        Args:
            x: (B, C, H, W), around 0.
            level: noise level on a scale from 0 to 1, (B,) or (1,), where the network has an embedding.

        Returns:
            z (B, C·H·W), finest scale first, and log |det ∂z/∂x|, (B,).
        """
        e = self.embedding(level)
        if frozen := self.frozen():
            return frozen.forward(x, e)
        parts, log_dets = [], []
        for scale, steps in enumerate(self.steps):
            x = F.pixel_unshuffle(x, 2).contiguous(memory_format=FORMAT)
            for step in steps:
                x, log_det = step(x, e)
                log_dets.append(log_det)
            if scale < len(self.splits):
                x, z = x.chunk(2, 1)
                h = self.splits[scale](x, e)
                mean, log_sd = h[:, 0::2], h[:, 1::2]
            else:
                z = x
                mean, log_sd = (torch.zeros_like(x),) * 2 if self.top is None else self.top(x, e)
            z, log_det = standardise(z, mean, log_sd)
            log_dets.append(log_det)
            parts.append(z.flatten(1))
        return torch.cat(parts, 1), torch.stack(log_dets).sum(0)

    @torch.no_grad()
    def inverse(self, z: Tensor, level: Tensor | None = None) -> Tensor:
        """Map latents z (B, C·H·W) to images (B, C, H, W); gradients do not pass."""
        return (self.frozen() or FrozenGlow(self)).inverse(z, self.embedding(level))

    def embedding(self, level: Tensor | None) -> Tensor | None:
        """Return the embedding of noise levels in [0, 1], (B, E)."""
        if self.embed is None or level is None:
            return None
        waves = torch.cos(math.pi * torch.arange(WAVES, device=level.device) * level[:, None])
        return F.silu(self.embed(waves))

    @torch.no_grad()
    def initialise(self, x: Tensor, level: Tensor | None = None) -> None:
        """Set every actnorm, in order, so that this batch leaves it with mean 0 and standard deviation 1."""
        e = self.embedding(level)
        for number, step, _ in self._places():
            x = F.pixel_unshuffle(x, 2) if number == 0 else x
            step.fit(x, e)
            x, _ = step(x, e)
            x = x.chunk(2, 1)[0] if number == self.depth - 1 else x

    def frozen(self) -> FrozenGlow | None:
        """Return the prepared network where the weights are fixed, else None; made anew after any change to them."""
        if self.training:
            return None
        weights = [*self.parameters(), *self.buffers()]
        if any(weight.requires_grad for weight in weights):
            return None
        key = tuple((weight.data_ptr(), weight._version) for weight in weights)
        if self._frozen is None or self._frozen[0] != key:
            with torch.no_grad():
                self._frozen = key, FrozenGlow(self)
        return self._frozen[1]

    def train(self, mode: bool = True) -> GlowNetwork:
        self._frozen = None
        return super().train(mode)

    @torch.no_grad()
    def singular(self) -> str | None:
        """Return which 1×1 convolution cannot be undone, in words, or None."""
        singular = (where for _, step, where in self._places() if step.mix.singular())
        return next((f"the 1×1 convolution of {where} is singular" for where in singular), None)

    @torch.no_grad()
    def trouble(self, x: Tensor, level: Tensor | None = None) -> str | None:
        """Return where the flow is not invertible or leaves the finite numbers, in words, or None."""
        if where := self.singular():
            return where
        e = self.embedding(level)
        for number, step, where in self._places():
            x = F.pixel_unshuffle(x, 2) if number == 0 else x
            x, log_det = step(x, e)
            if not torch.isfinite(x).all() or not torch.isfinite(log_det).all():
                return f"the values are not finite after {where}"
            x = x.chunk(2, 1)[0] if number == self.depth - 1 else x
        return None

    def _places(self) -> Iterator[tuple[int, Step, str]]:
        """Yield every step with its number in its scale, from 0, and its place in words."""
        for scale, steps in enumerate(self.steps, 1):
            for number, step in enumerate(cast("list[Step]", steps)):
                yield number, step, f"scale {scale} of {len(self.steps)}, step {number + 1} of {self.depth}"


def scaled_conv(x: Tensor, layer: Hidden | ZeroConv, e: Tensor | None) -> Tensor:
    """Return ``(weight * x + b + level(e)) · exp(log_scale)``, weights multiplied first: they are smaller than images.

    A 3×3 convolution pads by zeros, but for its last input channel: 1 on the padded border and 0 inside.
    """
    b, log_scale = layer.affine
    gain = torch.exp(log_scale)
    weight = layer.weight * gain[:, None, None, None]
    shift = (gain * (b if layer.level is None else b + layer.level(e))).reshape(-1, len(b), 1, 1)
    if weight.shape[-1] == 1:
        return F.conv2d(x, weight, shift.flatten()) if len(shift) == 1 else F.conv2d(x, weight).add_(shift)
    shift = shift + F.conv2d(border(x), weight[:, -1:])
    return F.conv2d(x, weight[:, :-1], padding=1).add_(shift) if weight.shape[1] > 1 else shift


def level_shift(embedding: int, channels: int) -> nn.Linear | None:
    """Return the layer that turns the level's embedding into a shift of each channel; without effect at first."""
    if not embedding:
        return None
    layer = nn.Linear(embedding, channels, bias=False)
    nn.init.zeros_(layer.weight)
    return layer
