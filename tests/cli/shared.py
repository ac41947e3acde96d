"""What the tests of the command line share."""

from typing import NamedTuple

import numpy as np
import torch

import basis
from basis.priors.edm import EDM

SIZE = {"shape": [1, 8, 8], "widths": [8, 16], "blocks": [1, 1], "attention": [False, True]}
QUICK = {"method": "basis", "steps": 2, "levels": 2}
PAPER = ("--method", "basis", "--steps", 2, "--levels", 2)
FILES = [".basis.json", "anneal.gif", "panel.png", "result.json", "source_1.png", "source_2.png", "sources.npy"]
SUM = basis.WeightedSum([1.0, 1.0])
PIXELS = np.random.default_rng(0).integers(40, 216, (8, 8), np.uint8)
IMAGE = PIXELS[None] / np.float32(255)
MIXTURE = np.random.default_rng(1).uniform(0.3, 1.7, (1, 8, 8)).astype(np.float32)


class Result(NamedTuple):
    code: int
    out: str
    err: list[str]


def make_prior(folder, seed, mean, **others):
    """Write an untrained prior whose weights do something."""
    torch.manual_seed(seed)
    arguments = {**SIZE, "mean": mean, "std": 0.25, **others}
    prior = EDM(**arguments)
    for name, parameter in prior.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.5)
    return str(basis.save_prior(prior, arguments, folder, {"summary": "a prior for tests"}))


def close(folder, sources):
    np.testing.assert_allclose(np.load(folder / "sources.npy"), sources.numpy(), rtol=0, atol=1e-6)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fails(result, code, *parts):
    """Check the exit code and that the first line on stderr is the error, with all parts and a remedy."""
    assert result.code == code, result
    error = result.err[0]
    assert error.startswith("basis: "), result
    assert error.count(". To fix: ") == 1, result
    for part in parts:
        assert part in error
    assert all(line.startswith("basis: ") for line in result.err), result
    return error
