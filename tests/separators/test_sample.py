"""`sample`: that it is the composition of its parts, and that settings reach them or are refused."""

import itertools
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import basis
from basis.cli import app
from basis.core.noise import Noise
from basis.core.posterior import POSTERIORS
from basis.core.sampler import SAMPLERS

SUM = basis.WeightedSum([1.0, 0.5])


@pytest.fixture
def mixtures():
    return 0.5 + torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def test_it_is_the_composition_of_its_parts(mixtures, gaussian):
    prior = basis.Product([gaussian, gaussian])
    noise = Noise(prior.shape, 3, [0, 1])
    target = basis.DDNM(prior, SUM, mixtures)
    x = SUM.project(torch.zeros(2, *prior.shape), mixtures) + 2.0 * noise.normal()
    *_, state = basis.Ancestral(basis.karras(2.0, 0.1, 6, 3.0), eta=0.5).run(target, x, noise.normal)
    settings = {"steps": 6, "sigma_max": 2.0, "sigma_min": 0.1, "rho": 3.0, "eta": 0.5}
    run = basis.stream(mixtures, gaussian, SUM, "sample", seed=3, **settings)
    states = list(run)
    torch.testing.assert_close(states[-1].x, state.x)
    np.testing.assert_allclose([s.sigma for s in states], basis.karras(2.0, 0.1, 6, 3.0))
    torch.testing.assert_close(run.result.samples[:, 0], SUM.project(state.x, mixtures))


def test_the_default_is_denoise_project_renoise(edm):
    m = 2 * torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    prior, mixing = basis.Product([edm, edm]), basis.WeightedSum([1.0, 1.0])
    noise = Noise(prior.shape, 0, [0, 1])
    x = (m / 2)[:, None] + 3.0 * noise.normal()
    sigmas = basis.karras(3.0, 0.01, 4).tolist()
    for sigma, below in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        D = prior.denoise(x, sigma)
        D = D + (m - D.sum(1))[:, None] / 2
        x = D + below * noise.normal()
    found = basis.separate(m, edm, mixing, "sample", steps=4)
    inside = mixing.project(D.clamp(0, 1), m, (0, 1))
    torch.testing.assert_close(found.sources, inside, rtol=0, atol=1e-4)
    assert found.residual.max() < 1e-10  # though the state, which meets the mixture exactly, leaves the data range
    assert D.min() < -0.01


@pytest.mark.parametrize(("posterior", "sampler"), [*itertools.product(POSTERIORS.names(), SAMPLERS.names())])
def test_every_sampler_draws_from_every_posterior(posterior, sampler, mixtures, gaussian):
    mixing = basis.WeightedSum([0.5, 1.0])
    own = {"ratio": 1.5} if posterior == "annealed" else {}
    more = {"repeats": 20, "denoise": True} if sampler == "annealed_langevin" else {}
    found = basis.separate(
        mixtures, gaussian, mixing, "sample", posterior=posterior, sampler=sampler, steps=10, samples=2, **own, **more
    )
    assert found.residual.max() < 1e-10
    assert (found.samples - gaussian.means.reshape(gaussian.shape)).abs().max() < 5 * 0.5


def test_parts_can_be_given_as_objects(mixtures, gaussian):
    by_name = basis.separate(mixtures, gaussian, SUM, "sample", posterior="mmps", steps=5, noise=0.1)
    sampler = basis.Ancestral(basis.karras(levels=5), eta=math.inf)
    for method in (
        basis.Sample(basis.MMPS, sampler, parts={"noise": 0.1}),
        basis.Sample(lambda *problem: basis.MMPS(*problem, noise=0.1), sampler, project=False),
    ):
        assert torch.equal(basis.separate(mixtures, gaussian, SUM, method).samples, by_name.samples)


def test_noisy_mixtures_are_not_met_exactly(mixtures, gaussian):
    found = basis.separate(mixtures, gaussian, SUM, "sample", steps=5, noise=0.1)
    assert found.residual.min() > 1e-6
    assert basis.separate(mixtures, gaussian, SUM, "sample", steps=5, noise=0.1, project=True).residual.max() < 1e-10
    assert basis.separate(mixtures, gaussian, SUM, "sample", steps=5, noise=0).residual.max() < 1e-10


def test_discrete_levels_are_kept():
    prior = basis.NCSN([1, 8, 8], width=4, sigmas=[1.0, 0.3, 0.1, 0.03, 0.01]).eval().requires_grad_(False)
    run = basis.stream(torch.rand(1, 8, 8), prior, basis.WeightedSum([1.0, 1.0]), "sample", steps=9)
    np.testing.assert_allclose([state.sigma for state in run], [1.0, 0.3, 0.1, 0.03, 0.01])


def test_settings_reach_posterior_and_sampler():
    own = {"noise": 0.1, "iterations": 2, "churn": 3.0}
    found = basis.Sample.configured({"posterior": "mmps", "sampler": "heun", "steps": 7, **own})
    assert found == basis.Sample("mmps", "heun", 7, parts=own)
    assert found.posterior_settings == {"noise": 0.1, "iterations": 2}
    assert (found.chain.churn, len(found.chain.levels)) == (3.0, 7)
    assert (basis.Sample().chain.eta, basis.Sample(parts={"eta": 1.0}).chain.eta) == (math.inf, 1.0)
    assert basis.Sample("msdm").chain.eta == 1.0
    assert basis.Sample(sampler="annealed_langevin", repeats=4, parts={"delta": 1e-5}).chain.repeats == 4


REFUSED = {
    "near": ({"et": 1.0}, r"unknown setting of method 'sample': 'et'.*did you mean eta"),
    "near own": ({"step": 10}, "'step'.*did you mean steps"),
    "another posterior's": ({"iterations": 3}, "unknown setting.*'iterations'"),
    "another sampler's": ({"churn": 3, "posterior": "mmps"}, "unknown setting.*'churn'"),
    "argument": ({"sigmas": 3}, "unknown setting.*'sigmas'"),
    "posterior": ({"posterior": "dnm"}, "unknown posterior 'dnm'.*did you mean ddnm"),
    "sampler": ({"sampler": "hein"}, "unknown sampler 'hein'.*did you mean heun"),
    "repeats": ({"repeats": 2}, "sampler ancestral takes one step at each level, got repeats 2"),
    "range": ({"eta": -1}, "expected eta >= 0"),
    "noise": ({"noise": -1}, "standard deviation of at least 0"),
    "text": ({"use_condition": "much"}, "'use_condition' of posterior ddnm takes true or false or none, got 'much'"),
    "steps": ({"steps": 0}, "'steps' of method 'sample' takes a whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings(case, mixtures, gaussian):
    settings, message = REFUSED[case]
    with pytest.raises(basis.UsageError, match=message):
        basis.separate(mixtures, gaussian, SUM, "sample", **{"steps": 2, **settings})


def test_on_the_command_line(tmp_path, arguments, edm):
    folder, mixture = basis.save_prior(edm, arguments, tmp_path / "prior"), tmp_path / "mixture.npy"
    np.save(mixture, np.full((1, 8, 8), 0.8, np.float32))
    command = ["separate", str(mixture), "--prior", str(folder), "--method", "sample", "--steps", "3"]
    out = tmp_path / "out"
    parts = ["--set", "posterior=mmps", "--set", "iterations=2", "--set", "eta=1.0", "--out", str(out)]
    run = CliRunner().invoke(app, [*command, *parts])
    assert run.exit_code == 0, run.output
    expected = basis.separate(
        np.full((1, 8, 8), 0.8), edm, basis.WeightedSum([1.0, 1.0]),
        basis.Sample("mmps", steps=3, parts={"iterations": 2, "eta": 1.0}),
    )  # fmt: skip
    found = np.load(out / "mixture" / "sources.npy")
    np.testing.assert_allclose(found, expected.sources[0], atol=1e-5)
