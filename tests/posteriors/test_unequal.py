"""Unequal weights: noise levels of their own, common noise that is undone, the right order, and presets that say so."""

import numpy as np
import pytest
import torch

import basis
from basis.core.mixing import scales, unequal
from basis.core.noise import correlated
from basis.core.prior import ScorePrior
from basis.io.presets import UNEQUAL, resolve
from basis.priors.wrappers.own_levels import OwnLevels
from closed_forms import closed_form, near, problem

WEIGHTS = [[0.3, 0.7], [0.45, 0.55], [0.5, -1.5], [0.2, 0.3, 0.5]]


class Flat(ScorePrior):
    """A prior that finds every example as likely: its denoised estimate is x itself."""

    def score(self, x, sigma):
        return torch.zeros_like(x)


@pytest.mark.parametrize("alphas", WEIGHTS, ids=str)
def test_every_source_has_the_same_noise_in_the_mixture(alphas):
    alphas = torch.tensor(alphas)
    found = scales(alphas)
    torch.testing.assert_close(alphas * found, (alphas * found)[:1].expand(len(alphas)))
    assert found.abs().mean().item() == pytest.approx(1)


def test_equal_weights_have_equal_levels():
    assert torch.equal(scales(torch.tensor([0.5, 0.5, 0.5])), torch.ones(3))
    found = [unequal(torch.tensor(alphas)) for alphas in ([1.0, 1.0], [1.0], [0.5, 0.501], [1.0, -1.0])]
    assert found == [False, False, True, True]


def test_tiny_weights_keep_the_levels_finite():
    assert scales(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([40 / 21, 2 / 21])


@pytest.mark.parametrize("alphas", WEIGHTS, ids=str)
def test_common_noise_is_undone_on_the_mixture(alphas):
    # Where the prior says nothing, the sources are found again exactly from noise that they have in common.
    mixing, scale = basis.WeightedSum(alphas), scales(torch.tensor(alphas).double())
    truth = torch.rand(2, len(alphas), 5, generator=torch.Generator().manual_seed(0)).double()
    z = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)).double()
    posterior = basis.DDNM(Flat((len(alphas), 5)), mixing, mixing(truth))
    x = truth + 0.7 * scale[:, None] * correlated(z, 1.0)
    torch.testing.assert_close(OwnLevels(posterior, scale).denoise(x, 0.7), truth)
    assert (posterior.denoise(truth + 0.7 * correlated(z, 1.0), 0.7) - truth).abs().max() > 0.01


@pytest.mark.parametrize("distinct", [False, True])
def test_a_product_asks_each_source_at_its_own_level(distinct):
    prior, _, _, x, *_ = problem([1.0, 1.0, 1.0], distinct=distinct)
    levels = torch.tensor([[0.1, 0.5, 2.0]] * 4).double() * torch.tensor([1.0, 2.0, 3.0, 4.0]).double()[:, None]
    found = prior.score(x, levels)
    for k, i in enumerate(prior.order):
        torch.testing.assert_close(found[:, k], prior.distinct[i].score(x[:, k], levels[:, k]))


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("alphas", [[0.3, 0.7], [0.7, -1.2, 0.4]], ids=str)
def test_moment_matching_at_own_levels_is_exact_for_gaussians(alphas, noise):
    prior, mixing, m, x, A, mean, C = problem(alphas, distinct=True)
    scale = scales(torch.tensor(alphas).double())
    posterior = OwnLevels(basis.MMPS(prior, mixing, m, noise, iterations=9), scale)
    found = posterior.score(x, 0.4).flatten(1)
    # In units of x_k / |s_k| it is the posterior of a rescaled prior with one level for all.
    S = np.kron(np.diag(scale.abs().numpy()), np.eye(3))
    inverse = np.linalg.inv(S)
    for i in range(len(x)):
        y = inverse @ x[i].flatten().numpy()
        expected = closed_form(y, m[i].numpy(), A @ S, inverse @ mean, inverse @ C @ inverse, 0.4, noise)
        near(found[i], S @ expected)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_projection_at_own_levels_is_its_equation(noise):
    prior, mixing, m, x, A, *_ = problem([0.3, 0.7], distinct=True)
    levels = torch.tensor([[0.5, 0.2]]).double().expand(len(x), -1)
    clean = prior.denoise(x, levels).flatten(1).numpy()
    V = np.kron(np.diag([0.25, 0.04]), np.eye(3))
    expected = clean + (m.numpy() - clean @ A.T) @ np.linalg.inv(A @ V @ A.T + noise**2 * np.eye(3)) @ A @ V
    near(basis.DDNM(prior, mixing, m, noise).denoise(x, levels).flatten(1), expected)


class Says(ScorePrior):
    """A prior whose denoised estimate is given."""

    def __init__(self, clean):
        super().__init__(clean.shape[1:], data_range=(0.0, 1.0))
        self.clean, self.order = clean, [0] * clean.shape[1]

    def score(self, x, sigma):
        return (self.clean - x) / sigma**2


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_sources_that_are_sure_move_least(noise):
    # x̂ = (0.5, 0.9): variances min(0.04, 0.25) and min(0.04, 0.09), 0.04 each; at x̂ = 1 the second has 0 + 0.1 · 0.04.
    for second, v in ((0.9, 0.044), (1.0, 0.004)):
        posterior = basis.DDNM(
            Says(torch.tensor([[[0.5], [second]]])),
            basis.WeightedSum([0.4, 0.6]), torch.tensor([[0.7]]), noise, bounded=True, bounded_variance=True,
        )  # fmt: skip
        r, first = 0.7 - 0.2 - 0.6 * second, 0.044
        share = r / (0.16 * first + 0.36 * v + noise**2)
        expected = [0.5 + 0.4 * first * share, second + 0.6 * v * share]
        assert posterior.denoise(torch.zeros(1, 2, 1), 0.2).flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_sources_change_places_where_that_explains_the_mixture():
    generator = torch.Generator().manual_seed(0)
    truth, mixing = torch.rand(3, 3, 16, generator=generator), basis.WeightedSum([0.25, 0.3, 0.45])
    m = mixing(truth)
    other = truth[:, [2, 1, 0]]
    found = basis.DDNM(Says(other), mixing, m, reorder=True).denoise(truth, 0.5)
    torch.testing.assert_close(found, truth, atol=1e-5, rtol=0)
    own = Says(other)
    own.order = [0, 1, 2]  # sources of three priors stay where they are
    assert (basis.DDNM(own, mixing, m, reorder=True).denoise(truth, 0.5) - truth).abs().max() > 0.1


def test_presets_and_budgets_depend_on_the_weights():
    prior = basis.load_prior("mnist")
    pair = [prior, prior]
    for way in (
        {"method": "fast"},
        {"method": "quality"},
        {"method": None, "budget": 40},
        {"method": None, "budget": 100},
    ):
        plain = resolve(way["method"], {}, way.get("budget"), pair)[1]
        for alphas, expected in (([0.4, 0.6], plain | UNEQUAL), ([1.0, -1.0], plain | UNEQUAL), ([0.5, 0.5], plain)):
            assert resolve(way["method"], {}, way.get("budget"), pair, basis.WeightedSum(alphas))[1] == expected
    assert resolve("paper", {}, None, pair, basis.WeightedSum([0.4, 0.6])) == ("basis", {})
    assert resolve("fast", {}, None, pair, basis.Clipped([0.4, 0.6]))[1] == resolve("fast", {})[1]
    assert not resolve("fast", {"reorder": False}, None, pair, basis.WeightedSum([0.4, 0.6]))[1]["reorder"]
    for other in ({"posterior": "mmps"}, {"sampler": "heun"}, {"eta": 1.0}):  # which do not go with UNEQUAL
        assert resolve("fast", other, None, pair, basis.WeightedSum([0.4, 0.6]))[1].keys().isdisjoint(UNEQUAL)


@pytest.fixture(scope="module")
def digits():
    """Seven pairs of digits, (7, 2, 1, 28, 28), of the bundled examples."""
    names = ("two-a", "two-b", "two-c", "three-a", "three-b", "four-a")
    stacks = [torch.tensor(np.load(basis.example(name))["sources"]).float() / 255 for name in names]
    return torch.stack([stack[i : i + 2] for stack in stacks for i in range(0, len(stack) - 1, 2)])


@pytest.mark.parametrize("alphas", [[0.3, 0.7], [0.45, 0.55], [0.6, 0.4]], ids=str)
def test_digits_are_found_in_their_order(alphas, digits):
    """20 evaluations a source; with the settings for equal weights, half of the pairs come out in the other order."""
    mixing = basis.WeightedSum(alphas)
    found = basis.separate(mixing(digits), basis.load_prior("mnist"), mixing, "fast", seed=0)
    error = (found.sources - digits).flatten(2).square().mean(2)
    assert (-10 * error.log10()).mean() > 28
    assert (error.sum(1) < (found.sources.flip(1) - digits).flatten(2).square().mean(2).sum(1)).sum() >= 6
    assert found.residual.max() < 1e-10


def test_what_balanced_noise_needs():
    with pytest.raises(basis.UsageError, match="balanced noise goes with posterior ddnm"):
        basis.separate(torch.zeros(1, 28, 28), basis.load_prior("mnist"), basis.WeightedSum([1, 2]), "sample",
                       posterior="msdm", balanced=True)  # fmt: skip
    with pytest.raises(basis.UsageError, match="knows any noise level"):
        basis.separate(torch.zeros(1, 28, 28), basis.load_prior("ncsn-mnist"), basis.WeightedSum([1, 2]), "sample",
                       balanced=True)  # fmt: skip
    with pytest.raises(basis.UsageError, match="need a weighted sum, got Clipped"):
        basis.separate(torch.zeros(1, 28, 28), basis.load_prior("mnist"), basis.Clipped([1, 2]), "sample", reorder=True)
