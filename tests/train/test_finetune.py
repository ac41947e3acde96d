"""Fine-tuning: one network for each noise level, each from the next smaller one, and all of them one prior."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

import basis
from basis.io.checkpoint import CARD, WEIGHTS

pytest.importorskip("accelerate", reason="training needs the extra 'train'")
pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")

from basis.train import finetune, loop
from basis.train.recipe import read_recipe

RECIPE = """
prior = "glow"
data = "digits"
objective = "likelihood"
dequantize = true
steps = 30
batch = 32
learning_rate = 0.005
warmup = 1
ema = 64
every = 10
calibrate = 0

[arguments]
shape = [1, 8, 8]
scales = 2
depth = 1
width = 8

[finetune]
steps = 4
learning_rate = 1e-9
max = 0.4
min = 0.1
count = 3
"""
LEVELS = (0.4, 0.2, 0.1)


@pytest.fixture
def command(run_basis, tmp_path):
    """Call `basis finetune`; return the exit code, what was printed and the errors."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return partial(run_basis, "finetune", tmp_path / "tiny.toml")


def test_finetune(command, tmp_path):
    """A chain of levels, each of which begins where the one before ended, and a prior that holds them all."""
    out = tmp_path / "glow"
    code, printed, _ = command("--out", out)
    assert code == 0
    assert [line.partition(":")[0] for line in printed.splitlines()] == [
        "sigma 0", "sigma 0.1", "sigma 0.2", "sigma 0.4", str(out),
    ]  # fmt: skip
    prior = basis.load_prior(out)
    assert prior.levels == pytest.approx(LEVELS)
    folders = [out / "levels" / name for name in ("0.4000", "0.2000", "0.1000", "0.0000")]
    cards = [json.loads((folder / CARD).read_text()) for folder in folders]
    assert [card["started_from"] for card in cards] == [*(card["sha256"] for card in cards[1:]), None]
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for folder, sigma in zip(folders, (*LEVELS, 0.0), strict=True):
        torch.testing.assert_close(prior.log_prob(x, sigma), basis.load_prior(folder).log_prob(x, sigma))
    whole = json.loads((out / CARD).read_text())
    assert whole["steps"] == 30 + 3 * 4
    assert whole["held_out_loss"] == {f"{s:.4g}": c["held_out_loss"] for s, c in zip((*LEVELS, 0), cards, strict=True)}
    # With a learning rate of 1e-9 every level still has the weights of the data's own prior.
    first, *others = (load_file(folder / WEIGHTS) for folder in reversed(folders))
    for other in others:
        for key, value in other.items():
            torch.testing.assert_close(value, first[key], rtol=0, atol=1e-6)


def test_it_goes_on_at_the_level_where_it_was_stopped(command, tmp_path, monkeypatch):
    original, seen = loop.train, []

    def interrupted(plan, data, folder, start, **flags):
        seen.append(folder.name)
        if folder.name == "0.2000" and seen.count("0.2000") == 1:
            raise KeyboardInterrupt
        return original(plan, data, folder, start, **flags)

    monkeypatch.setattr(loop, "train", interrupted)
    code, _, error = command("--out", tmp_path / "glow")
    assert code == 130
    assert f"basis finetune {tmp_path / 'tiny.toml'} --out {tmp_path / 'glow'}` goes on" in error
    assert not (tmp_path / "glow" / WEIGHTS).exists()
    code, printed, _ = command("--out", tmp_path / "glow")
    assert code == 0
    assert printed.splitlines()[:2] == ["sigma 0: already trained", "sigma 0.1: already trained"]
    assert basis.load_prior(tmp_path / "glow").levels == pytest.approx(LEVELS)


def test_the_first_batch_sets_the_actnorms(tmp_path):
    """After data-dependent initialisation a new flow gives latents of mean 0 and variance 1 on that batch's data."""
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("steps = 30", "steps = 1").replace("0.005", "1e-9"))
    plan = read_recipe(tmp_path / "tiny.toml")
    from basis.datasets.digits import Digits

    stage = next(finetune.stages(plan, tmp_path / "glow"))
    list(loop.train(stage.recipe, Digits(), stage.out))
    prior = basis.load_prior(stage.out)
    z, _ = prior.encode(Digits().images("train")[0][:500] / 256 + 1 / 512, 0.0)
    assert z.mean().abs() < 0.2
    assert 0.8 < z.std() < 1.2


def test_a_recipe_without_finetuning(command, tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE.partition("[finetune]")[0])
    code, _, error = command()
    assert (code, "says nothing of fine-tuning" in error) == (2, True)
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("learning_rate = 1e-9\n", ""))
    code, _, error = command()
    assert (code, "table [finetune] is not whole" in error) == (2, True)
