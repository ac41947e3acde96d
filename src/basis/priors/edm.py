"""A σ-conditional denoising network with the preconditioning of EDM: the kind of prior that is bundled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from basis.core.checks import grid_of
from basis.core.errors import UsageError, shown
from basis.core.prior import Prior, per_example
from basis.core.settings import Above0, Count, Finite, Positive, Whole, takes
from basis.nn.by_level import ByLevel
from basis.nn.unet import UNet

CPU_BATCH = 32  # examples
FAR = 3.0  # standard deviations from the mean, beyond which no example goes


class EDM(Prior):
    """Score network over a continuous range of noise levels, preconditioned as in EDM.

    Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", section 5 and table 1:

    ``D(x, σ) = μ + c_skip (x - μ) + c_out F(c_in (x - μ), ln σ / 4)`` and ``∇ log p_σ(x) = (D(x, σ) - x) / σ²``, where
    F sees unit variance and has a target of unit variance at every σ.

    Args:
        shape: (C, L) of a signal or (C, H, W) of an image; the network has one dimension or two with it.
        mean: mean μ of the data's values.
        std: standard deviation σ_data of the data's values.
        widths, blocks, attention, patch: the network's size, see `basis.nn.unet.UNet`.
        borders: noise levels, falling, between ranges that have a network each, see `ByLevel`; none for one network.
        colours: standard deviation of what is left of the channels without their mean, where it has a scale of its own:
            σ_data is then that of grey, and there is one of each in c_skip, c_out and c_in.
        known: weights of the channels in sums, one list each, of which x may hold one without noise, see
            `DDNM`; a recipe's entry known trains for it. The network sees these sums beside x, in the data's
            own scale: in that of the noise an image without any would vanish. It makes use of other sums too, the more
            the nearer they are to these.
        classes: number of classes that `denoise_and_classify` tells apart, of a prior that was trained with labels;
            one network alone has such an answer.
        reads: widths of a frozen network that reads what is known, see `basis.nn.reader.Reader`, one for each of
            widths, for images and patch = 2; `scripts/grey_reader.py` trains it.
        data_range: smallest and largest value of the data; None for no limits.

    Raises:
        UsageError: a noise level that is not positive; borders that do not fall or are not positive; known weights that
            are not one a channel; borders and classes, or classes asked for where there are none; reads without known,
            or for another patch.
    """

    def __init__(
        self,
        shape: Sequence[Count],
        mean: Finite,
        std: Positive,
        widths: Sequence[Count],
        blocks: Sequence[Count],
        attention: Sequence[bool],
        patch: Count = 2,
        borders: Sequence[float] = (),
        colours: Positive | None = None,
        known: Sequence[Sequence[Finite]] = (),
        classes: Whole = 0,
        reads: Sequence[Count] = (),
        data_range: Sequence[Finite] | None = (0.0, 1.0),
    ) -> None:
        super().__init__(grid_of(shape, "EDM"), data_range, condition="grayscale" if known else None)
        if not len(widths) == len(blocks) == len(attention) or not widths:
            raise UsageError(
                f"expected one of widths, blocks and attention for each resolution, got {len(widths)}, {len(blocks)} "
                f"and {len(attention)}",
                fix="for instance widths = [64, 128], blocks = [2, 2], attention = [false, true]",
            )
        if patch > max(self.shape):
            raise UsageError(f"patch = {patch} is larger than examples of shape {self.shape}", fix="often it is 2")
        if not all(a > b for a, b in pairwise([math.inf, *borders, 0.0])):
            raise UsageError(
                f"expected falling positive noise levels as borders, got {shown([*borders])}", fix="for instance [0.3]"
            )
        if any(len(weights) != self.shape[0] for weights in known):
            raise UsageError(
                f"expected lists of {self.shape[0]} weights as known, got {shown([*known])}",
                fix="give one for each channel",
            )
        if borders and classes:
            raise UsageError(f"classes = {classes} wants one network, got borders {[*borders]}", fix="leave out one")
        if reads and not (known and patch == 2 and len(self.shape) == 3 and len(reads) == len(widths)):
            raise UsageError(
                f"reads = {shown([*reads])} wants images, known, patch = 2 and one for each of {len(widths)} widths",
                fix="see the bundled recipe cifar10-colour-read",
            )
        self.mean, self.std, self.classes = float(mean), float(std), classes
        self.colours = None if colours is None else float(colours)
        self.sums = torch.tensor(known, dtype=torch.float32)
        networks = [
            UNet(self.shape, widths, blocks, attention, patch, len(known), classes, reads)
            for _ in range(len(borders) + 1)
        ]
        levels = [math.log(border) / 4 for border in borders]
        self.network: nn.Module = ByLevel(networks, levels) if levels else networks[0]
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        if not isinstance(sigma, Tensor) and not takes(Above0, sigma):
            raise UsageError(f"expected a noise level sigma > 0, got {sigma}", fix="choose a positive one")
        s, y = per_example(sigma, x), x - self.mean
        return self._denoised(s, y, self._network(*self._seen(s, y)))

    def denoise_and_classify(self, x: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return what `denoise` does, and log p(class | x) but for a constant, (B, classes), at noise level sigma."""
        if not isinstance(self.network, UNet) or not self.classes:
            raise UsageError(
                "this prior tells no classes apart", fix="train one with classes, and labels in the recipe"
            )
        s, y = per_example(sigma, x), x - self.mean
        F, logits = self.network.classified(*self._seen(s, y))
        return self._denoised(s, y, F), logits.float()

    def _seen(self, s: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network is given, of examples less the mean: c_in y with what is beside it, and ln σ / 4."""
        scaled = self._scaled(y, lambda std: 1 / torch.sqrt(s**2 + std**2))
        beside = [self.beside(y)] if len(self.sums) else []
        return torch.cat([scaled, *beside], 1), torch.log(s).reshape(-1) / 4

    def _denoised(self, s: Tensor, y: Tensor, F: Tensor) -> Tensor:
        """Return D = μ + c_skip y + c_out F, from data without the mean, y, and the network's answer F."""
        skip = self._scaled(y, lambda std: std**2 / (s**2 + std**2))
        return self.mean + skip + self._scaled(F.float(), lambda std: s * std / torch.sqrt(s**2 + std**2))

    def _scaled(self, v: Tensor, scale: Callable[[float], Tensor]) -> Tensor:
        """Return v times the scale that the data's standard deviation gives, or its grey and its colours have."""
        if self.colours is None:
            return scale(self.std) * v
        grey = v.mean(1, keepdim=True)
        return scale(self.std) * grey + scale(self.colours) * (v - grey)

    def beside(self, y: Tensor) -> Tensor:
        """Return the sums that may be known of examples without the mean, (B, S, …), as the network sees them."""
        sums = torch.einsum("sc,bc...->bs...", self.sums.to(y), y) / self.std
        return sums.clamp(-FAR, FAR)

    def _network(self, x: Tensor, level: Tensor) -> Tensor:
        """Call the network, on a CPU in parts that stay in its caches: 15 % faster for 128 digits, and bit-equal."""
        if x.device.type != "cpu" or torch.is_grad_enabled() or len(x) <= CPU_BATCH:
            return self.network(x, level)
        levels = level.split(CPU_BATCH) if len(level) > 1 else [level] * len(x)
        return torch.cat([self.network(*part) for part in zip(x.split(CPU_BATCH), levels, strict=False)])
