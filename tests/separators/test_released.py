"""The presets of the released code against its loops, written here from the equations and published settings."""

import math

import pytest
import torch

import basis
from basis.core.noise import Noise
from basis.io.presets import summaries

SIGMAS = [1.0, 0.59948425, 0.35938137, 0.21544347, 0.12915497, 0.07742637, 0.04641589, 0.02782559, 0.01668101, 0.01]
FORMS = {  # step at the last level, σ²/γ², whether one source after another
    "released-mnist": (3e-5, 2.0, False, (1, 2, 2)),
    "released-cifar10": (3e-5, 1.0, True, (3, 2, 2)),
    "released-colour": (2e-5, 3.0, False, (3, 2, 2)),
}


def images(shape):
    """Return a prior of images with support [0, 1], two kinds of them, correlated pixels."""
    generator = torch.Generator().manual_seed(3)
    size = math.prod(shape)
    means = torch.rand(2, *shape, generator=generator)
    factors = 0.2 * torch.randn(2, size, size, generator=generator) / size**0.5
    prior = basis.GaussianMixture([0.4, 0.6], means, 0.01 * torch.eye(size) + factors @ factors.mT).double()
    prior.data_range = (0.0, 1.0)
    return prior


def residual(xs, mixture, colour):
    """Return Aᵀ (m - A x), (K, *S), of a sum of sources, or of the mean of a colour image's channels."""
    if colour:
        return (mixture - xs[0].mean(0, keepdim=True)).expand_as(xs[0])[None] / 3
    return (mixture - xs.sum(0)).expand_as(xs)


def loop(prior, mixture, xs, draw, delta, factor, sequential, colour):
    """Return the last state: x ← x + η (∇ log p_σ(x) + factor Aᵀ (m - A x) / σ²) + √(2η) ε, η = δ σ² / σ_L²."""
    for sigma in SIGMAS:
        eta = delta * (sigma / SIGMAS[-1]) ** 2
        for _ in range(100):
            eps = draw()
            if not sequential:
                pull = prior.score(xs, sigma) + factor / sigma**2 * residual(xs, mixture, colour)
                xs = xs + eta * pull + math.sqrt(2 * eta) * eps
                continue
            for k in range(len(xs)):
                pull = prior.score(xs, sigma)[k] + factor / sigma**2 * residual(xs, mixture, colour)[k]
                xs = torch.cat([xs[:k], (xs[k] + eta * pull + math.sqrt(2 * eta) * eps[k])[None], xs[k + 1 :]])
    return xs


@pytest.mark.parametrize("name", FORMS)
def test_a_released_preset_is_the_released_loop(name):
    delta, factor, sequential, shape = FORMS[name]
    colour = name == "released-colour"
    prior, sources = images(shape), 1 if colour else 2
    mixing = basis.Grayscale() if colour else basis.WeightedSum([1.0, 1.0])
    mixture = torch.rand(1, 2, 2, generator=torch.Generator().manual_seed(0))
    mixture = mixture.expand(1 if colour else shape[0], -1, -1)
    noise = Noise((sources, *shape), 5, [0])
    start, drawn = noise.uniform()[0].double(), iter(lambda: noise.normal()[0].double(), None)
    expected = loop(prior, mixture.double(), start, drawn.__next__, delta, factor, sequential, colour)
    run = basis.stream(mixture, prior.float(), mixing, name, seed=5)
    *_, last = run
    assert (expected - start).abs().max() > 0.3
    torch.testing.assert_close(last.x[0].double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(run.result.sources[0], last.x[0].clamp(0, 1), rtol=0, atol=0)  # nothing follows but this
    assert last.step == 1000


def test_presets_say_whose_they_are(run_basis):
    code, out, _ = run_basis("list")
    assert code == 0
    for name in FORMS:
        assert f"  {name}" in out
        assert "Released code" in summaries()[name]
