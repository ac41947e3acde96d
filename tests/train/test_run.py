"""A whole run: it writes a prior, the loss falls, and one that was stopped goes on as if it had not been."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import basis
from basis.datasets.digits import Digits
from basis.evaluate.mixtures import draw_mixtures
from basis.io.checkpoint import CARD, WEIGHTS
from basis.io.mark import MARK

pytest.importorskip("accelerate", reason="training needs the extra 'train'")

from basis.train import loop
from basis.train.batches import Batches
from basis.train.folder import CHECKPOINT
from basis.train.recipe import read_recipe
from train.shared import RECIPES, close, one_line, weights

NCSN_RECIPE = """
prior = "ncsn"
data = "digits"
objective = "score_matching"
dequantize = true
flip = true
steps = 6
batch = 16
learning_rate = 0.001
beta2 = 0.999
warmup = 1
decay = 0
ema = 0
clip = inf
every = 3

[arguments]
shape = [1, 8, 8]
width = 4
"""


def test_basis_train(train, recipe, tmp_path, monkeypatch):
    """The command writes a prior, its card, a checkpoint and a log, and they say the same."""
    monkeypatch.chdir(tmp_path)
    code, printed, _ = train(recipe())
    folder = Path("runs") / "tiny"
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == [MARK, CARD, CHECKPOINT, "log", WEIGHTS]
    card = json.loads((folder / CARD).read_text())
    plan = read_recipe(recipe())
    assert (card["steps"], card["images"], card["recipe"]["arguments"]) == (12, 12 * 32, plan.arguments)
    assert f"held-out loss {card['held_out_loss']:.4f}" in printed
    prior = basis.load_prior(folder)
    measured = loop.HeldOut(Digits(), plan, prior, torch.device("cpu"))()
    assert measured == pytest.approx(card["held_out_loss"], abs=1e-5)
    check_log(folder / "log", measured)
    code, printed, _ = train(recipe())
    assert (code, "already trained" in printed, "nan" in printed) == (0, True, False)


def check_log(folder, held_out):
    pytest.importorskip("tensorboard", reason="reading the log needs tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(folder)).Reload()
    scalars = {tag: {event.step: event.value for event in log.Scalars(tag)} for tag in log.Tags()["scalars"]}
    assert sorted(scalars) == ["learning_rate", "loss/held_out", "loss/train"]
    assert list(scalars["loss/train"]) == list(range(1, 13))
    assert list(scalars["loss/held_out"]) == [4, 8, 12]
    assert scalars["loss/held_out"][12] == pytest.approx(held_out, abs=1e-5)
    rates = list(scalars["learning_rate"].values())
    assert rates[:2] == pytest.approx([0.0025, 0.005])
    assert rates[-1] == pytest.approx(0.005 / (0.4 * 12))


@pytest.mark.parametrize("stop", [4, 6])
@pytest.mark.parametrize("unit_weights", ["true", "false"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(recipe, data, tmp_path, stop, unit_weights):
    """Stopped right after the checkpoint at step 4, and two steps later."""
    plan = read_recipe(recipe(("unit_weights = true", f"unit_weights = {unit_weights}")))
    unbroken = list(loop.train(plan, data, tmp_path / "unbroken"))
    before = list(itertools.islice(loop.train(plan, data, tmp_path / "broken"), stop))
    torch.manual_seed(1234)  # a new process knows nothing of the old one's random state
    after = list(loop.train(plan, data, tmp_path / "broken"))
    assert [progress.step for progress in before + after] == [*range(1, stop + 1), *range(5, 13)]
    losses = [progress.loss for progress in before[:4] + after]
    np.testing.assert_allclose(losses, [progress.loss for progress in unbroken], atol=1e-6)
    assert after[-1].held_out == pytest.approx(unbroken[-1].held_out, abs=1e-6)
    close(weights(tmp_path / "broken"), weights(tmp_path / "unbroken"))


def test_runs_of_different_precision_in_one_process(recipe, data, tmp_path):
    for number, precision in enumerate(("bf16", "no", "bf16")):
        plan = read_recipe(recipe(("steps = 12", f'steps = 2\nprecision = "{precision}"')))
        *_, last = loop.train(plan, data, tmp_path / str(number))
        assert (last.step, math.isfinite(last.loss)) == (2, True)


def test_the_seed_fixes_the_run(recipe, data, tmp_path):
    runs = {}
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        plan = read_recipe(recipe(("steps = 12", f"steps = 4\nseed = {seed}")))
        runs[name] = [progress.loss for progress in loop.train(plan, data, tmp_path / name)]
    close(weights(tmp_path / "a"), weights(tmp_path / "b"), 0)
    assert runs["a"] == runs["b"]
    assert runs["a"] != runs["c"]


def test_ctrl_c(train, recipe, tmp_path, monkeypatch):
    original = loop.train

    def interrupted(*arguments, **flags):
        yield from itertools.islice(original(*arguments, **flags), 6)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", interrupted)
    code, _, errors = train(recipe(), "--out", tmp_path / "run")
    assert code == 130
    command = f"basis train {tmp_path / 'tiny.toml'} --out {tmp_path / 'run'}"
    assert errors[-1] == f"basis: stopped; `{command}` goes on from the last checkpoint"
    assert json.loads((tmp_path / "run" / CARD).read_text())["steps"] == 4
    monkeypatch.setattr(loop, "train", original)
    code, printed, _ = train(recipe(), "--out", tmp_path / "run")
    assert (code, "held-out loss" in printed) == (0, True)
    assert json.loads((tmp_path / "run" / CARD).read_text())["steps"] == 12


def test_a_run_that_starts_from_another_prior(train, recipe, tmp_path):
    """Its first averaged weights are those of that prior, which the card names."""
    train(recipe(), "--out", tmp_path / "first")
    slow = recipe(("steps = 12", "steps = 4\nlearning_rate = 1e-9"))
    code, _, _ = train(slow, "--from", tmp_path / "first", "--out", tmp_path / "second")
    assert code == 0
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    for name in first:
        if first[name].dim() < 2:  # weights of layers are brought back to unit norm
            torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-6)
    cards = [json.loads((tmp_path / name / CARD).read_text()) for name in ("first", "second")]
    assert cards[1]["started_from"] == cards[0]["sha256"]
    assert cards[0]["started_from"] is None


def test_a_run_that_starts_from_a_prior_of_another_size(train, recipe, tmp_path):
    train(recipe(), "--out", tmp_path / "first")
    other = recipe(("widths = [8, 16]", "widths = [8, 24]"))
    code, _, errors = train(other, "--from", tmp_path / "first", "--out", tmp_path / "second")
    assert code == 2
    one_line(errors, "do not fit the recipe's prior", "trained with the same arguments")


def test_a_prior_that_sees_more_starts_as_the_one_that_it_starts_from(train, recipe, data, tmp_path):
    """What the network sees beside the image counts for nothing at first; then it comes to count."""
    train(recipe(), "--out", tmp_path / "first")
    first = basis.load_prior(tmp_path / "first")
    more = recipe(
        ("attention = [false, true]", "attention = [false, true]\nknown = [[1.0]]"),
        ("warmup", 'stored = "bf16"\nwarmup'),
    )
    prior = loop._prior(read_recipe(more), (1, 8, 8))
    loop._start(prior, tmp_path / "first")
    x, sigma = data.images("train")[0][:4].float() / 255, torch.tensor([0.02, 0.3, 1.0, 5.0])
    torch.testing.assert_close(prior.score(x, sigma), first.score(x, sigma), rtol=0, atol=1e-5)
    assert train(more, "--from", tmp_path / "first", "--out", tmp_path / "second")[0] == 0
    entrance = weights(tmp_path / "second")["network.enter.weight"]
    assert entrance.dtype == torch.bfloat16
    assert entrance[:, -4:].abs().max() > 1e-3
    second = basis.load_prior(tmp_path / "second")
    assert (second.condition, first.condition) == ("grayscale", None)
    assert {p.dtype for p in second.parameters()} == {torch.float32}


def test_a_prior_that_starts_with_fewer_layers_and_learns_names(train, recipe, data, tmp_path):
    """Layers that the first prior has are taken from it; with labels, images of little noise come to be told apart."""
    train(recipe(), "--out", tmp_path / "first")
    deeper = recipe(
        ("blocks = [1, 1]", "blocks = [1, 2]\nclasses = 10"),
        ("steps = 12", "steps = 200\nlearning_rate = 0.02\nlabels = 1.0"),
        ("every = 4", "every = 200"),
    )
    plan = read_recipe(deeper)
    prior = loop._prior(plan, (1, 8, 8))
    loop._start(prior, tmp_path / "first")
    own, first = prior.state_dict(), weights(tmp_path / "first")
    assert all(torch.equal(own[name], first[name]) for name in first)
    assert train(deeper, "--from", tmp_path / "first", "--out", tmp_path / "second")[0] == 0
    images, labels = data.images("validation")
    with pytest.raises(basis.UsageError, match="tells no classes apart"):
        basis.load_prior(tmp_path / "first").denoise_and_classify(images[:1] / 255, 0.01)
    _, logits = basis.load_prior(tmp_path / "second").denoise_and_classify(images.float() / 255, 0.01)
    assert (logits.argmax(1) == labels).double().mean().item() > 0.5


def test_ncsn_trains_on_its_levels(recipe, data, tmp_path):
    """Published settings: no average of weights, no clipping, a constant rate, only the ten levels."""
    (tmp_path / "ncsn.toml").write_text(NCSN_RECIPE)
    plan = read_recipe(tmp_path / "ncsn.toml")
    before = list(itertools.islice(loop.train(plan, data, tmp_path / "run"), 3))
    saved = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    close(saved["prior"], saved["average"], 0)
    after = list(loop.train(plan, data, tmp_path / "run"))
    unbroken = list(loop.train(plan, data, tmp_path / "unbroken"))
    np.testing.assert_allclose([p.loss for p in before + after], [p.loss for p in unbroken], rtol=1e-5)
    assert {p.learning_rate for p in unbroken} == {0.001}
    prior = basis.load_prior(tmp_path / "run")
    x, sigma, _ = Batches(data, plan).draw(prior, 0)
    assert all(min(abs(s / level - 1) for level in prior.levels) < 1e-6 for s in sigma.tolist())
    assert (x >= 0).all()
    assert (x < 1).all()
    assert ((x * 256) % 1 > 0).any()


def test_a_new_network_has_held_out_loss_one(data):
    """c_skip and c_out make the target's variance 1, and a new network says 0 (Karras et al. 2022, appendix B.6)."""
    plan = read_recipe(RECIPES / "digits.toml")
    prior = loop._prior(plan, (1, 8, 8))
    measured = loop.HeldOut(data, plan, prior, torch.device("cpu"))()
    assert measured == pytest.approx(1.0, abs=0.05)


def test_the_held_out_loss_falls(recipe, data, tmp_path):
    """From the initial 1.0 by a factor of more than 1.4 in 300 steps of 64 images (measured: 1.0 / 0.59 = 1.7)."""
    path = recipe(
        ("steps = 12", "steps = 300\nlearning_rate = 0.02"),
        ("batch = 32", "batch = 64"),
        ("warmup = 2", "warmup = 20"),
        ("ema = 64", "ema = 1000"),
        ("every = 4", "every = 300"),
    )
    *_, last = loop.train(read_recipe(path), data, tmp_path / "run")
    assert last.held_out < 1 / 1.4


@pytest.mark.slow
def test_the_digits_recipe_trains_a_prior_that_separates(train, data, tmp_path):
    """On 50 pairs of held-out digits: at least 2 dB better than the average, which knows nothing (measured: 3.6)."""
    code, printed, _ = train(RECIPES / "digits.toml", "--out", tmp_path / "digits")
    assert code == 0
    drawn = draw_mixtures(data, "validation", n=50)
    prior, mixing = basis.load_prior(tmp_path / "digits"), basis.WeightedSum([1.0, 1.0])
    figures = {
        method: basis.psnr(basis.separate(drawn.mixture, prior, mixing, method), drawn.sources).mean().item()
        for method in ("average", "basis")
    }
    print(printed, figures)
    assert figures["basis"] > figures["average"] + 2
