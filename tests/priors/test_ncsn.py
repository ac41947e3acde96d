"""NCSN and NCSNv2: the published networks, their checkpoints and the released sampling loops."""

import itertools
import math
import sys
from functools import partial

import pytest
import torch

import basis
from basis.formats.ncsn import NCSNCheckpoint
from basis.io.checkpoint import CARD, WEIGHTS
from basis.nn.refinenet import RefineNet, moments
from basis.priors.ncsn import NCSN
from reference_ncsn import Reference, random_state

SIGMAS = [1.0, 0.59948425, 0.35938137, 0.21544347, 0.12915497, 0.07742637, 0.04641589, 0.02782559, 0.01668101, 0.01]
SHAPES = {1: (1, 28, 28), 3: (3, 32, 32)}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def prior_and_reference(channels, version=1, width=8):
    """A prior whose every parameter was moved, and the reference with the same parameters."""
    prior = NCSN(SHAPES[channels], width, version=version).eval().requires_grad_(False)
    state = random_state(prior.network)
    prior.network.load_state_dict(state)
    return prior, Reference(state)


# The network


@pytest.mark.parametrize(("channels", "width", "parameters"), [(1, 64, 7_638_657), (3, 128, 30_117_635)])
def test_published_sizes(channels, width, parameters):
    assert sum(p.numel() for p in RefineNet(channels, width, 10).parameters()) == parameters


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_parity(channels, version):
    """The score of every level within 1e-4 of the reference (of order 1 for version 1; relative for version 2)."""
    prior, reference = prior_and_reference(channels, version)
    x = 0.5 + 0.5 * draw(3, *prior.shape)
    outputs = []
    for i, sigma in enumerate(SIGMAS):
        expected = reference(x, torch.tensor([i]) if version == 1 else None)
        outputs.append(expected)
        scale = 1 if version == 1 else sigma
        torch.testing.assert_close(prior.score(x, sigma) * scale, expected, rtol=0, atol=1e-4)
    assert 0.1 < outputs[0].std() < 10
    if version == 1:
        assert all((a - b).abs().max() > 1e-2 for a, b in itertools.pairwise(outputs))


@pytest.mark.parametrize("version", [1, 2])
def test_a_noise_level_for_each_image(version):
    prior, _ = prior_and_reference(1, version)
    x = draw(20, 1, 28, 28)
    sigma = torch.tensor(SIGMAS * 2)
    together = prior.score(x, sigma)
    apart = torch.cat([prior.score(x[i : i + 1], sigma[i].item()) for i in range(20)])
    scale = sigma[:, None, None, None] if version == 2 else 1.0
    torch.testing.assert_close(together * scale, apart * scale, rtol=0, atol=1e-4)


def test_gradients_reach_every_parameter():
    prior = NCSN((1, 28, 28), 4)
    prior.score(draw(2, 1, 28, 28), torch.tensor([1.0, 0.01])).square().sum().backward()
    silent = [name for name, p in prior.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent


def test_moments_of_values_far_from_zero():
    x = (1000 + draw(2, 3, 28, 28)).double()
    variance, mean = torch.var_mean(x, (2, 3), correction=0)
    found = moments(x.float().contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found[0].double(), variance, rtol=1e-3, atol=0)
    torch.testing.assert_close(found[1].double(), mean, rtol=1e-6, atol=0)


def test_a_level_that_was_not_trained():
    prior, _ = prior_and_reference(1)
    with pytest.raises(basis.UsageError, match=r"not trained at noise level 0\.5 but at 1, 0\.5995, .*, 0\.01\."):
        prior.score(torch.zeros(1, 1, 28, 28), 0.5)
    with pytest.raises(basis.UsageError, match=r"not trained at noise level 0\.02 "):
        prior.score(torch.zeros(2, 1, 28, 28), torch.tensor([0.01, 0.02]))
    prior.score(torch.zeros(1, 1, 28, 28), 0.0278256)  # as the paper's appendix rounds it


# Checkpoints


def checkpoint(path, version=1, change=None, legacy=False, bare=False):
    """Write a file as the authors' code does; returns the prior that it holds."""
    prior, _ = prior_and_reference(1 if version == 1 else 3, version)
    state = dict(prior.network.state_dict())
    if version == 2:
        sigmas = torch.tensor(SIGMAS)
        averaged = {key: value.clone() for key, value in state.items()}
        state = {key: value + 1 for key, value in state.items()} | {"sigmas": sigmas}
    if change:
        change(state)
    state = {f"module.{key}": value for key, value in state.items()}
    optimizer = {
        "state": {0: {"step": 5, "exp_avg": torch.zeros(3)}},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.99)}],
    }
    content = [state, optimizer] + ([3, 300_000, averaged] if version == 2 else [])
    torch.save(state if bare else content, path, _use_new_zipfile_serialization=not legacy)
    return prior


@pytest.fixture
def convert(run_basis):
    """Call `basis import`; return the exit code, what was printed and the errors."""
    return partial(run_basis, "import")


@pytest.mark.parametrize("kind", [{}, {"legacy": True}, {"bare": True}, {"version": 2}, {"version": 2, "legacy": True}])
def test_import(convert, tmp_path, kind):
    """Both containers, with and without the list, parallel prefix, averaged parameters: the same scores."""
    prior = checkpoint(tmp_path / "checkpoint.pth", **kind)
    size = ["--set", "size=32"] if kind.get("version") == 2 else []  # ten levels: no published NCSNv2
    code, printed, _ = convert("ncsn", tmp_path / "checkpoint.pth", tmp_path / "prior", *size)
    assert (code, "NCSN over images of" in printed) == (0, True)
    assert {path.name for path in (tmp_path / "prior").iterdir()} == {WEIGHTS, CARD, ".basis.json"}
    direct = NCSNCheckpoint(size=32).read(tmp_path / "checkpoint.pth").prior if size else None
    for loaded in (basis.load_prior(tmp_path / "prior"), direct or basis.load_prior(tmp_path / "checkpoint.pth")):
        x = draw(2, *prior.shape)
        assert loaded.levels == pytest.approx(SIGMAS, rel=1e-6)
        for sigma in (1.0, 0.01):
            torch.testing.assert_close(loaded.score(x, sigma), prior.score(x, sigma))


def test_import_without_averages_and_with_settings(convert, tmp_path):
    prior = checkpoint(tmp_path / "c.pth", version=2)
    code, _, _ = convert("ncsn", tmp_path / "c.pth", tmp_path / "raw", "--set", "ema=false", "--set", "size=16")
    assert code == 0
    raw = basis.load_prior(tmp_path / "raw")
    assert raw.shape == (3, 16, 16)
    torch.testing.assert_close(raw.network.end_conv.bias, prior.network.end_conv.bias + 1)
    checkpoint(tmp_path / "c1.pth")
    levels = [2.0 * sigma for sigma in SIGMAS]
    code, _, _ = convert("ncsn", tmp_path / "c1.pth", tmp_path / "other", "--set", f"sigmas={levels}")
    assert (code, basis.load_prior(tmp_path / "other").levels) == (0, tuple(levels))


def drop(key):
    return lambda state: state.pop(key)


def reshape(key):
    return lambda state: state.update({key: state[key][:1]})


BAD = {
    "missing": (drop("res3.1.conv2.weight"), "res3.1.conv2.weight is missing"),
    "left over": (lambda state: state.update(extra=torch.zeros(1)), "extra is left over"),
    "misshapen": (
        reshape("refine4.crp.convs.1.weight"),
        "refine4.crp.convs.1.weight has shape (1, 8, 3, 3), expected (8,",
    ),
    "another network": (lambda state: state.pop("begin_conv.weight"), "is not a network of NCSN"),
    "no tensor": (lambda state: state.update(x=3), "does not begin with a state dict"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_checkpoint_that_does_not_fit(convert, tmp_path, kind):
    change, message = BAD[kind]
    checkpoint(tmp_path / "c.pth", change=change)
    code, _, error = convert("ncsn", tmp_path / "c.pth", tmp_path / "prior")
    assert code == 1
    assert message in error
    assert ". To fix: " in error
    assert not (tmp_path / "prior").exists()


def test_several_things_wrong_are_all_listed(convert, tmp_path):
    def change(state):
        for key in ("res1.0.conv1.bias", "refine1.crp.norms.0.embed.weight"):
            state[f"{key}x"] = state.pop(key)

    checkpoint(tmp_path / "c.pth", change=change)
    _, _, error = convert("ncsn", tmp_path / "c.pth", tmp_path / "prior")
    assert all(
        f"{key}{end}" in error
        for key in ("res1.0.conv1.bias", "refine1.crp.norms.0.embed.weight")
        for end in (" is missing", "x is left over")
    )


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "pickle"])
def test_a_file_that_is_no_checkpoint(convert, tmp_path, content):
    """A pickle with code in it is refused unread, as is the config that lies beside a published checkpoint."""
    path = tmp_path / "c.pth"
    message = "is not a checkpoint that torch.save wrote"
    if content == "pickle":
        torch.save(sys.implementation.__class__(ngf=64), path)
        message = "does not begin with a state dict"
    else:
        path.write_bytes(content)
    code, _, error = convert("ncsn", path, tmp_path / "prior")
    assert (code, message in error) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ncsn", "no.pth", "prior"), "no file at no.pth"),
        (("ncsm", "no.pth", "prior"), "unknown format 'ncsm'"),
        (("ncsn", "no.pth", "prior", "--set", "sise=3"), "did you mean size"),
        (("ncsn", "{c}", "prior", "--set", "sigmas=[1.0, 0.1]"), "has 10 levels"),
        (
            ("ncsn", "{c}", "prior", "--set", "size=big"),
            "'size' of format 'ncsn' takes a whole number",
        ),
        (("ncsn", "{c}", "."), "holds what basis did not write"),
    ],
)
def test_bad_usage(convert, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    checkpoint(tmp_path / "c.pth")
    code, _, error = convert(*(part.format(c="c.pth") for part in arguments))
    assert (code, message in error) == (2, True)
    assert not (tmp_path / "prior").exists()


# Separation with discrete levels


def released_loop(reference, mixture, xs, noises, delta, factor, sequential, steps):
    """The released code's loop on given noise: ``factor`` 2 (MNIST, all at once) or 1 in sequence (CIFAR-10)."""
    xs, draws = list(xs.unbind(1)), iter(noises)
    for i, sigma in enumerate(SIGMAS):
        eta = delta * (sigma / SIGMAS[-1]) ** 2
        for _ in range(steps):
            eps = next(draws).unbind(1)
            scores = [reference(x, torch.tensor([i])) for x in xs]
            residual = mixture - sum(xs)
            for k in range(len(xs)):
                if sequential:
                    residual = mixture - sum(xs)
                xs[k] = xs[k] + eta * (scores[k] + factor * residual / sigma**2) + math.sqrt(2 * eta) * eps[k]
    return torch.stack(xs, 1)


RELEASED = {
    "mnist": (1, math.sqrt(0.5), {"delta": 3e-5}, {"delta": 3e-5, "factor": 2, "sequential": False}),
    "cifar10": (3, 1.0, {"delta": 3e-5, "sequential": True}, {"delta": 3e-5, "factor": 1, "sequential": True}),
}


@pytest.mark.parametrize("form", RELEASED)
def test_the_released_loops(form):
    """A ten-level trajectory from given state and noise within 1e-4 of the released loop's, values of order 1."""
    channels, ratio, ours, theirs = RELEASED[form]
    prior, reference = prior_and_reference(channels)
    steps = 3
    mixture, start = draw(2, *prior.shape).abs(), draw(2, 2, *prior.shape, seed=1).sigmoid()
    noises = [draw(2, 2, *prior.shape, seed=2 + i) for i in range(10 * steps)]
    posterior = basis.AnnealedPosterior(basis.Product([prior, prior]), basis.WeightedSum([1.0, 1.0]), mixture, ratio)
    sampler = basis.AnnealedLangevin(steps=steps, stability=math.inf, **ours)
    given = iter(noises)
    *_, state = sampler.run(posterior, start, lambda: next(given))
    expected = released_loop(reference, mixture, start, noises, steps=steps, **theirs)
    assert (expected - start).abs().max() > 0.3
    torch.testing.assert_close(state.x, expected, rtol=0, atol=1e-4)
    assert next(given, None) is None


def test_a_schedule_is_moved_to_the_levels_that_there_are():
    """`basis` with a prior of 40 levels: each of the ten becomes the nearest one, and no other is asked for."""
    levels = basis.geometric(3.0, 0.009, 40).tolist()
    prior = NCSN((1, 28, 28), 4, sigmas=levels, version=2).eval()
    run = basis.stream(torch.zeros(1, 28, 28), prior, basis.WeightedSum([1.0, 1.0]), steps=1)
    visited = [state.sigma for state in run]
    nearest = [min(levels, key=lambda level: abs(math.log(level / sigma))) for sigma in basis.geometric().tolist()]
    assert visited == pytest.approx(nearest)
    assert run.result.sources.shape == (1, 2, 1, 28, 28)
