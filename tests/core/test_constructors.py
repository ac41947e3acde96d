"""What a prior cannot be made from is refused where it is made, in one line."""

import math

import pytest
import torch

import basis
from basis.core.prior import ScorePrior
from basis.priors.edm import EDM
from basis.priors.glow import Glow
from basis.priors.ncsn import NCSN
from basis.priors.wrappers.rescaled import Rescaled

nan, inf = math.nan, math.inf


class Flat(ScorePrior):
    def __init__(self, shape=(1,), data_range=None, levels=None):
        super().__init__(shape, data_range, levels)

    def score(self, x, sigma):
        return 0 * x


KINDS = {
    EDM: {
        "shape": [1, 8, 8],
        "mean": 0.3,
        "std": 0.25,
        "widths": [8, 16],
        "blocks": [1, 1],
        "attention": [False, True],
    },
    NCSN: {"shape": [1, 28, 28], "width": 4},
    Glow: {"shape": [1, 8, 8], "scales": 2, "depth": 1, "width": 4},
    basis.GaussianMixture: {"weights": [1.0], "means": [[0.0]], "covariances": [[[1.0]]]},
    Flat: {},
    Rescaled: {"prior": Flat(data_range=(0.0, 1.0)), "scale": 2.0},
}
SHAPES = [[], [0], [-1], [1.5], [True], "abc", None, [2**40], [1, 2**20, 2**20]]
RANGES = [(1, 0), (0, nan), (0, inf), (0, 0), 0.5, ("a", "b"), (0,)]
LEVELS = [[], [0.1, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, -0.1], [nan], [inf, 1.0], ["a"], "ab"]
GRIDS = [*SHAPES, [8], [1, 0, 8], [1, 8.0, 8], [1, 1, 8, 8]]
IMAGES = [*SHAPES, [8, 8], [1, 0, 8], [1, 8.0, 8], [1, 1, 8, 8]]
BAD = {
    EDM: {
        "shape": GRIDS, "data_range": RANGES,
        "mean": [nan, inf, "a"], "std": [0, -1, nan, inf, True, "a"], "colours": [0, nan],
        "widths": [[], [8], [8, 16, 32], [8, "x"], [8, 0], 8, "many"], "blocks": [[1], [1, 1, 1], [-1, 1]],
        "attention": [[True], [1, 0], "no"], "patch": [0, -1, 1.5, 10**9], "borders": [[0.1, 0.5], ["a"], [nan], [0]],
        "known": [[[1, 2]], [[nan]], [["a"]]], "classes": [-1, 1.5], "reads": [[4]],
    },
    NCSN: {"shape": IMAGES, "width": [0, -1, 1.5, "a"], "sigmas": [*LEVELS, 0.5], "version": [0, 3, "1"]},
    Glow: {
        "shape": [*IMAGES, [1, 6, 6]], "scales": [0, 4, 10**6], "depth": [0, -1], "width": [0], "std": [0, nan],
        "levels": [level for level in LEVELS if level != [1.0, 0.0]], "mean": [nan], "sigma_max": [0, nan],
        "embedding": [-1], "affine": ["no"],
    },
    basis.GaussianMixture: {
        "weights": [[], [nan], [inf], [0.0], [-1.0], ["a"], None],
        "means": [[], [0.0, 1.0], [[nan]], [["a"]], None, 1.0],
        "covariances": [[[[nan]]], [[[-1.0]]], [[1.0]], "a"],
    },
    Flat: {"shape": SHAPES, "levels": LEVELS, "data_range": RANGES},
    Rescaled: {"scale": [0, -1, nan, inf, "a"], "shift": [nan, "a"]},
}  # fmt: skip
CASES = [(cls, name, value) for cls, names in BAD.items() for name, values in names.items() for value in values]


@pytest.mark.parametrize(("cls", "name", "value"), CASES)
def test_refused(cls, name, value):
    with pytest.raises(basis.UsageError) as caught:
        cls(**{**KINDS[cls], name: value})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("cls", KINDS)
def test_what_they_are_changed_from_is_taken(cls):
    prior = cls(**KINDS[cls])
    assert prior.shape == tuple(KINDS[cls].get("shape", [1]))


def test_numbers_of_numpy_are_numbers():
    numpy = pytest.importorskip("numpy")
    prior = Flat(numpy.array([1, 8]).tolist(), levels=list(numpy.array([1.0, 0.1])))
    assert (prior.shape, prior.levels) == ((1, 8), (1.0, 0.1))
    assert Flat(torch.Size([2, 3])).shape == (2, 3)
