"""Training: the loss falls, a run that was stopped goes on as if it had not been, and mistakes are named."""

import dataclasses
import itertools
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import basis
from basis.cli import main
from basis.core.checkpoint import CARD, WEIGHTS

pytest.importorskip("accelerate", reason="training needs the extra 'train'")
pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")

from basis.datasets.digits import Digits
from basis.mixtures import draw_mixtures
from basis.priors.gaussian import GaussianMixture
from basis.training import loop
from basis.training.objectives import Denoising, Likelihood, ScoreMatching, objective
from basis.training.recipe import Levels, Noise, Recipe, read_recipe

ANY = GaussianMixture(weights=[1.0], means=[[0.0]], covariances=[[[1.0]]])  # a prior of any noise level
RECIPES = Path(__file__).parents[1] / "recipes"
RECIPE = """
prior = "edm"
data = "digits"
steps = 12
batch = 32
warmup = 2
ema = 64
unit_weights = true
every = 4

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


@pytest.fixture(scope="module")
def data():
    return Digits()


@pytest.fixture
def recipe(tmp_path):
    """Write a recipe, with some of its text replaced; returns its path."""

    def write(*replacements):
        text = RECIPE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "tiny.toml").write_text(text)
        return tmp_path / "tiny.toml"

    return write


@pytest.fixture
def train(monkeypatch, capsys):
    """Call `basis train`; return the exit code, what was printed and the lines of errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["basis", "train", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return caught.value.code or 0, captured.out, captured.err.splitlines()

    return call


def weights(folder):
    return load_file(folder / WEIGHTS)


def close(a, b, tolerance=1e-6):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=tolerance)


# A whole run


def test_basis_train(train, recipe, tmp_path, monkeypatch):
    """The command writes a prior, its card, a checkpoint and a log, and they say the same."""
    monkeypatch.chdir(tmp_path)
    code, printed, _ = train(recipe())
    folder = Path("runs") / "tiny"
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == [CARD, loop.CHECKPOINT, "log", WEIGHTS]
    card = json.loads((folder / CARD).read_text())
    plan = read_recipe(recipe())
    assert (card["steps"], card["images"], card["recipe"]["arguments"]) == (12, 12 * 32, plan.arguments)
    assert f"held-out loss {card['held_out_loss']:.4f}" in printed
    prior = basis.load_prior(folder)
    measured = loop.HeldOut(Digits().images("validation")[0], plan, prior, torch.device("cpu"))()
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

    def interrupted(*arguments):
        yield from itertools.islice(original(*arguments), 6)
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


# Discrete noise levels, score matching and likelihood

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


def test_score_matching_of_a_perfect_score():
    """For p = N(0, I) the loss at the true score has expectation ½ d σ^p / (1 + σ²) / σ² (closed form)."""

    class Normal(basis.Prior):
        def score(self, x, sigma):
            return -x / (1 + sigma[:, None, None, None] ** 2)

    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 4000, 1, 4, 4, generator=generator)
    for sigma, power in itertools.product((0.1, 1.0), (2.0, 3.0)):
        losses = ScoreMatching(Normal((1, 4, 4)), power)(x, torch.full((4000,), sigma), eps)
        expected = 16 * sigma**power / (1 + sigma**2) / sigma**2 / 2
        assert losses.mean().item() == pytest.approx(expected, abs=5 * losses.std().item() / math.sqrt(4000))


def test_likelihood_in_bits_per_dimension():
    """A unit Gaussian at σ = 0: ½ log₂(2 π e) bits a dimension."""

    class Normal(basis.DensityPrior):
        def log_prob(self, x, sigma):
            variance = 1 + torch.as_tensor(sigma) ** 2
            return -0.5 * (x.flatten(1).square().sum(1) / variance + 16 * (2 * math.pi * variance).log())

    x = torch.randn(4000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    losses = Likelihood(Normal((1, 4, 4)))(x, torch.zeros(4000), x)
    assert losses.mean().item() == pytest.approx(0.5 * math.log2(2 * math.pi * math.e), abs=0.02)


def test_ncsn_trains_on_its_levels(recipe, data, tmp_path):
    """Published settings: no average of weights, no clipping, a constant rate, only the ten levels."""
    (tmp_path / "ncsn.toml").write_text(NCSN_RECIPE)
    plan = read_recipe(tmp_path / "ncsn.toml")
    before = list(itertools.islice(loop.train(plan, data, tmp_path / "run"), 3))
    saved = torch.load(tmp_path / "run" / loop.CHECKPOINT, weights_only=True)
    close(saved["prior"], saved["average"], 0)
    after = list(loop.train(plan, data, tmp_path / "run"))
    unbroken = list(loop.train(plan, data, tmp_path / "unbroken"))
    np.testing.assert_allclose([p.loss for p in before + after], [p.loss for p in unbroken], rtol=1e-5)
    assert {p.learning_rate for p in unbroken} == {0.001}
    prior = basis.load_prior(tmp_path / "run")
    images = data.images("train")[0]
    x, sigma, _ = loop._batch(images, plan, prior, 0, 0, 1)
    assert all(min(abs(s / level - 1) for level in prior.levels) < 1e-6 for s in sigma.tolist())
    assert (x >= 0).all()
    assert (x < 1).all()
    assert ((x * 256) % 1 > 0).any()


def test_half_of_the_images_are_mirrored(data):
    plan = dataclasses.replace(read_recipe(RECIPES / "digits.toml"), flip=True, batch=400)
    images = data.images("train")[0]
    x = loop._batch(images, plan, ANY, 0, 0, 1)[0]
    straight = loop._batch(images, dataclasses.replace(plan, flip=False), ANY, 0, 0, 1)[0]
    mirrored = [not torch.equal(a, b) for a, b in zip(x, straight, strict=True)]
    assert all(torch.equal(a, b.flip(2)) for a, b, m in zip(x, straight, mirrored, strict=True) if m)
    assert 0.4 < np.mean(mirrored) < 0.6


def test_noise_levels_from_the_data():
    """Technique 1: the largest distance between two images; technique 2: neighbours overlap by one half."""
    images = torch.tensor([0, 255, 51], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 2, 2)
    plan = Recipe("ncsn", {}, "digits", steps=1, levels=Levels("data", 0.1, "overlap"))
    sigmas = loop._with_levels(plan, images).arguments["sigmas"]
    assert (sigmas[0], sigmas[-1]) == pytest.approx((2.0, 0.1))
    r = sigmas[0] / sigmas[1]
    normal = torch.distributions.Normal(0.0, 1.0)
    ends = [torch.tensor(math.sqrt(8) * (r - 1) + sign * 3 * r) for sign in (1, -1)]
    assert (normal.cdf(ends[0]) - normal.cdf(ends[1])).item() >= 0.5
    fixed = dataclasses.replace(plan, levels=Levels(3.0, 0.1, 5))
    assert loop._with_levels(fixed, images).arguments["sigmas"] == pytest.approx(basis.geometric(3.0, 0.1, 5).tolist())


# The loss


def test_the_objective_of_a_perfect_and_of_a_blind_denoiser():
    """D(y) = y has the loss of the noise, E λ σ² ‖ε‖² / d; a point mass denoised exactly has none."""
    x = torch.full((4, 1, 8, 8), 0.3)
    sigma, eps = (
        torch.tensor([0.01, 0.1, 1.0, 10.0]),
        torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
    )

    class Identity(basis.Prior):
        def score(self, x, sigma):
            return torch.zeros_like(x)

    blind = Denoising(Identity((1, 8, 8)), 0.5)(x, sigma, eps)
    expected = (sigma**2 + 0.5**2) / 0.5**2 * eps.square().mean((1, 2, 3))
    torch.testing.assert_close(blind, expected, rtol=1e-4, atol=0)

    class Point(basis.Prior):
        def score(self, x, sigma):
            return (0.3 - x) / sigma[:, None, None, None] ** 2

    assert Denoising(Point((1, 8, 8)), 0.5)(x, sigma, eps).max() < 1e-8


def test_a_new_network_has_held_out_loss_one(data):
    """c_skip and c_out make the target's variance 1, and a new network says 0 (Karras et al. 2022, appendix B.6)."""
    plan = read_recipe(RECIPES / "digits.toml")
    prior = loop._prior(plan, (1, 8, 8))
    measured = loop.HeldOut(data.images("validation")[0], plan, prior, torch.device("cpu"))()
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


def test_learning_rate():
    """Warm-up over 10 steps, constant, then linearly to zero over the last 40 of 100."""
    plan = Recipe("edm", {}, "digits", steps=100, warmup=10, decay=0.4, learning_rate=1.0)
    rates = [loop._learning_rate(plan, step) for step in range(100)]
    expected = [(step + 1) / 10 for step in range(10)] + [1.0] * 50 + [1 - step / 40 for step in range(40)]
    np.testing.assert_allclose(rates, expected)


def test_averaged_weights():
    """After `ema` images half of an old value is left; early in a run its half-life is a tenth of the run so far."""
    plan = read_recipe(RECIPES / "digits.toml")
    plan = Recipe("edm", plan.arguments, "digits", steps=10_000, batch=32, ema=64)
    prior, average = (loop._prior(plan, (1, 8, 8)).requires_grad_(False) for _ in range(2))
    for values, network in ((1.0, prior), (0.0, average)):
        for parameter in network.parameters():
            parameter.fill_(values)
    for images in (32, 64, 96, 128):
        loop._average(average, prior, 1000, plan)
        assert all(torch.allclose(p, torch.tensor(1 - 0.5 ** (images / 64))) for p in average.parameters())
    for parameter in average.parameters():
        parameter.fill_(0.0)
    loop._average(average, prior, 5, plan)  # 160 images so far: a half-life of 16, two of them a step
    assert all(torch.allclose(p, torch.tensor(0.75)) for p in average.parameters())


def test_every_epoch_holds_every_image_once():
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None]
    plan = Recipe("edm", {}, "digits", steps=10, batch=4)
    drawn = [
        (loop._batch(images, plan, ANY, step, 0, 1)[0].flatten() * 255).round().int().tolist() for step in range(5)
    ]
    order = list(itertools.chain(*drawn))
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]


def test_processes_share_a_batch():
    """Two processes see together what one sees, each its own half with its own noise."""
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None]
    plan = Recipe("edm", {}, "digits", steps=10, batch=8)
    whole = loop._batch(images, plan, ANY, 3, 0, 1)[0].flatten()
    (a, _, eps_a), (b, _, eps_b) = (loop._batch(images, plan, ANY, 3, process, 2) for process in (0, 1))
    assert torch.equal(torch.stack([a.flatten(), b.flatten()], 1).flatten(), whole)
    assert not torch.equal(eps_a, eps_b)


def test_noise_levels_of_training():
    """ln σ ~ N(mean, std²): mean and spread of 20,000 draws within five standard errors; cut off at its ends."""
    images = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    plan = Recipe("edm", {}, "digits", steps=1, batch=20_000, noise=Noise(-1.0, 0.5, 1e-9, 1e9))
    _, sigma, eps = loop._batch(images, plan, ANY, 0, 0, 1)
    assert sigma.log().mean().item() == pytest.approx(-1.0, abs=5 * 0.5 / math.sqrt(20_000))
    assert sigma.log().std().item() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(40_000))
    assert eps.std().item() == pytest.approx(1.0, abs=5 / math.sqrt(40_000))
    narrow = Recipe("edm", {}, "digits", steps=1, batch=1000, noise=Noise(-1.0, 0.5, 0.3, 0.4))
    sigma = loop._batch(images, narrow, ANY, 0, 0, 1)[1]
    assert (sigma.min().item(), sigma.max().item()) == pytest.approx((0.3, 0.4), abs=1e-3)
    assert (sigma > 0.3).all()  # not piled up at the ends
    assert (sigma < 0.4).all()
    assert sigma.log().mean().item() == pytest.approx((math.log(0.3) + math.log(0.4)) / 2, abs=0.01)


# What goes wrong


def one_line(errors, *parts):
    (error,) = errors
    assert error.startswith("basis: ")
    assert error.count(". To fix: ") == 1
    for part in parts:
        assert part in error


def foreign(kind):
    """Write a checkpoint.pt that is not one of this run."""

    def write(path):
        values = {
            "empty": b"",
            "text": b"this is not a checkpoint",
        }
        if kind in values:
            path.write_bytes(values[kind])
        elif kind == "cut off":
            path.write_bytes(path.read_bytes()[:2000])
        elif kind == "class":
            torch.save(Path("x"), path)
        elif kind == "list":
            torch.save([1, 2], path)
        elif kind == "other entries":
            torch.save({"model": {}}, path)
        elif kind == "no step":
            state = torch.load(path, weights_only=True)
            torch.save({name: state[name] for name in ("prior", "average", "optimizer")}, path)

    return write


KINDS = ["empty", "text", "cut off", "class", "list", "other entries", "no step"]


@pytest.fixture(scope="module")
def started(tmp_path_factory, data):
    """The checkpoint of a run that was stopped at step 4."""
    folder = tmp_path_factory.mktemp("started")
    (folder / "tiny.toml").write_text(RECIPE)
    list(itertools.islice(loop.train(read_recipe(folder / "tiny.toml"), data, folder), 4))
    return (folder / loop.CHECKPOINT).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_checkpoint(train, recipe, started, tmp_path, kind):
    path = tmp_path / "run" / loop.CHECKPOINT
    path.parent.mkdir()
    path.write_bytes(started)
    foreign(kind)(path)
    before = path.read_bytes()
    code, _, errors = train(recipe(), "--out", path.parent)
    assert code == 1
    one_line(errors, f"{path} does not fit this recipe", "train into another --out folder")
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_network(train, recipe, started, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / loop.CHECKPOINT).write_bytes(started)
    code, _, errors = train(recipe(("widths = [8, 16]", "widths = [8, 24]")), "--out", tmp_path / "run")
    assert code == 1
    one_line(errors, "does not fit this recipe", "train into another --out folder")


BAD = {
    "steps": (("steps = 12\n", ""), "lacks steps"),
    "two": (('prior = "edm"\ndata = "digits"', ""), "lacks prior, data"),
    "entry": (("warmup", "warm_up"), "unknown entry in", "'warm_up'", "did you mean warmup?"),
    "noise": (("std = 1.2", "stdd = 1.2"), "noise.", "'stdd'", "did you mean std"),
    "prior": (('"edm"', '"edn"'), "unknown kind of prior 'edn'", "did you mean edm"),
    "data": (('"digits"', '"digit"'), "unknown data set 'digit'", "did you mean digits?"),
    "text": (("steps = 12", 'steps = "many"'), "expected steps of type int, got 'many'"),
    "half": (("batch = 32", "batch = 32.5"), "expected batch of type int, got 32.5"),
    "no noise": (("[noise]\nstd = 1.2", ""), None),
    "noise text": (("std = 1.2", 'std = "x"'), "expected noise.std of type float, got 'x'"),
    "noise number": (("[noise]\nstd = 1.2", ""), ("steps = 12", "noise = 3\nsteps = 12"), "expected noise of type"),
    "zero": (("every = 4", "every = 0"), "every must be positive, got 0"),
    "negative": (("batch = 32", "batch = -1"), "batch must be positive, got -1"),
    "precision": (("warmup", 'precision = "bf8"\nwarmup'), "'bf8'", "did you mean bf16"),
    "objective": (("warmup", 'objective = "likelihod"\nwarmup'), "'likelihod'", "did you mean likelihood"),
    "no density": (("warmup", 'objective = "likelihood"\nwarmup'), "prior 'edm' has no density"),
    "levels": (("[noise]", "[levels]\nmaxi = 3\n[noise]"), "levels.", "'maxi'", "did you mean max"),
    "argument": (("widths", "width"), "do not suit prior 'edm'", "width"),
    "no std": (("std = 0.3754\n", ""), "do not suit prior 'edm'", "std"),
    "no network": (('"edm"', '"gaussian"'), "do not suit prior 'gaussian'"),
    "size": (("[1, 8, 8]", "[1, 16, 16]"), "shape (1, 16, 16)", "'digits' (1, 8, 8)", "set shape to [1, 8, 8]"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_recipe(train, recipe, tmp_path, kind):
    replacements = [part for part in BAD[kind] if isinstance(part, tuple)]
    parts = [part for part in BAD[kind] if not isinstance(part, tuple)]
    if parts == [None]:
        assert read_recipe(recipe(*replacements)).noise == Noise()
        return
    code, _, errors = train(recipe(*replacements), "--out", tmp_path / "run")
    assert code == 2
    one_line(errors, *parts)
    assert not (tmp_path / "run" / loop.CHECKPOINT).exists()


def test_a_recipe_that_is_not_there(train, tmp_path):
    code, _, errors = train(tmp_path / "no.toml")
    assert code == 2
    one_line(errors, f"no recipe at {tmp_path / 'no.toml'}", "recipes/*.toml")


@pytest.mark.parametrize("content", [b"steps: 12", b"\xff\xfe\x00"])
def test_a_recipe_that_is_not_toml(train, tmp_path, content):
    (tmp_path / "r.toml").write_bytes(content)
    code, _, errors = train(tmp_path / "r.toml")
    assert code == 1
    one_line(errors, "r.toml is not TOML", "recipes/mnist.toml")


def test_an_out_that_cannot_be_written(train, recipe):
    path = recipe()
    code, _, errors = train(path, "--out", path / "run")
    assert code == 1
    one_line(errors, f"cannot write {path / 'run'}", "Not a directory", "another --out")


@pytest.mark.parametrize(("every", "message"), [(4, "the loss is"), (1, "the held-out loss is")])
def test_divergence(train, recipe, tmp_path, every, message):
    """No broken prior is written: neither when the loss stops being finite nor when a checkpoint's would."""
    path = recipe(
        ("every = 4", f"every = {every}"),
        ("warmup = 2", "learning_rate = 1e30\nwarmup = 1"),
        ("unit_weights = true", ""),
    )
    code, _, errors = train(path, "--out", tmp_path / "run")
    assert code == 1
    one_line(errors, message, "lower the recipe's learning_rate")
    assert re.search(r"at step \d", errors[0])
    assert not (tmp_path / "run" / WEIGHTS).exists()
    assert not (tmp_path / "run" / loop.CHECKPOINT).exists()


# The recipes that come with the library


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_bundled_recipes_fit_their_data(path):
    plan = read_recipe(path)
    shapes = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32), "folder": (3, 64, 64)}
    shape = shapes["folder" if "size=64" in plan.data else plan.data.partition(":")[0]]
    plan = loop._with_levels(plan, torch.randint(0, 256, (4, *shape), dtype=torch.uint8))
    prior = loop._prior(plan, shape)
    objective(plan, prior)
    assert all(p.isfinite().all() for p in prior.parameters())


@pytest.mark.slow
def test_the_digits_recipe_trains_a_prior_that_separates(train, data, tmp_path):
    """On 50 pairs of held-out digits: at least 2 dB better than the average, which knows nothing (measured: 3.6)."""
    code, printed, _ = train(RECIPES / "digits.toml", "--out", tmp_path / "digits")
    assert code == 0
    drawn = draw_mixtures(data, "validation", n=50)
    prior, mixing = basis.load_prior(tmp_path / "digits"), basis.WeightedSum([1.0, 1.0])
    figures = {
        method: basis.psnr(basis.separate(drawn.mixture, prior, mixing, method).sources, drawn.sources).mean().item()
        for method in ("average", "basis")
    }
    print(printed, figures)
    assert figures["basis"] > figures["average"] + 2


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
