"""Glow with fixed weights: what depends on them alone is prepared, for fast gradients and for the inverse.

Actnorm and 1×1 convolution become one matrix, actnorms go into the convolutions before them, the border channel's
contribution becomes a map added to the output, and all log-determinants of matrices one number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from basis.nn.glow import GlowNetwork, Hidden, Step, ZeroConv

WIDEST = 30.0
FORMAT = torch.channels_last  # the faster one for gradients, see benchmarks/glow_step.py


class FrozenConv:
    """``relu(weight * x + map + shift(e))``, with or without the ReLU."""

    def __init__(self, layer: Hidden | ZeroConv, size: tuple[int, int], order: Tensor | None = None) -> None:
        b, log_scale = map(exact, layer.affine)
        order = torch.arange(len(b)) if order is None else order
        gain = log_scale.exp()[order]
        weight = exact(layer.weight)[order] * gain[:, None, None, None]
        self.padding = weight.shape[-1] // 2
        self.map = (gain * b[order])[None, :, None, None]
        if self.padding:
            self.map = self.map + F.conv2d(border(weight.new_zeros(1, 1, *size)), weight[:, -1:])
            weight = weight[:, :-1]
        self.weight = weight
        self.level = None if layer.level is None else exact(layer.level.weight)[order] * gain[:, None]

    def to(self, like: Tensor) -> FrozenConv:
        """Convert to the type and device of a tensor, and to the faster memory order."""
        self.weight = self.weight.to(like).contiguous(memory_format=FORMAT)
        self.map = self.map.to(like).contiguous(memory_format=FORMAT)
        self.level = None if self.level is None else self.level.to(like)
        return self

    def __call__(self, x: Tensor, e: Tensor | None) -> Tensor:
        y = F.conv2d(x.to(self.weight), self.weight, padding=self.padding)
        if self.level is None or e is None:
            return y.add_(self.map)
        shift = F.linear(e.to(self.level), self.level)[:, :, None, None]
        return y.add_(self.map + shift) if len(shift) == 1 else y.add_(self.map).add_(shift)


class FrozenStep:
    """A step of flow, see `basis.nn.glow.Step`; the network of its coupling computes in a type of its own."""

    def __init__(self, step: Step, size: tuple[int, int], dtype: torch.dtype | None = None) -> None:
        like = step.norm.b
        W, log_scale, b = exact(step.mix.matrix()), exact(step.norm.log_scale), exact(like)
        forward = (log_scale.exp()[:, None] * W).T
        self.half, self.affine = len(W) // 2, step.affine
        self.matrix = forward.to(like)[:, :, None, None]
        self.bias = (forward @ b).to(like)
        self.inverse_matrix = torch.linalg.inv_ex(forward)[0].to(like)[:, :, None, None]
        log_det = exact(step.mix.log_S).sum() if step.mix.lu else torch.linalg.slogdet(W)[1]
        self.log_det = size[0] * size[1] * (log_scale.sum() + log_det)
        inner = like.to(dtype or like.dtype)
        self.layers = [FrozenConv(layer, size).to(inner) for layer in (step.l_1, step.l_2)]
        # Shifts first, then scales, so that no strided view is needed; with the 2 of sigmoid(s + 2).
        count = len(step.l_last.b)
        last = FrozenConv(step.l_last, size, torch.arange(count).reshape(-1, 2).T.flatten() if self.affine else None)
        if self.affine:
            last.map[:, count // 2 :] += 2
        self.last = last.to(inner)

    def couple(self, z1: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the shift and, of an affine coupling, the logit of the scale."""
        h = z1
        for layer in self.layers:
            h = F.relu_(layer(h, e))
        h = self.last(h, e).to(z1)
        return h.chunk(2, 1) if self.affine else (h, None)  # type: ignore[return-value]

    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor | None]:
        z1, z2 = F.conv2d(x, self.matrix, self.bias).tensor_split([self.half], 1)
        shift, logit = self.couple(z1, e)
        if logit is None:
            return torch.cat([z1, z2 + shift], 1), None
        return torch.cat([z1, (z2 + shift) * torch.sigmoid(logit)], 1), F.logsigmoid(logit).sum((1, 2, 3))

    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        z1, z2 = z.tensor_split([self.half], 1)
        shift, logit = self.couple(z1, e)
        z2 = (z2 if logit is None else z2 * (1 + torch.exp(-logit))) - shift
        return F.conv2d(torch.cat([z1, z2], 1) - self.bias[:, None, None], self.inverse_matrix)


class FrozenGlow:
    """The whole flow, see `basis.nn.glow.GlowNetwork`; weights are read once, here.

    Args:
        network: its weights; they must not change while this is used.
    """

    def __init__(self, network: GlowNetwork) -> None:
        height, width = network.shape[1:]
        like = next(network.parameters())
        inner = like.to(network.dtype or like.dtype)
        self.steps: list[list[FrozenStep]] = []
        self.splits: list[FrozenConv] = []
        for scale, steps in enumerate(cast("list[nn.ModuleList]", network.steps)):
            size = (height >> scale + 1, width >> scale + 1)
            self.steps.append([FrozenStep(cast("Step", step), size, inner.dtype) for step in steps])
            if scale < len(network.splits):
                self.splits.append(FrozenConv(cast("ZeroConv", network.splits[scale]), size).to(inner))
        self.top, self.size = network.top, size
        self.log_det = torch.stack([step.log_det for steps in self.steps for step in steps]).sum().to(like)

    def forward(self, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        parts, log_dets = [], [self.log_det.expand(len(x))]
        for scale, steps in enumerate(self.steps):
            x = F.pixel_unshuffle(x, 2).contiguous(memory_format=FORMAT)
            for step in steps:
                x, log_det = step.forward(x, e)
                log_dets += [] if log_det is None else [log_det]
            x, z = x.chunk(2, 1) if scale < len(self.splits) else (x, x)
            z, log_det = standardise(z, *self._prior(scale, x, e))
            log_dets.append(log_det)
            parts.append(z.flatten(1))
        return torch.cat(parts, 1), torch.stack(log_dets).sum(0)

    def inverse(self, z: Tensor, e: Tensor | None) -> Tensor:
        height, width = self.size
        x = z.new_zeros(len(z), 0, height, width)
        for scale, steps in reversed(list(enumerate(self.steps))):
            count = steps[0].matrix.shape[0] - x.shape[1]
            own = z[:, z.shape[1] - count * height * width :].reshape(-1, count, height, width)
            z = z[:, : z.shape[1] - count * height * width]
            mean, log_sd = self._prior(scale, own if scale == len(self.splits) else x, e)
            x = torch.cat([x, mean + bounded(log_sd).exp() * own], 1).contiguous(memory_format=FORMAT)
            for step in reversed(steps):
                x = step.inverse(x, e)
            x = F.pixel_shuffle(x.contiguous(), 2)
            height, width = 2 * height, 2 * width
        return x

    def _prior(self, scale: int, x: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of a scale's latents, given what stays behind."""
        if scale < len(self.splits):
            h = self.splits[scale](x, e).to(x)
            return h[:, 0::2], h[:, 1::2]
        return (torch.zeros_like(x),) * 2 if self.top is None else self.top(x, e)


def border(x: Tensor) -> Tensor:
    """Return the border channel of x (B, C, H, W): 1 on the padding around it, else 0; (1, 1, H + 2, W + 2)."""
    return F.pad(x.new_zeros(1, 1, *x.shape[2:]), (1, 1, 1, 1), value=1.0)


def standardise(z: Tensor, mean: Tensor, log_sd: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(z - mean) / exp(log_sd)`` and the log-determinant of that, (B,)."""
    log_sd = bounded(log_sd)
    return (z - mean) * torch.exp(-log_sd), -log_sd.sum((1, 2, 3))


def bounded(log_sd: Tensor) -> Tensor:
    """Keep learned standard deviations within e^±30, where their squares are finite in float32; none comes near."""
    return log_sd.clamp(-WIDEST, WIDEST)


def exact(t: Tensor) -> Tensor:
    """Return a weight in float64 on the CPU, without a graph: products of weights are rounded once."""
    return t.detach().cpu().double()
