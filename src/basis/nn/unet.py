"""A small σ-conditional U-Net without normalisation layers, in one dimension or two.

Every layer keeps the magnitude of its input (Karras et al. 2024, "Analyzing and improving the training dynamics of
diffusion models", config G), so that no group norm is needed: weights of unit norm, sums and non-linearities scaled to
preserve variance. The weights' norm is held by `basis.nn.magnitude` while training; afterwards this is a plain
convolutional network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basis.nn.reader import Reader

RESIDUAL = 0.3  # weight of a branch in a residual sum (Karras et al. 2024, table 6)
CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d}  # by the number of spatial dimensions
SILU_GAIN = 1 / 0.596  # keeps unit variance through SiLU (equation 81 there)


def mp_silu(x: Tensor) -> Tensor:
    return F.silu(x) * SILU_GAIN


def mp_sum(a: Tensor, b: Tensor, t: float = RESIDUAL) -> Tensor:
    """Blend a and b, preserving variance: ``((1-t) a + t b) / √((1-t)² + t²)``."""
    return torch.lerp(a, b, t) / math.hypot(1 - t, t)


def doubled(x: Tensor) -> Tensor:
    """Repeat each place to twice the length, or twice the height and width.

    `F.interpolate` does the same, but where torch 2.13 compiles it for a CPU in bf16 its gradient can come out as zero.
    """
    b, c, *size = x.shape
    pairs = x.reshape(b, c, *[n for side in size for n in (side, 1)])
    return pairs.expand(b, c, *[n for side in size for n in (side, 2)]).reshape(b, c, *[2 * side for side in size])


def halved(x: Tensor) -> Tensor:
    """Average places in twos, or pixels in squares of four, preserving variance."""
    pool = F.avg_pool1d if x.dim() == 3 else F.avg_pool2d
    return pool(x, 2) * 2 ** ((x.dim() - 2) / 2)


def folded(x: Tensor, patch: int) -> Tensor:
    """Move the places of each patch to channels, (B, C patch, L / patch) or (B, C patch², H / patch, W / patch)."""
    if x.dim() == 3:
        return x.unflatten(2, (-1, patch)).movedim(3, 2).flatten(1, 2)
    return F.pixel_unshuffle(x, patch).contiguous(memory_format=torch.channels_last)


def unfolded(x: Tensor, patch: int) -> Tensor:
    """Undo `folded`."""
    if x.dim() == 3:
        return x.unflatten(1, (-1, patch)).movedim(2, 3).flatten(2)
    return F.pixel_shuffle(x, patch)


def unit_places(x: Tensor) -> Tensor:
    """Scale the channel vector of each place to root-mean-square 1."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4).to(x.dtype)  # CUDA's autocast makes it float32


def conv(spatial: int, c_in: int, c_out: int, size: int) -> nn.Module:
    """Return a convolution over one or two spatial dimensions, with windows of ``size`` places along each."""
    return CONVOLUTIONS[spatial](c_in, c_out, size, padding=size // 2, bias=False)


class Attention(nn.Module):
    """Self-attention over places with cosine similarity, added to its input."""

    def __init__(self, spatial: int, channels: int, head: int = 32) -> None:
        super().__init__()
        self.heads = max(n for n in range(1, max(channels // head, 1) + 1) if channels % n == 0)
        self.qkv = conv(spatial, channels, 3 * channels, 1)
        self.out = conv(spatial, channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, *size = x.shape
        qkv = self.qkv(x).reshape(b, 3, self.heads, c // self.heads, math.prod(size))
        qkv = qkv * torch.rsqrt(qkv.square().mean(3, keepdim=True) + 1e-4).to(qkv.dtype)
        q, k, v = qkv.unbind(1)
        similarity = torch.softmax(k.transpose(-1, -2) @ q / math.sqrt(q.shape[-2]), -2).to(v.dtype)
        y = (v @ similarity).reshape(b, c, *size)
        return mp_sum(x, self.out(y))


class Block(nn.Module):
    """Residual block: two convolutions of width 3, the first modulated by the noise level, then optional attention."""

    def __init__(self, spatial: int, width: int, embedding: int, *, attention: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(spatial, width, width, 3), conv(spatial, width, width, 3)
        self.modulate = nn.Linear(embedding, width, bias=False)
        self.gain = nn.Parameter(torch.zeros([]))
        self.attention = Attention(spatial, width) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale = 1 + self.gain * self.modulate(embedding)
        y = self.conv1(mp_silu(x)) * scale.reshape(*scale.shape, *[1] * (x.dim() - 2))
        return self.attention(mp_sum(x, self.conv2(mp_silu(y))))


class UNet(nn.Module):
    """U-Net on examples whose patches are channels, conditioned on one number per example.

    Args:
        shape: (C, L) or (C, H, W) of the examples: it says whether the network is of one dimension or two. They are
            padded to multiples of ``patch · 2**(len(widths)-1)`` inside.
        widths: feature channels of each resolution, from fine to coarse; each next one has half the resolution.
        blocks: residual blocks of each resolution, on either side.
        attention: whether each resolution has self-attention.
        patch: side of the patches that become channels at the entrance.
        beside: channels that it sees beside the example, and returns nothing for.
        classes: number of classes that `classified` tells apart, by the mean of the coarsest features; 0 for none.
        reads: feature channels of a frozen `Reader` of what is beside the image, one a resolution; none for no reader.
            Only in two dimensions.
    """

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int],
        blocks: Sequence[int],
        attention: Sequence[bool],
        patch: int = 2,
        beside: int = 0,
        classes: int = 0,
        reads: Sequence[int] = (),
    ) -> None:
        super().__init__()
        channels, *size = shape
        spatial, multiple = len(size), patch * 2 ** (len(widths) - 1)
        padded = [math.ceil(side / multiple) * multiple for side in size]
        more = [whole - side for whole, side in zip(padded, size, strict=True)]
        self.margin = [part for n in reversed(more) for part in (n // 2, n - n // 2)]  # the last dimension first
        self.patch, self.channels = patch, channels
        features = max(widths)
        self.register_buffer("frequencies", torch.randn(widths[0], generator=torch.Generator().manual_seed(0)))
        self.register_buffer("phases", torch.rand(widths[0], generator=torch.Generator().manual_seed(1)))
        self.embed = nn.Linear(widths[0], features, bias=False)
        self.enter = conv(spatial, (channels + 1 + beside) * patch**spatial, widths[0], 3)

        def stages() -> nn.ModuleList:
            return nn.ModuleList(
                nn.ModuleList(Block(spatial, width, features, attention=attend) for _ in range(count))
                for width, count, attend in zip(widths, blocks, attention, strict=True)
            )

        self.down, self.up = stages(), stages()
        self.coarser = nn.ModuleList(conv(spatial, a, b, 1) for a, b in pairwise(widths))
        self.finer = nn.ModuleList(conv(spatial, b, a, 1) for a, b in pairwise(widths))
        self.places = nn.ParameterList(
            torch.zeros(width, *[side // (patch * 2**i) for side in padded]) for i, width in enumerate(widths)
        )
        self.leave = conv(spatial, widths[0], channels * patch**spatial, 3)
        self.gain = nn.Parameter(torch.zeros([]))
        if classes:
            self.classify = nn.Linear(widths[-1], classes, bias=False)
            self.certainty = nn.Parameter(torch.zeros([]))
        self.reader = Reader(reads).freeze() if reads else None
        self.read = nn.ModuleList(conv(spatial, own, width, 1) for own, width in zip(reads, widths, strict=bool(reads)))
        self.heed = nn.ParameterList(torch.zeros([]) for _ in reads)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Map x (B, C + beside, …) of unit variance and level (B,) or (1,) to (B, C, …)."""
        return self._example_and_coarsest(x, level)[0]

    def classified(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, and logits of the example's class, (B, classes)."""
        example, coarsest = self._example_and_coarsest(x, level)
        return example, self.classify(coarsest.mean(tuple(range(2, x.dim())))) * self.certainty

    def _example_and_coarsest(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, and the features on their way up from the coarsest resolution."""
        waves = math.sqrt(2) * torch.cos(2 * math.pi * (level[:, None] * self.frequencies + self.phases))
        embedding = mp_silu(self.embed(waves))
        example, beside = x[:, : self.channels], x[:, self.channels :]
        read = self.reader(F.pad(beside, self.margin)) if self.reader else []
        x = F.pad(torch.cat([example, torch.ones_like(x[:, :1]), beside], 1), self.margin)
        x = self.enter(folded(x, self.patch))
        skips = []
        for i, stage in enumerate(self.down):
            if i:
                skips.append(x)
                x = self.coarser[i - 1](halved(x))
            x = x + self.places[i].to(x.dtype)
            if read:
                x = x + self.heed[i] * self.read[i](unit_places(read[i]))
            for block in stage:
                skips.append(x)
                x = block(unit_places(x), embedding)
        for i, stage in reversed(list(enumerate(self.up))):
            for block in stage:
                x = mp_sum(block(x, embedding), skips.pop(), 0.5)
            if i == len(self.up) - 1:
                coarsest = x
            if i:
                x = mp_sum(doubled(self.finer[i - 1](x)), skips.pop(), 0.5)
        x = unfolded(self.leave(mp_silu(x)) * self.gain, self.patch)
        return F.pad(x, [-side for side in self.margin]), coarsest
