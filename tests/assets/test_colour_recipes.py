"""The recipes of colour priors: size and cost are what they say, they start, and go on where they stopped."""

import dataclasses
import os
import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import basis
from basis.core.dataset import Dataset, open_dataset
from basis.io.checkpoint import PRIORS
from basis.train.recipe import read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
LARGEST = 25e6  # bytes
DATA = os.environ.get("BASIS_DATA")
CIFAR10 = [
    "cifar10",
    "cifar10-compact",
    "cifar10-high",
    "cifar10-colour",
    "cifar10-colour-named",
    "cifar10-colour-read",
    "cifar10-animals",
    "cifar10-machines",
    "animals64",
]
NAMES = dict.fromkeys(CIFAR10, "cifar-10-batches-bin") | {"church": "church-like", "church-compact": "church-like"}


@pytest.mark.parametrize("name", NAMES)
def test_size_and_cost(name):
    recipe = read_recipe(RECIPES / f"{name}.toml")
    prior = PRIORS.get(recipe.prior)(**recipe.arguments)
    size = sum(tensor.numel() * tensor.element_size() for tensor in prior.state_dict().values())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        prior.score(torch.zeros(1, *prior.shape), 0.5)
    said = re.search(r": ([0-9.]+) MB, ([0-9.]+) GFLOP\s+(?:# )?a forward", (RECIPES / f"{name}.toml").read_text())
    assert size < LARGEST
    assert size / 1e6 == pytest.approx(float(said[1]), abs=0.05)
    assert counter.get_total_flops() / 1e9 == pytest.approx(float(said[2]), abs=0.005)
    assert (recipe.flip, recipe.precision, recipe.ema > 0) == (True, "bf16", True)
    assert open_dataset(recipe.data).spec == recipe.data


class Few(Dataset):
    """The first images of another data set."""

    def __init__(self, data):
        super().__init__()
        self.groups, self.parts = (
            data.groups,
            {s: tuple(p[:16] for p in data.images(s)) for s in ("train", "validation")},
        )

    def load(self, split):
        return self.parts[split]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_starts_and_goes_on(name, tmp_path):
    if not DATA or not (Path(DATA) / NAMES[name]).is_dir():
        pytest.skip(f"needs the data: set BASIS_DATA to the folder that holds {NAMES[name]}/")
    pytest.importorskip("accelerate", reason="training needs accelerate")
    from basis.train.loop import train

    recipe = dataclasses.replace(
        read_recipe(RECIPES / f"{name}.toml"), steps=4, batch=4, every=2, decay=0.0, compile=False
    )
    data = Few(open_dataset(recipe.data, DATA))
    whole = list(train(recipe, data, tmp_path / "whole"))
    for progress in train(recipe, data, tmp_path / "parts"):
        if progress.step == 3:
            break
    rest = list(train(recipe, data, tmp_path / "parts"))
    assert [progress.step for progress in rest] == [3, 4]
    assert [progress.loss for progress in rest] == pytest.approx([progress.loss for progress in whole[2:]], rel=1e-3)
    images = data.images("validation")[0][:1] / 255
    priors = [basis.load_prior(tmp_path / folder) for folder in ("whole", "parts")]
    torch.testing.assert_close(priors[0].score(images, 0.3), priors[1].score(images, 0.3), rtol=1e-3, atol=1e-3)
