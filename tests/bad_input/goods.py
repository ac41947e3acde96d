"""What is good: small priors, arrays, pictures and files that bad ones are made of."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch
from PIL import Image

import basis
import basis.train.combine  # these are imported here, so that no child waits for them
import basis.train.finetune
import basis.train.loop
from basis.cli import main
from basis.priors.diffusion import diffusers
from basis.priors.edm import EDM
from basis.priors.glow import Glow

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(40, 200, (8, 8), np.uint8)
MIXTURE = (PIXELS[None] / 255).astype(np.float32)
EDM_ARGUMENTS = {
    "shape": [1, 8, 8],
    "mean": 0.3,
    "std": 0.25,
    "widths": [8, 16],
    "blocks": [1, 1],
    "attention": [False, True],
}
GLOW_ARGUMENTS = {"shape": [1, 8, 8], "scales": 2, "depth": 1, "width": 8, "std": 0.3}
NCSN_ARGUMENTS = {"shape": [1, 8, 8], "width": 4, "sigmas": [1.0, 0.1]}
GAUSSIAN_ARGUMENTS = {"weights": [1.0], "means": [[[[0.5] * 2] * 2]], "covariances": [np.eye(4).tolist()]}
UNET = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 8],
    "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "add_attention": False,
}
PRIORS = {
    "tiny": (EDM, EDM_ARGUMENTS),
    "rgb": (EDM, EDM_ARGUMENTS | {"shape": [3, 8, 8]}),
    "flow": (Glow, GLOW_ARGUMENTS),
    "levels": (basis.NCSN, NCSN_ARGUMENTS),
    "gaussian": (basis.GaussianMixture, GAUSSIAN_ARGUMENTS),
}
RECIPE = """
prior = "edm"
data = "digits"
steps = 2
batch = 4
warmup = 1
every = 2
calibrate = 0

[arguments]
shape = [1, 8, 8]
mean = 0.3059
std = 0.3754
widths = [8, 16]
blocks = [1, 1]
attention = [false, true]

[noise]
std = 1.2
"""
FINETUNE = """
prior = "glow"
data = "digits"
objective = "likelihood"
dequantize = true
steps = 1
batch = 4
warmup = 1
every = 1
calibrate = 0

[arguments]
shape = [1, 8, 8]
scales = 2
depth = 1
width = 8

[finetune]
steps = 1
learning_rate = 0.001
count = 2
"""


def make(base: Path) -> None:
    """Write all of it into a folder."""
    torch.set_num_threads(1)
    base.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(base / "good.png")
    Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).save(base / "colour.png")
    np.save(base / "good.npy", MIXTURE)
    np.savez(base / "good.npz", mixture=MIXTURE)
    torch.save(torch.from_numpy(MIXTURE), base / "good.pt")
    Image.fromarray(PIXELS).save(base / "good.tif")
    Image.fromarray(PIXELS).save(base / "good.jpg")
    (base / "recipe.toml").write_text(RECIPE)
    (base / "finetune.toml").write_text(FINETUNE)
    for name, (cls, arguments) in PRIORS.items():
        torch.manual_seed(0)
        basis.save_prior(cls(**arguments), arguments, base / name)
    torch.save([basis.NCSN(**NCSN_ARGUMENTS).network.state_dict()], base / "ncsn.pth")
    package = diffusers()
    package.DDPMPipeline(package.UNet2DModel(**UNET), package.DDPMScheduler()).save_pretrained(base / "pipeline")
    sklearn.datasets.load_digits()
    bomb(base / "bomb.npz")
    run("make-mixtures", "digits", "--n", "6", "--out", base / "mixtures")
    run(
        "evaluate",
        base / "mixtures",
        "--n",
        "6",
        "--method",
        "average",
        "--prior",
        base / "tiny",
        "--json",
        base / "a.json",
    )
    run("fit", "nmf", "--data", "digits", "--out", base / "nmf", "--set", "components=2", "--set", "iterations=1")
    assert json.loads((base / "a.json").read_text())["psnr"]


def bomb(path: Path) -> None:
    """Write an archive of 2.5 MB whose array, of zeros, is 2.5 GB large."""
    part, times = bytes(2**26), 40
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": (1, times * 4096, 4096)}
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(head.getvalue()) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)
    data = packed + zeros * times + packer.flush()
    crc = zlib.crc32(head.getvalue())
    for _ in range(times):
        crc = zlib.crc32(part, crc)
    name, size = b"mixture.npy", len(head.getvalue()) + times * len(part)
    facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, crc, len(data), size, len(name), 0)
    local = b"PK\x03\x04" + facts + name + data
    central = b"PK\x01\x02" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)


def run(*arguments: object) -> None:
    """Run `basis` in a child, and see that it succeeds."""
    process = os.fork()
    if not process:
        sys.argv = ["basis", *map(str, arguments)]
        os.dup2(2, 1)  # standard output is for answers
        try:
            main()
        except SystemExit as end:
            os._exit(bool(end.code))
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0, arguments
