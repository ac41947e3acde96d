"""How often a separation is called unlikely: of mixtures that the prior made (false alarms), and of others.

    python benchmarks/unlikely.py --n 100 --methods fast

MNIST's validation images from number 2,000 on, which the bundled calibration has not seen; prior `mnist`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

import basis
from basis.core.dataset import open_dataset

FIRST = 2_000  # validation images before this one made the calibration
PAIR = (1.0, 1.0)
OWN = (PAIR, (0.3, 0.7), (0.6, 1.4), (0.2, 1.8), (1.0,), (1.0, 1.0, 1.0), (0.5, 1.0, 1.5), (1.0, 1.0, 1.0, 1.0))
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Draw:
    """Mixtures of one kind, n of them: each call draws from the same images anew."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self.images = open_dataset("mnist").images("validation")[0][FIRST:].float() / 255

    def __call__(self, *weights: float) -> Tensor:
        """Return weighted sums of validation images, (n, 1, 28, 28)."""
        rng = np.random.default_rng((self.seed, len(weights)))
        chosen = np.stack([rng.choice(len(self.images), len(weights), replace=False) for _ in range(self.n)])
        return basis.WeightedSum(weights)(self.images[chosen])

    def resized(self, height: int, width: int) -> Tensor:
        """Return pairs with digits of another size, cut to or framed by black."""
        small = functional.interpolate(self(*PAIR), size=(height, width), mode="bilinear", antialias=True)
        rows, columns = 28 - height, 28 - width
        return functional.pad(small, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))

    def photographs(self) -> Tensor:
        """Return means of two grey pieces of CIFAR-10's training images, as sums."""
        grey = open_dataset("cifar10").images("train")[0][: 2 * self.n].float().mean(1, keepdim=True) / 255
        return grey[: self.n, :, 2:30, 2:30] + grey[self.n :, :, 2:30, 2:30]

    def letters(self) -> Tensor:
        """Return sums of two letters in Pillow's own font."""
        return self._text(0) + self._text(self.n)

    def _text(self, start: int) -> Tensor:
        drawn = []
        for i in range(start, start + self.n):
            picture = Image.new("L", (28, 28))
            letter = LETTERS[(7 * i) % len(LETTERS)]
            ImageDraw.Draw(picture).text((14, 14), letter, 255, font=ImageFont.load_default(size=24), anchor="mm")
            drawn.append(np.asarray(picture, np.float32) / 255)
        return torch.from_numpy(np.stack(drawn))[:, None]


def strange(draw: Draw) -> Iterator[tuple[str, Tensor, tuple[float, ...]]]:
    """Yield what is wrong, the mixtures, and the weights with which they are separated."""
    generator = torch.Generator().manual_seed(draw.seed)
    own = draw(*PAIR)
    yield "ink on paper", 2 - own, PAIR
    yield "uniform noise", 2 * torch.rand(own.shape, generator=generator), PAIR
    yield "photographs", draw.photographs(), PAIR
    yield "letters", draw.letters(), PAIR
    yield "Gaussian noise of 0.1 added", (own + 0.1 * torch.randn(own.shape, generator=generator)).clamp(0, 2), PAIR
    yield "Gaussian noise of 0.3 added", (own + 0.3 * torch.randn(own.shape, generator=generator)).clamp(0, 2), PAIR
    yield "digits 1.5 times as large, cut", draw.resized(42, 42), PAIR
    yield "digits 0.6 times as large", draw.resized(16, 16), PAIR
    yield "digits half as wide", draw.resized(28, 14), PAIR
    yield "the mean, taken as the sum", own / 2, PAIR
    yield "the sum, cut at 1, taken as the mean", 2 * own.clamp(max=1), PAIR
    yield "weights 0.3, 0.7 taken as 0.5, 0.5", draw(0.3, 0.7), (0.5, 0.5)
    yield "a mean of three digits, taken as of two", draw(1, 1, 1) * 2 / 3, PAIR
    yield "a mean of four digits, taken as of two", draw(1, 1, 1, 1) / 2, PAIR
    yield "a sum of two digits, taken as of three", own, (1.0, 1.0, 1.0)
    yield "one digit, taken as two", draw(1.0), PAIR
    yield "two digits, cut at 1, taken as one", own.clamp(max=1), (1.0,)


def assess(
    mixture: Tensor, weights: tuple[float, ...], method: str, prior: basis.Prior, batch: int
) -> basis.Assessment:
    """Separate mixtures by a method; return what the separations are worth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", basis.UnlikelyMixtureWarning)
        found = basis.separate(mixture, prior, basis.WeightedSum(weights), method, batch_size=batch)
    return found.assessment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100, help="mixtures of each kind")
    parser.add_argument("--methods", nargs="+", default=["fast"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds with this in their name")
    parser.add_argument("--batch-size", type=int, default=50)
    args = parser.parse_args()
    draw, prior = Draw(args.n, args.seed), basis.load_prior("mnist")
    kinds = [(f"own, weights {', '.join(f'{w:g}' for w in weights)}", draw(*weights), weights) for weights in OWN]
    for method in args.methods:
        for name, mixture, weights in (*kinds, *strange(draw)):
            if args.only not in name:
                continue
            found = assess(mixture, weights, method, prior, args.batch_size)
            likely = found.plausibility.min(1).values.median()
            print(f"{method} | {name} | {int(found.unlikely.sum())} of {args.n} | {likely:.2f}", flush=True)


if __name__ == "__main__":
    main()
