"""Training is a function of the recipe's seed, and moves no global random state."""

import random

import numpy as np
import torch

from train.shared import RECIPE


def test_training_moves_no_global_random_state(train, recipe, tmp_path):
    def states():
        return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()  # noqa: NPY002

    before = states()
    code, _, errors = train(recipe(("steps = 12", "steps = 4")), "--out", tmp_path / "out")
    assert (code, states() == before) == (0, True), (errors, RECIPE)
