"""Mixtures with noise: posteriors against closed forms, what every method does with it, and the range of values."""

import json

import numpy as np
import pytest
import torch

import basis
from basis.core.mixing import Mixing
from basis.core.prior import ScorePrior
from basis.evaluate import mixtures as mix
from closed_forms import CASES, GAUSSIAN_1D, GAUSSIAN_3D, agree, build, closed_form, exact, near, posed, problem, rows

NOISE = 0.2


def test_basis_follows_the_posterior_of_a_noisy_mixture(tiled, as_sampled):
    # At level σ the annealed target is p_σ(x) N(m; A x, γ² + σ_y²), γ = ratio σ.
    parts, alphas, m = CASES["gaussian K=2 D=3"]
    sigma, ratio = 0.3, 0.5**0.5
    priors, mixture = posed(tiled, parts, m, 250)
    settings = {"levels": 1, "sigma_min": sigma, "steps": 600, "delta": 0.015 * sigma**2, "ratio": ratio, **as_sampled}
    found = basis.separate(mixture, priors, basis.WeightedSum(alphas), noise=NOISE, samples=8, seed=1, **settings)
    weights, means, H = exact(parts, alphas, m, sigma, ((ratio * sigma) ** 2 + NOISE**2) ** 0.5)
    agree(rows(found.samples), weights, means, np.linalg.inv(H))


@pytest.mark.parametrize("noise", [0.05, 0.4])
def test_the_annealed_likelihood_becomes_the_noise(noise):
    prior, mixing, m, x, A, mean, C = problem([0.7, -1.2, 0.4], distinct=True)
    for sigma in (1e-4, 0.5):
        found = basis.AnnealedPosterior(prior, mixing, m, 0.5, noise).score(x, sigma).flatten(1)
        for i in range(len(x)):
            r = m[i].numpy() - A @ x[i].flatten().numpy()
            expected = A.T @ r / ((0.5 * sigma) ** 2 + noise**2)
            near(found[i] - prior.score(x[i : i + 1], sigma).flatten(), expected)
            if sigma < 0.01:
                near(found[i], closed_form(x[i].flatten().numpy(), m[i].numpy(), A, mean, C, 0.0, noise))


@pytest.mark.parametrize("alphas", [[1.0, 1.0], [1.0, -0.5]], ids=str)
def test_samples_by_moment_matching_have_the_moments_of_the_noisy_posterior(alphas, tiled):
    m, copies = [0.1, -0.2, 0.6], 100
    prior, mixture = tiled(build(GAUSSIAN_3D), copies), torch.tensor(m).expand(copies, -1)
    way = {"posterior": "mmps", "eta": 1.0, "steps": 80}
    found = basis.separate(mixture, prior, basis.WeightedSum(alphas), "sample", noise=NOISE, samples=20, seed=0, **way)
    _, means, H = exact([GAUSSIAN_3D] * 2, alphas, m, 0.0, NOISE)
    x, covariance = rows(found.samples), np.linalg.inv(H[0])
    assert np.abs((x.mean(0) - means[0]) / np.sqrt(covariance.diagonal() / len(x))).max() < 5
    np.testing.assert_allclose(x.var(0), covariance.diagonal(), rtol=0.15)


@pytest.mark.parametrize("alphas", [[1.0, 1.0], [0.3, 0.7]], ids=str)
def test_samples_by_projection_have_the_noise_in_their_mixture(alphas):
    # Where the prior is flat, p(A x | m) is N(m, σ_y²): the samples are spread as the noise is, not on the mixture.
    copies, mixing = 200, basis.WeightedSum(alphas)
    flat = basis.GaussianMixture([1.0], torch.full((1, copies), 0.5), 1e6 * torch.eye(copies)[None])
    mixture = torch.full((copies,), 0.4)
    for balanced in (False, True):
        found = basis.separate(
            mixture, flat, mixing, "sample", noise=NOISE, samples=20, steps=100, eta=1.0, balanced=balanced
        )
        sums = mixing(found.samples[0]).flatten().double()
        assert abs(sums.mean() - 0.4) < 5 * NOISE / len(sums) ** 0.5
        assert sums.std().item() == pytest.approx(NOISE, rel=0.08)


@pytest.fixture(scope="module")
def noisy():
    """A mixture of two digits with noise, (1, 1, 28, 28), and the digits."""
    truth = torch.tensor(np.load(basis.example("two-a"))["sources"]).float()[None] / 255
    noise = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return truth.sum(1) + 0.1 * noise, truth


WAYS = {
    "fast": {"method": "fast"},
    "budget": {"budget": 30},
    "budget of a search": {"budget": 100},
    "quality": {"method": "quality", "candidates": 2, "steps": 20},
    "moment matching": {"method": "sample", "posterior": "mmps", "steps": 20, "iterations": 2},
    "best_of": {"method": "best_of", "inner": "sample", "steps": 10, "samples": 2, "sigma_max": 1.0, "bounded": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_leaves_the_noise_out_of_the_sources(way, noisy):
    mixture, truth = noisy
    prior, mixing = basis.load_prior("mnist"), basis.WeightedSum([1.0, 1.0])
    found = basis.separate(mixture, prior, mixing, noise=0.1, **WAYS[way])
    exactly = basis.separate(mixture.clamp(0, 2), prior, mixing, **WAYS[way])
    assert exactly.residual.item() < 1e-6
    assert 0.005 < found.residual.item() < 0.02  # the noise has 0.01
    assert basis.psnr(found, truth).item() > basis.psnr(exactly, truth).item() + 2


@pytest.mark.parametrize("name", ["paper", "released-mnist", "released-cifar10"])
def test_langevin_presets_take_noise(name, noisy):
    few = {"levels": 3, "steps": 4}
    mixture = noisy[0].clamp(0, 2)
    prior, mixing = basis.load_prior("mnist"), basis.WeightedSum([1.0, 1.0])
    *_, exact_end = basis.stream(mixture, prior, mixing, name, **few)
    run = basis.stream(mixture, prior, mixing, name, noise=0.1, **few)
    *_, last = run
    assert not torch.equal(last.x, exact_end.x)
    assert run.result.residual.item() > 1e-3  # not projected


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("average", {}),
        ("blind", {}),
        ("sample", {"posterior": "msdm"}),
        ("sample", {"posterior": "unknown_weights"}),
        ("best_of", {"inner": "average"}),
    ],
)
def test_methods_that_know_no_noise_refuse_it(method, settings, noisy):
    with pytest.raises(basis.UsageError, match=f"method {method} takes exact mixtures, got noise 0.1"):
        basis.separate(noisy[0], basis.load_prior("mnist"), basis.WeightedSum([1, 1]), method, noise=0.1, **settings)


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf"), "loud", True])
def test_noise_is_a_standard_deviation(noise, noisy):
    with pytest.raises(basis.UsageError, match="noise must be a standard deviation of at least 0"):
        basis.separate(noisy[0], basis.load_prior("mnist"), basis.WeightedSum([1, 1]), "fast", noise=noise)


@pytest.mark.parametrize("method", ["best_of", "search"])
def test_the_choice_among_candidates_weighs_how_well_they_explain_a_noisy_mixture(method):
    # log p(x | m) = log p(x) - ‖m - g(x)‖² / 2σ_y² + constant, with the exact density of a Gaussian prior.
    settings = {"inner": "sample"} if method == "best_of" else {"candidates": 6, "batch": 6, "agree": 7, "mean": False}
    m, noise = torch.tensor([[0.9]]), 0.05
    way = {"posterior": "mmps", "steps": 10, "eta": 1.0, **settings}
    samples = 6 if method == "best_of" else 1
    prior = build(GAUSSIAN_1D)
    found = basis.separate(m, prior, basis.WeightedSum([1.0, 0.5]), method, noise=noise, samples=samples, **way)
    x = found.samples[0, found.choice[0]]
    fit = (m - basis.WeightedSum([1.0, 0.5])(x[None])).square().sum() / (2 * noise**2)
    expected = prior.log_prob(x, 0.01).sum() - fit
    assert found.scores.max().item() == pytest.approx(expected.item(), abs=1e-3)


# The range of values


class Images(ScorePrior):
    """A prior of images in [0, 1] that says nothing else."""

    def __init__(self):
        super().__init__((1, 4, 4), data_range=(0.0, 1.0))

    def score(self, x, sigma):
        return torch.zeros_like(x)


class Differences(Mixing):
    """Each source's differences of neighbours: between -1 and 1 for a constant image's 0."""

    sources = 1

    def forward(self, x):
        return x[:, 0] - x[:, 0].roll(1, -1)


QUICK = {"method": "sample", "steps": 1, "assess": False}


@pytest.mark.parametrize(
    ("mixing", "low", "high"),
    [
        (basis.WeightedSum([1.0] * 9), 0.0, 9.0),
        (basis.WeightedSum([1.0] * 40), 0.0, 40.0),
        (basis.WeightedSum([1.0, -1.0] * 10), -10.0, 10.0),
        (basis.WeightedSum([0.25, 0.75]), 0.0, 1.0),
        (basis.Clipped([1.0] * 9, high=3.0), 0.0, 3.0),
        (basis.Clipped([1.0] * 12 + [-1.0] * 4, low=-2.0, high=30.0), -2.0, 12.0),
        (Differences(), -1.0, 1.0),
    ],
    ids=lambda value: f"{type(value).__name__} of {value.sources}" if isinstance(value, Mixing) else None,
)
def test_the_range_is_checked_for_any_number_of_sources(mixing, low, high):
    width = high - low
    for inside in (low - 0.05 * width, high + 0.05 * width):
        basis.separate(torch.full((1, 4, 4), inside), Images(), mixing, **QUICK)
    for outside in (low - 0.15 * width, high + 0.15 * width, 255.0):
        m = torch.full((1, 4, 4), (low + high) / 2)
        m[0, 0, 0] = outside
        with pytest.raises(basis.DataError, match=f"expected {low:.3g} to {high:.3g}"):
            basis.separate(m, Images(), mixing, **QUICK)


def test_the_range_leaves_room_for_noise():
    mixing, m = basis.WeightedSum([1.0, 1.0]), torch.ones(1, 4, 4)
    m[0, 0, 0] = -0.418
    with pytest.raises(basis.DataError, match=r"values from -0\.418 to 1, expected 0 to 2.*or its noise"):
        basis.separate(m, Images(), mixing, **QUICK)
    assert basis.separate(m, Images(), mixing, noise=0.1, **QUICK).residual.isfinite()
    m[0, 0, 0] = 200.0
    with pytest.raises(basis.DataError, match=r"and noise of 0\.1"):
        basis.separate(m, Images(), mixing, noise=0.1, **QUICK)


# The command line


def test_noise_on_the_command_line(run_basis, noisy, tmp_path):
    mixture, _ = noisy
    np.save(tmp_path / "sum.npy", mixture[0].numpy())
    way = ["--method", "fast", "--set", "steps=3", "--out", tmp_path / "out"]
    assert run_basis("separate", tmp_path / "sum.npy", *way)[0] == 1  # values from -0.3
    assert run_basis("separate", tmp_path / "sum.npy", *way, "--noise", "0.1")[0] == 0
    facts = json.loads((tmp_path / "out" / "sum" / "result.json").read_text())
    found = basis.separate(mixture, basis.load_prior("mnist"), basis.WeightedSum([1, 1]), "fast", steps=3, noise=0.1)
    assert facts["noise"] == 0.1
    assert facts["residual"] == pytest.approx(found.residual.item(), rel=1e-4)
    code, _, error = run_basis("separate", tmp_path / "sum.npy", *way, "--set", "noise=0.1")
    assert (code, "give --noise 0.1" in error) == (2, True)
    code, _, error = run_basis("separate", tmp_path / "sum.npy", "--method", "average", "--noise", "0.1")
    assert (code, "takes exact mixtures" in error) == (2, True)


def test_noise_of_an_image_is_in_its_own_units(run_basis, noisy, tmp_path):
    # An image holds the mean of its two sources, so that noise of 0.1 in it is 0.2 in their sum.
    from PIL import Image

    grey = Image.fromarray((noisy[0][0, 0].clamp(0, 2) / 2 * 255).round().byte().numpy())
    grey.save(tmp_path / "mean.png")
    way = ["--method", "fast", "--set", "steps=3", "--out", tmp_path / "out", "--noise", "0.1"]
    assert run_basis("separate", tmp_path / "mean.png", *way)[0] == 0
    facts = json.loads((tmp_path / "out" / "mean" / "result.json").read_text())
    m = torch.tensor(np.array(grey)).float()[None] / 255 * 2
    found = basis.separate(m, basis.load_prior("mnist"), basis.WeightedSum([1, 1]), "fast", steps=3, noise=0.2)
    assert facts["residual"] == pytest.approx(found.residual.item(), rel=1e-3)


class Few:
    """A data set of a few images."""

    spec, groups, data_range = "few", ((0,), (1,)), (0.0, 1.0)

    def images(self, split):
        return torch.randint(0, 256, (20, 1, 28, 28), generator=torch.Generator().manual_seed(0)).byte(), torch.zeros(
            20
        )

    def values(self, images):
        return images.float() / 255


def test_drawn_mixtures_may_have_noise(tmp_path, run_basis):
    plain, drawn = (mix.draw_mixtures(Few(), n=4, noise=noise) for noise in (0.0, 0.3))
    assert torch.equal(plain.sources, drawn.sources)
    assert (drawn.mixture - plain.mixture).std().item() == pytest.approx(0.3, rel=0.05)
    some = mix.draw_mixtures(Few(), noise=0.3, index=[2])
    torch.testing.assert_close(some.mixture[0], drawn.mixture[2])  # of each mixture by its number
    mix.save_mixtures(drawn, tmp_path / "pairs")
    assert mix.load_mixtures(tmp_path / "pairs").noise == 0.3
    figures = tmp_path / "figures.json"
    way = ["--method", "fast", "--set", "steps=2", "--n", "4"]
    assert run_basis("evaluate", tmp_path / "pairs", *way, "--json", figures)[0] == 0
    assert json.loads(figures.read_text())["noise"] == 0.3
    code, _, error = run_basis("evaluate", tmp_path / "pairs", *way, "--noise", "0.1")
    assert (code, "have noise 0.3, got --noise 0.1" in error) == (2, True)
    with pytest.raises(basis.UsageError, match="noise of at least 0"):
        mix.draw_mixtures(Few(), n=4, noise=-1.0)
