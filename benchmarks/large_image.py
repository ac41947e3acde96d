"""Colour a large photograph in windows: `python benchmarks/large_image.py`: memory, time, and seams of windows.

The photograph is scikit-learn's china.jpg (its middle, 512×512), which no prior here has seen; any other by --picture.
A seam would show as a jump of colour where windows begin or end. So the mean difference of neighbouring pixels, of the
colours less their grey, is compared between those places and all others; the photograph's own colours, which know of no
windows, say how far such a figure strays by itself.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from step import resident
from torch import Tensor

import basis
from basis.io.presets import resolve
from basis.priors.wrappers.windowed import Windowed
from basis.runs.write import versions
from basis.signals._pictures import grid


def photograph(path: Path | None, side: int) -> Tensor:
    """Return the largest square in the middle of a picture, (3, side, side) in [0, 1]."""
    if path:
        picture = Image.open(path).convert("RGB")
    else:
        from sklearn.datasets import load_sample_image

        picture = Image.fromarray(load_sample_image("china.jpg"))
    edge = min(picture.size)
    left, top = ((length - edge) // 2 for length in picture.size)
    picture = picture.crop((left, top, left + edge, top + edge)).resize((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255)


def seams(image: Tensor, large: Windowed) -> float:
    """Return the mean colour step across borders of windows over that elsewhere, of an image (3, H, W)."""
    colour, size = image - image.mean(0), large.prior.shape[1:]
    across, elsewhere = [], []
    for axis in (0, 1):
        step = colour.diff(dim=axis + 1).abs().mean((0, 2 - axis))  # between neighbours, (length - 1,)
        starts = {corner[axis] for corner in large.corners}
        borders = {place - 1 for start in starts for place in (start, start + size[axis])}
        for place, value in enumerate(step.tolist()):
            (across if place in borders else elsewhere).append(value)
    return float(np.mean(across) / np.mean(elsewhere))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", default="cifar10-colour", help="a prior of colour images")
    parser.add_argument("--picture", type=Path, help="a photograph; scikit-learn's china.jpg by default")
    parser.add_argument("--side", type=int, default=512, help="height and width in pixels")
    parser.add_argument("--method", default="fast")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="no", help="no (float32), bf16, fp16")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write photograph, grey and colours there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args()
    photo = photograph(args.picture, args.side)
    prior = basis.Accelerated(basis.load_prior(args.prior), args.precision)
    large, mixing = Windowed(prior, photo.shape[1:]), basis.Grayscale()
    method, settings = resolve(args.method, {}, priors=[large])
    before, start = resident(), time.monotonic()
    found = basis.separate(mixing(photo[None, None])[0], large, mixing, method, seed=args.seed, samples=args.samples,
                           **settings)  # fmt: skip
    seconds, memory = time.monotonic() - start, resident()
    colours = found.samples[0, :, 0].clamp(0, 1)
    ratios = [seams(image, large) for image in colours]
    facts = {
        "windows": len(large.corners),
        "seconds": round(seconds, 1),
        "MiB at most": round(memory),
        "MiB before": round(before),
        "colour step across borders over elsewhere": ratios,
        "the same of the photograph": seams(photo, large),
        "residual per pixel": found.residual.mean().item(),
    }
    for name, value in facts.items():
        print(f"{name:44} {value}")
    if args.out:
        labels = ["photograph", "grey", *(f"colours {j + 1}" for j in range(args.samples))]
        grid([[photo, photo.mean(0, keepdim=True), *colours]], labels, args.side).save(args.out, quality=88)
    if args.json:
        facts |= {"command": shlex.join(sys.argv), "seed": args.seed, "prior": args.prior, "versions": versions()}
        args.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
