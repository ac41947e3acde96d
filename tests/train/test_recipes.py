"""The recipes that come with the library."""

import pytest
import torch

pytest.importorskip("accelerate", reason="training needs the extra 'train'")

from basis.train import loop
from basis.train.batches import with_levels
from basis.train.objectives import objective
from basis.train.recipe import read_recipe
from train.shared import RECIPES, given


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_bundled_recipes_fit_their_data(path):
    plan = read_recipe(path)
    shapes = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32), "folder": (3, 64, 64)}
    shape = shapes["folder" if "size=64" in plan.data else plan.data.partition(":")[0]]
    plan = with_levels(plan, given(torch.randint(0, 256, (4, *shape), dtype=torch.uint8)))
    prior = loop._prior(plan, shape)
    objective(plan, prior)
    assert all(p.isfinite().all() for p in prior.parameters())
