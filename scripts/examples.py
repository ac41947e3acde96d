"""Make the examples anew: `python scripts/examples.py`. They use no image of any data set.

Strokes are drawn here, by hand-written polylines; samples are unconditional draws from the bundled prior: the paper's
sampler on the prior instead of a posterior.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import basis
from basis.core.noise import Noise

HERE = Path(__file__).parents[1] / "src" / "basis" / "assets" / "examples"
SCALE = 16  # strokes are drawn this much larger, then reduced
SHAPES = {  # polylines in pixels of a 28×28 image
    "zero": [(14, 5), (10, 7), (8, 13), (9, 19), (13, 23), (18, 20), (20, 14), (18, 8), (14, 5)],
    "one": [(15, 4), (14, 10), (14, 17), (13, 24)],
    "two": [(8, 9), (11, 5), (16, 5), (18, 9), (15, 14), (10, 19), (8, 22), (14, 22), (20, 22)],
    "four": [(9, 5), (8, 11), (9, 14), (14, 14), (19, 13), (19, 5), (18, 14), (17, 24)],
    "seven": [(7, 7), (13, 6), (20, 6), (18, 11), (15, 17), (13, 24)],
}
EXAMPLES: dict[str, list[str | int]] = {  # name: drawn shapes, or seeds of samples
    "two-a": ["zero", "one"],
    "two-b": ["two", "four"],
    "two-c": [0, 1],
    "two-d": [2, 3],
    "two-e": ["four", 4],
    "three-a": ["zero", "one", "seven"],
    "three-b": [5, 6, 7],
    "four-a": [8, 10, 11, 14],
    "four-b": ["one", "two", 12, 13],
}


def stroke(points: list[tuple[int, int]]) -> np.ndarray:
    """Draw a polyline with a round pen; return it as uint8 (1, 28, 28)."""
    canvas = Image.new("L", (28 * SCALE, 28 * SCALE))
    draw = ImageDraw.Draw(canvas)
    large = [(x * SCALE, y * SCALE) for x, y in points]
    radius = 1.25 * SCALE
    draw.line(large, fill=255, width=round(2 * radius), joint="curve")
    for x, y in (large[0], large[-1]):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(canvas.resize((28, 28), Image.Resampling.BOX))[None]


def sample(seeds: list[int]) -> np.ndarray:
    """Draw from the bundled prior, one sample a seed; return uint8 (N, 1, 28, 28)."""
    prior = basis.load_prior("mnist")
    noise = Noise(prior.shape, seed=0, index=seeds)
    sampler = basis.AnnealedLangevin()
    *_, last = sampler.run(prior, noise.uniform(), noise.normal)
    with torch.no_grad():
        x = prior.denoise(last.x, last.sigma)
    return (x.clamp(0, 1) * 255).round().byte().numpy()


def main() -> None:
    """Write each example as the mean image NAME.png, with its true sources in truth/NAME.npz."""
    seeds = [entry for entries in EXAMPLES.values() for entry in entries if isinstance(entry, int)]
    samples = dict(zip(seeds, sample(seeds), strict=True))
    for name, entries in EXAMPLES.items():
        sources = np.stack([samples[e] if isinstance(e, int) else stroke(SHAPES[e]) for e in entries])
        np.savez_compressed(HERE / "truth" / f"{name}.npz", sources=sources)
        Image.fromarray(sources.mean(0).round().astype(np.uint8)[0]).save(HERE / f"{name}.png")


if __name__ == "__main__":
    main()
