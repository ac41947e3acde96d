"""What the tests of training share: a small recipe, and how weights and errors are looked at."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from basis.core.dataset import Dataset
from basis.io.checkpoint import WEIGHTS
from basis.priors.gaussian import GaussianMixture

ANY = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])  # a prior of any noise level
RECIPES = Path(__file__).parents[2] / "recipes"
RECIPE = """
prior = "edm"
data = "digits"
steps = 12
batch = 32
warmup = 2
ema = 64
unit_weights = true
every = 4
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


class Given(Dataset):
    """The same examples in every split."""

    def __init__(self, examples, data_range):
        super().__init__()
        self.examples, self.data_range = examples, data_range

    def load(self, split):
        return self.examples, torch.zeros(len(self.examples), dtype=torch.int64)


def given(examples, data_range=(0.0, 1.0)):
    """A data set of examples (N, *S)."""
    return Given(examples, data_range)


def weights(folder):
    return load_file(folder / WEIGHTS)


def close(a, b, tolerance=1e-6):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=tolerance)


def one_line(errors, *parts):
    (error,) = errors
    assert error.startswith("basis: ")
    assert error.count(". To fix: ") == 1
    for part in parts:
        assert part in error
