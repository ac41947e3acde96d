"""Compiled networks learn by the gradients of plain ones."""

import pytest
import torch
from safetensors.torch import load_file

import basis
from basis.io.checkpoint import WEIGHTS

pytest.importorskip("accelerate", reason="training needs the extra 'train'")

from basis.train import loop
from basis.train.recipe import read_recipe


@pytest.mark.slow
def test_compiled_gradients_are_those_of_the_network(data, recipe, tmp_path):
    """With three widths: torch 2.13 lost those below the first where it compiled `F.interpolate` in bf16 for a CPU."""
    more = [("widths = [8, 16]", "widths = [8, 8, 8]"), ("blocks = [1, 1]", "blocks = [1, 1, 1]")]
    more += [("attention = [false, true]", "attention = [false, true, false]"), ("every = 4", "every = 2")]
    path = recipe(*more, ("steps = 12", 'steps = 4\nprecision = "bf16"\ncompile = true'))
    *_, last = loop.train(read_recipe(path), data, tmp_path / "out")  # which compares them at each checkpoint
    assert last.step == 4
    weights = load_file(tmp_path / "out" / WEIGHTS)
    assert all(value.any() for name, value in weights.items() if "places" in name)


def test_a_compiler_with_wrong_gradients_is_found_out(data, recipe, tmp_path, monkeypatch):
    class Wrong(torch.nn.Module):
        def __init__(self, plain):
            super().__init__()
            self.plain = plain

        def forward(self, *inputs):
            return self.plain(*inputs).detach() + 0 * sum(p.sum() for p in self.plain.parameters())

    monkeypatch.setattr(torch, "compile", Wrong)
    path = recipe(("steps = 12", "steps = 12\ncompile = true"))
    with pytest.raises(basis.UsageError, match=r"wrong gradients here: half of them differ by 100%.*compile = false"):
        list(loop.train(read_recipe(path), data, tmp_path / "out"))
    assert not (tmp_path / "out" / WEIGHTS).exists()
