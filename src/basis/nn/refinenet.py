"""The score network of NCSN and NCSNv2: a dilated RefineNet with instance normalisation ++.

Song & Ermon 2019, "Generative modeling by estimating gradients of the data distribution", appendix A; Song & Ermon
2020, "Improved techniques for training score-based generative models", appendix B. Modules carry the names that the
published checkpoints use.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-5
RECEPTION = 5  # side of the chained pooling's window


class InstanceNormPlus(nn.Module):
    """Instance norm that keeps what the channel means say of each other, with a scale and shift of each noise level.

    ``γ ((x - μ) / √(s² + ε) + α (μ - E[μ]) / √(V[μ] + ε)) + β``, where μ and s² are the mean and variance of each
    channel over an image, and E and V the mean and unbiased variance over its channels.

    Args:
        width: channels.
        levels: noise levels with a γ, α and β each (CondInstanceNorm++); None for one of each.
    """

    def __init__(self, width: int, levels: int | None) -> None:
        super().__init__()
        if levels is None:
            self.gamma = nn.Parameter(1 + 0.02 * torch.randn(width))
            self.alpha = nn.Parameter(1 + 0.02 * torch.randn(width))
            self.beta = nn.Parameter(torch.zeros(width))
        else:
            self.embed = nn.Embedding(levels, 3 * width)
            with torch.no_grad():
                self.embed.weight[:, : 2 * width].normal_(1, 0.02)
                self.embed.weight[:, 2 * width :].zero_()

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Normalise x (B, C, H, W) at the levels of these numbers, (B,) or (1,); None where there is one set."""
        if label is None:
            gamma, alpha, beta = self.gamma, self.alpha, self.beta
        else:
            gamma, alpha, beta = self.embed(label).chunk(3, -1)
        variance, mean = moments(x)
        contrast = (mean - mean.mean(1, keepdim=True)) * torch.rsqrt(mean.var(1, keepdim=True) + EPS)
        scale = gamma * torch.rsqrt(variance + EPS)
        shift = beta + gamma * alpha * contrast - scale * mean
        return torch.addcmul(shift.to(x.dtype)[:, :, None, None], x, scale.to(x.dtype)[:, :, None, None])


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the biased variance and the mean of each channel of each image, (B, C) each, in float32.

    In two passes, as exact as `torch.var_mean` and on a CPU in channels_last over twenty times faster.
    """
    x = x.float()
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean).square().mean((2, 3)), mean[:, :, 0, 0]


class NoNorm(nn.Module):
    """Stands where NCSNv2 has no normalisation."""

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        return x


def activate(norm: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
    """Return ELU(norm(x)), in place where the norm made a new tensor."""
    return F.elu(norm(x, label), inplace=isinstance(norm, InstanceNormPlus))


def conv(c_in: int, c_out: int, *, bias: bool = True, dilation: int = 1, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, size, padding=dilation * (size // 2), dilation=dilation, bias=bias)


class Halved(nn.Module):
    """A convolution whose output is averaged over 2×2 pixels."""

    def __init__(self, inner: nn.Conv2d) -> None:
        super().__init__()
        self.conv = inner

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(x), 2)


class Residual(nn.Module):
    """Residual block of the encoder; one that changes its width halves the resolution or dilates.

    The three kinds: same width (identity shortcut); ``halve`` (2×2 means, 1×1 shortcut); ``opens`` a dilated stage
    (dilated 3×3 shortcut).
    """

    def __init__(
        self, c_in: int, c_out: int, levels: int | None, *, halve: bool = False, dilation: int = 1, opens: bool = False
    ) -> None:
        super().__init__()
        middle = c_in if halve or opens else c_out
        self.normalize1, self.normalize2 = InstanceNormPlus(c_in, levels), InstanceNormPlus(middle, levels)
        self.conv1 = conv(c_in, middle, dilation=dilation)
        self.conv2: nn.Module = conv(middle, c_out, dilation=dilation)
        self.shortcut: nn.Module = nn.Identity()
        if halve:
            self.conv2, self.shortcut = Halved(conv(middle, c_out)), Halved(conv(c_in, c_out, size=1))
        elif opens:
            self.shortcut = conv(c_in, c_out, dilation=dilation)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        y = self.conv1(activate(self.normalize1, x, label))
        y = self.conv2(activate(self.normalize2, y, label))
        return self.shortcut(x) + y


class ResidualConvUnits(nn.ModuleDict):
    """Blocks of two times (norm, ELU, 3×3 convolution), each added to its input."""

    def __init__(self, width: int, blocks: int, norm) -> None:
        super().__init__()
        self.blocks = blocks
        for i in range(1, blocks + 1):
            for j in (1, 2):
                self[f"{i}_{j}_norm"] = norm(width)
                self[f"{i}_{j}_conv"] = conv(width, width, bias=False)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        for i in range(1, self.blocks + 1):
            y = x
            for j in (1, 2):
                y = self[f"{i}_{j}_conv"](activate(self[f"{i}_{j}_norm"], y, label))
            x = y + x
        return x


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) to (B, C, H, W), linear between pixels and with corners on corners.

    `F.interpolate` does the same, but where torch 2.13 compiles it for a CPU in bf16 its gradient is lost.
    """
    rows, columns = (
        F.relu(
            1 - (torch.linspace(0, old - 1, new, device=x.device)[:, None] - torch.arange(old, device=x.device)).abs()
        )
        for old, new in zip(x.shape[2:], size, strict=True)
    )
    return torch.einsum("ih,bchw,jw->bcij", rows.to(x.dtype), x, columns.to(x.dtype))


class Fusion(nn.Module):
    """Sum of inputs of several widths and sizes, each convolved and resized to the first one's size."""

    def __init__(self, widths: Sequence[int], c_out: int, norm) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv(width, c_out) for width in widths)
        self.norms = nn.ModuleList(norm(width) for width in widths)

    def forward(self, xs: Sequence[Tensor], label: Tensor | None) -> Tensor:
        """Map inputs (B, C_i, H_i, W_i) to one (B, C, H, W) of the first one's size."""
        first, *others = [c(n(x, label)) for c, n, x in zip(self.convs, self.norms, xs, strict=True)]
        for y in others:
            if y.shape[2:] != first.shape[2:]:
                y = resized(y, first.shape[2:])
            first = first + y
        return first


class ChainedPooling(nn.Module):
    """ELU, then twice (norm, pooling, 3×3 convolution), each added to what was there."""

    def __init__(self, width: int, norm, *, maximum: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv(width, width, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(norm(width) for _ in range(2))
        self.pool = F.max_pool2d if maximum else F.avg_pool2d

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        x = path = F.elu(x)
        for c, norm in zip(self.convs, self.norms, strict=True):
            path = c(self.pool(norm(path, label), RECEPTION, 1, RECEPTION // 2))
            x = x + path
        return x


class Refine(nn.Module):
    """RefineNet block: adapts one or two inputs, fuses them, pools and puts out."""

    def __init__(self, widths: Sequence[int], c_out: int, levels: int | None, *, output_blocks: int = 1) -> None:
        super().__init__()

        def norm(width: int) -> nn.Module:
            return NoNorm() if levels is None else InstanceNormPlus(width, levels)

        self.adapt_convs = nn.ModuleList(ResidualConvUnits(width, 2, norm) for width in widths)
        if len(widths) > 1:
            self.msf = Fusion(widths, c_out, norm)
        self.crp = ChainedPooling(c_out, norm, maximum=levels is None)
        self.output_convs = ResidualConvUnits(c_out, output_blocks, norm)

    def forward(self, xs: Sequence[Tensor], label: Tensor | None) -> Tensor:
        ys = [adapt(x, label) for adapt, x in zip(self.adapt_convs, xs, strict=True)]
        y = self.msf(ys, label) if len(ys) > 1 else ys[0]
        return self.output_convs(self.crp(y, label), label)


class RefineNet(nn.Module):
    """Four residual stages, of which the last two dilate, and four refinements back to full size.

    Args:
        channels: channels of an image.
        width: features at full resolution (published as ngf); twice as many below.
        levels: number of noise levels that the norms are conditioned on (NCSN); None for the unconditional network of
            NCSNv2, which also has no norms in its refinements and maximum pooling in place of means.
    """

    def __init__(self, channels: int, width: int, levels: int | None) -> None:
        super().__init__()
        w, v = width, 2 * width

        def stage(c_in: int, c_out: int, dilation: int = 1, *, halve: bool = False, opens: bool = False):
            first = Residual(c_in, c_out, levels, halve=halve, dilation=dilation, opens=opens)
            return nn.ModuleList([first, Residual(c_out, c_out, levels, dilation=dilation)])

        self.begin_conv, self.end_conv = conv(channels, w), conv(w, channels)
        self.normalizer = InstanceNormPlus(w, levels)
        self.res1, self.res2 = stage(w, w), stage(w, v, halve=True)
        self.res3, self.res4 = stage(v, v, dilation=2, opens=True), stage(v, v, dilation=4, opens=True)
        self.refine1, self.refine2 = Refine([v], v, levels), Refine([v, v], v, levels)
        self.refine3, self.refine4 = Refine([v, v], w, levels), Refine([w, w], w, levels, output_blocks=3)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map images x (B, C, H, W) in [-1, 1] and the numbers of their levels, (B,) or (1,), to (B, C, H, W)."""
        x = self.begin_conv(x.contiguous(memory_format=torch.channels_last))
        stages = []
        for stage in (self.res1, self.res2, self.res3, self.res4):
            for block in stage:
                x = block(x, label)
            stages.append(x)
        y = self.refine1([stages[3]], label)
        y = self.refine2([stages[2], y], label)
        y = self.refine3([stages[1], y], label)
        y = self.refine4([stages[0], y], label)
        return self.end_conv(activate(self.normalizer, y, label))
