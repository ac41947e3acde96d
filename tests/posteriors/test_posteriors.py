"""Posteriors against closed forms: for Gaussian priors p_σ(x | m) is a Gaussian that one can write down."""

import numpy as np
import pytest
import torch

import basis
from basis.core.posterior import POSTERIORS
from closed_forms import closed_form, gaussian_of, near, problem


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5, 3.0])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.4])
@pytest.mark.parametrize(("alphas", "distinct"), [([1.0, 1.0], False), ([0.7, -1.2, 0.4], True), ([1.0, 0.5], True)])
def test_moment_matching_is_exact_for_gaussians(alphas, distinct, noise, sigma):
    prior, mixing, m, x, A, mean, C = problem(alphas, distinct=distinct)
    posterior = basis.MMPS(prior, mixing, m, noise, iterations=9)
    found = posterior.score(x, sigma).flatten(1)
    for i in range(len(x)):
        expected = closed_form(x[i].flatten().numpy(), m[i].numpy(), A, mean, C, sigma, noise)
        near(found[i], expected)


def test_each_example_has_its_own_levels_and_noise():
    prior, mixing, m, x, A, mean, C = problem([1.0, 0.5], count=3)
    sigma, noise = torch.tensor([0.1, 0.4, 2.0]).double(), torch.tensor([0.3, 0.0, 0.1]).double()
    found = basis.MMPS(prior, mixing, m, noise, iterations=9).score(x, sigma)
    projected = basis.DDNM(prior, mixing, m, noise).score(x, sigma)
    for i, (s, y) in enumerate(zip(sigma.tolist(), noise.tolist(), strict=True)):
        expected = closed_form(x[i].flatten().numpy(), m[i].numpy(), A, mean, C, s, y)
        near(found[i].flatten(), expected)
        alone = basis.DDNM(prior, mixing, m[i : i + 1], y).score(x[i : i + 1], s)
        torch.testing.assert_close(projected[i : i + 1], alone)


def test_the_comparison_notices_few_iterations_and_wrong_noise():
    prior, mixing, m, x, A, mean, C = problem([0.7, -1.2, 0.4], distinct=True)
    expected = closed_form(x[0].flatten().numpy(), m[0].numpy(), A, mean, C, 0.5, 0.1)
    for noise, iterations in ((0.1, 1), (0.1, 2), (0.11, 9)):
        found = basis.MMPS(prior, mixing, m, noise, iterations).score(x, 0.5)[0].flatten()
        assert np.abs(found.numpy() - expected).max() > 1e-3


def test_moment_matching_colours_a_grey_image():
    prior, mean, C = gaussian_of(3, 7)
    w, sigma = np.array([0.3, 0.6, 0.1]), 0.2
    stack = Reshaped(prior, (3, 1, 1))
    x, m = torch.rand(2, 1, 3, 1, 1).double(), torch.rand(2, 1, 1, 1).double()
    posterior = basis.MMPS(basis.Product([stack]), basis.Grayscale(w), m, 0.1)
    for i in range(2):
        expected = closed_form(x[i].flatten().numpy(), m[i].flatten().numpy(), w[None], mean, C, sigma, 0.1)
        near(posterior.score(x, sigma)[i].flatten(), expected)


class Reshaped(basis.ScorePrior):
    """A prior over flat examples, over examples of another shape."""

    def __init__(self, prior, shape):
        super().__init__(shape)
        self.prior = prior

    def score(self, x, sigma):
        return self.prior.score(x.flatten(1), sigma).unflatten(1, self.shape)


def test_moment_matching_with_a_network_is_its_equation(edm):
    # J by automatic differentiation as a dense matrix, symmetrised as the equation has it; noise makes the solve easy.
    edm = edm.double()
    mixing, sigma, noise = basis.WeightedSum([1.0, 1.0]), 0.5, 0.5
    generator = torch.Generator().manual_seed(0)
    x, m = (torch.rand(1, *shape, generator=generator).double() for shape in ((2, 1, 8, 8), (1, 8, 8)))
    clean = edm.denoise(x[0], sigma)
    J = torch.zeros(128, 128).double()
    for k in range(2):
        block = torch.autograd.functional.jacobian(lambda y: edm.denoise(y[None], sigma).flatten(), x[0, k])
        J[64 * k : 64 * (k + 1), 64 * k : 64 * (k + 1)] = block.reshape(64, 64).T
    A = torch.cat([torch.eye(64), torch.eye(64)], 1).double()
    v = torch.linalg.solve(noise**2 * torch.eye(64) + sigma**2 * A @ J @ A.T, (m - clean.sum(0)).flatten())
    found = basis.MMPS(basis.Product([edm, edm]), mixing, m, noise, iterations=30).denoise(x, sigma)
    expected = clean.flatten() + sigma**2 * J @ A.T @ v
    assert (J - J.T).abs().max() > 1e-6  # an untrained network's is not symmetric: conjugate gradients stay close
    torch.testing.assert_close(found.flatten(), expected.float().double(), rtol=0.02, atol=0.02)
    assert (expected - clean.flatten()).abs().max() > 0.1


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("sigma", [0.05, 1.0])
def test_projection_is_its_equation(sigma, noise):
    prior, mixing, m, x, A, *_ = problem([0.7, -1.2, 0.4], distinct=True)
    clean = prior.denoise(x, sigma).flatten(1).numpy()
    found = basis.DDNM(prior, mixing, m, noise).denoise(x, sigma).flatten(1).numpy()
    inverse = np.linalg.inv(sigma**2 * A @ A.T + noise**2 * np.eye(3))  # a dense matrix, for any A
    near(found, clean + (m.numpy() - clean @ A.T) @ inverse * sigma**2 @ A)
    if not noise:
        near(found @ A.T, m)
        near(found, clean + (m.numpy() - clean @ A.T) @ np.linalg.pinv(A).T)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_projection_is_exact_where_the_prior_is_flat(noise):
    wide = basis.GaussianMixture([1.0], torch.full((1, 2), 0.5), 1e4 * torch.eye(2)[None]).double()
    m, x = torch.tensor([[0.8, 1.4]]).double(), torch.tensor([[[0.1, 0.9], [0.4, 0.2]]]).double()
    A, mean, C = np.kron([1.0, 0.5], np.eye(2)), np.full(4, 0.5), 1e4 * np.eye(4)
    found = basis.DDNM(basis.Product([wide] * 2), basis.WeightedSum([1.0, 0.5]), m, noise).score(x, 0.2)
    expected = closed_form(x.flatten().numpy(), m[0].numpy(), A, mean, C, 0.2, noise)
    np.testing.assert_allclose(found.flatten(), expected, rtol=1e-4)


def test_the_bias_of_projection_by_hand():
    # One source seen with noise: v = σ² = σ_y² = 1 leaves it variance 1/2, so that 1/3 of the residual 2 - x̂ is its;
    # projection takes σ² = 1 for its variance, hence 1/2.
    unit = basis.GaussianMixture([1.0], [[0.0]], [[[1.0]]]).double()
    args = basis.Product([unit]), basis.WeightedSum([1.0]), torch.tensor([[2.0]]).double(), 1.0
    x = torch.tensor([[[1.0]]]).double()
    assert basis.DDNM(*args).denoise(x, 1.0).item() == pytest.approx(0.5 + 1.5 / 2)
    assert basis.MMPS(*args).denoise(x, 1.0).item() == pytest.approx(0.5 + 1.5 / 3)


def test_projection_leaves_saturated_pixels_free():
    tight = basis.GaussianMixture([1.0], torch.tensor([[0.9, 0.3]]), 1e-6 * torch.eye(2)[None])
    m = torch.tensor([[1.0, 0.8]])
    found = basis.DDNM(basis.Product([tight] * 2), basis.Clipped([1.0, 1.0]), m).denoise(m.expand(1, 2, 2), 0.1)
    torch.testing.assert_close(found, torch.tensor([[[0.9, 0.4], [0.9, 0.4]]]), atol=1e-4, rtol=0)


class Blur(basis.Mixing):
    """A map that does not treat all pixels alike: J Jᵀ is no multiple of the identity."""

    sources = 1

    def forward(self, x):
        return x[:, 0] + 0.5 * x[:, 0].roll(1, -1)


def test_projection_of_other_mixings():
    prior, mean, C = gaussian_of(4, 3)
    stack, m = basis.Product([prior.float()]), torch.rand(2, 4)
    found = basis.DDNM(stack, Blur(), m).denoise(torch.rand(2, 1, 4), 0.3)
    torch.testing.assert_close(Blur()(found), m, atol=1e-5, rtol=0)
    with pytest.raises(basis.UsageError, match=r"treats all pixels alike, Blur does not.*annealed"):
        basis.DDNM(stack, Blur(), m, noise=0.1)
    x = torch.rand(2, 1, 4)
    A = Blur()(torch.eye(4)[:, None]).numpy().T
    found = basis.MMPS(stack, Blur(), m, 0.2, iterations=9).score(x, 0.3)
    expected = closed_form(x[0].flatten().numpy(), m[0].numpy(), A, mean, C, 0.3, 0.2)
    np.testing.assert_allclose(found[0].flatten(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("alphas", [[1.0, 1.0], [0.7, -1.2, 0.4]])
def test_dirac_is_the_gradient_of_its_target(alphas):
    prior, mixing, m, x, *_ = problem(alphas, distinct=True)
    others = x[:, :-1].clone().requires_grad_()
    last = (m - sum(a * others[:, k] for k, a in enumerate(alphas[:-1]))) / alphas[-1]
    parts = [*others.unbind(1), last]
    total = sum(one.log_prob(part, 0.4).sum() for one, part in zip(prior.distinct, parts, strict=True))
    posterior = basis.MSDM(prior, mixing, m)
    found = posterior.score(x, 0.4)
    torch.testing.assert_close(found[:, :-1], torch.autograd.grad(total, others)[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mixing(posterior.denoise(x, 0.4)), m)
    elsewhere = torch.cat([x[:, :-1], x[:, -1:] + 7], 1)
    torch.testing.assert_close(posterior.denoise(elsewhere, 0.4), posterior.denoise(x, 0.4))


def test_the_curvature_of_dirac_is_reached_where_the_prior_is_narrow():
    tight = basis.GaussianMixture([1.0], [[0.5]], [[[1e-9]]]).double()
    mixing, m = basis.WeightedSum([0.7, -1.2, 0.4]), torch.tensor([[0.3]]).double()
    posterior = basis.MSDM(basis.Product([tight] * 3), mixing, m.expand(4, 1))
    x = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()[..., None]
    H = (posterior.score(x, 0.4)[1:3, :2] - posterior.score(x, 0.4)[:1, :2])[..., 0]
    assert torch.linalg.eigvalsh(-H)[-1].item() == pytest.approx(posterior.lipschitz(0.4), rel=1e-4)


REFUSED = {
    "projection, noise": ("ddnm", basis.WeightedSum([1.0, 1.0]), {"noise": -0.1}, "standard deviation"),
    "projection, nan": ("ddnm", basis.WeightedSum([1.0, 1.0]), {"noise": float("nan")}, "standard deviation"),
    "moments, noise": ("mmps", basis.WeightedSum([1.0, 1.0]), {"noise": -0.1}, "standard deviation"),
    "moments, iterations": (
        "mmps",
        basis.WeightedSum([1.0, 1.0]),
        {"iterations": 0},
        r"at least 1\), got 0",
    ),
    "moments, half": ("mmps", basis.WeightedSum([1.0, 1.0]), {"iterations": 1.5}, r"at least 1\), got 1\.5"),
    "moments, clipped": ("mmps", basis.Clipped([1.0, 1.0]), {}, "needs a linear mixing, Clipped is none"),
    "dirac, clipped": ("msdm", basis.Clipped([1.0, 1.0]), {}, "needs a weighted sum.*got Clipped"),
    "dirac, last": ("msdm", basis.WeightedSum([1.0, 0.0]), {}, "whose last weight is not 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_suit_is_refused(case, gaussian):
    name, mixing, settings, message = REFUSED[case]
    with pytest.raises(basis.UsageError, match=message):
        POSTERIORS.get(name)(basis.Product([gaussian] * 2), mixing, torch.zeros(1, 1, 2, 2), **settings)


class Numb(basis.ScorePrior):
    def score(self, x, sigma):
        return torch.zeros_like(x)


def test_priors_without_derivatives_are_refused():
    posterior = basis.MMPS(Numb((2, 3)), basis.WeightedSum([1.0, 1.0]), torch.zeros(1, 3))
    with pytest.raises(basis.UsageError, match="gives no derivatives"):
        posterior.score(torch.zeros(1, 2, 3), 0.1)


@pytest.mark.parametrize("name", POSTERIORS.names())
def test_every_posterior_is_a_prior_for_each_example(name, gaussian):
    mixing, prior = basis.WeightedSum([1.0, 0.5]), basis.Product([gaussian] * 2)
    x, m = torch.rand(3, 2, 1, 2, 2), torch.rand(3, 1, 2, 2)
    score = POSTERIORS.get(name)(prior, mixing, m).score(x, 0.3)
    for i in range(3):
        alone = POSTERIORS.get(name)(prior, mixing, m[i : i + 1]).score(x[i : i + 1], 0.3)
        torch.testing.assert_close(score[i : i + 1], alone, rtol=1e-4, atol=1e-4)
    assert not score.requires_grad
    # As σ falls on a point of the mixture, only the prior pulls.
    exact = mixing.project(x, m)
    pull = POSTERIORS.get(name)(prior, mixing, m).denoise(exact, 1e-3) - exact
    assert pull.abs().max() < 1e-3


@pytest.mark.parametrize("alphas", [[1.0, 1.0], [0.5, -1.0, 2.0]])
def test_bounded_projection_meets_mixture_and_bounds(alphas, edm):
    prior, mixing = basis.Product([edm] * len(alphas)), basis.WeightedSum(alphas)
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(4, len(alphas), 1, 8, 8, generator=generator).round(decimals=1)
    x, m = truth + 0.5 * torch.randn(truth.shape, generator=generator), mixing(truth)
    free = basis.DDNM(prior, mixing, m).denoise(x, 0.5)
    found = basis.DDNM(prior, mixing, m, bounded=True).denoise(x, 0.5)
    assert free.min() < -0.02
    assert (mixing(found) - m).abs().max() < 1e-5
    assert found.min() > -1e-5
    assert found.max() < 1 + 1e-5
    noisy = basis.DDNM(prior, mixing, m, noise=0.3, bounded=True).denoise(x, 0.5)
    expected = basis.DDNM(prior, mixing, m, noise=0.3).denoise(x, 0.5).clamp(0, 1)
    torch.testing.assert_close(noisy, expected, rtol=0, atol=1e-5)
