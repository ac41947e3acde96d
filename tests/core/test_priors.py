"""Priors: densities, scores and denoisers against formulae written out a second time."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import basis
from basis.core.prior import per_example
from basis.priors.edm import EDM

SIGMAS = [0.01, 0.3, 2.0]
WEIGHTS = torch.tensor([0.2, 0.5, 0.3])
MEANS = torch.tensor([[0.0, 0.5], [1.0, 0.25], [0.5, -0.75]])
COVARIANCES = torch.tensor(
    [[[0.25, 0.125], [0.125, 0.5]], [[0.5, 0.0], [0.0, 0.125]], [[0.125, -0.0625], [-0.0625, 0.25]]]
)


@pytest.fixture
def mixture():
    return basis.GaussianMixture(WEIGHTS, MEANS, COVARIANCES)


@pytest.fixture
def x():
    return torch.randn(20, 2, generator=torch.Generator().manual_seed(0))


def reference(sigma):
    covariances = COVARIANCES.double() + sigma**2 * torch.eye(2, dtype=torch.float64)
    return MixtureSameFamily(Categorical(WEIGHTS.double()), MultivariateNormal(MEANS.double(), covariances))


def responsibilities(x, sigma):
    """p(component | x), (B, J), with differences x - μ_j, (B, J, D), and inverse covariances, (J, D, D), in numpy."""
    C = COVARIANCES.double().numpy() + sigma**2 * np.eye(2)
    d = x.double().numpy()[:, None] - MEANS.double().numpy()
    P = np.linalg.inv(C)
    density = np.exp(-0.5 * np.einsum("bjd,jde,bje->bj", d, P, d)) / np.sqrt(np.linalg.det(2 * np.pi * C))
    joint = density * WEIGHTS.double().numpy()
    return joint / joint.sum(1, keepdims=True), d, P


@pytest.mark.parametrize("sigma", [0.0, *SIGMAS])
def test_mixture_density(mixture, x, sigma):
    expected = reference(sigma).log_prob(x.double())
    torch.testing.assert_close(mixture.log_prob(x, sigma).double(), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_mixture_score(mixture, x, sigma):
    r, d, P = responsibilities(x, sigma)
    expected = -np.einsum("bj,jde,bje->bd", r, P, d)
    np.testing.assert_allclose(mixture.score(x, sigma), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_denoising_is_the_conditional_expectation(mixture, x, sigma):
    # E[x₀ | x] = Σ_j p(j | x) (μ_j + C_j (C_j + σ² I)⁻¹ (x - μ_j))
    r, d, P = responsibilities(x, sigma)
    means = MEANS.double().numpy() + np.einsum("jde,jef,bjf->bjd", COVARIANCES.double().numpy(), P, d)
    expected = np.einsum("bj,bjd->bd", r, means)
    np.testing.assert_allclose(mixture.denoise(x, sigma), expected, atol=2e-5)


def test_density_integrates_to_1(mixture):
    # The trapezoid rule converges faster than any power of the spacing for a smooth, decaying integrand.
    line = torch.linspace(-6, 7, 401)
    grid = torch.cartesian_prod(line, line)
    cell = (line[1] - line[0]) ** 2
    assert mixture.log_prob(grid, 0.3).double().exp().sum().item() * cell.item() == pytest.approx(1, abs=1e-4)
    one = basis.GaussianMixture([3.0, 1.0], [[0.0], [1.0]], [[[0.1]], [[0.02]]])
    density = one.log_prob(line[:, None], torch.full((401,), 0.2)).double().exp()
    assert density.sum().item() * (line[1] - line[0]).item() == pytest.approx(1, abs=1e-5)


def test_degenerate_component():
    # No variance at all: convolution alone gives N(μ, σ² I).
    point = basis.GaussianMixture([1.0], [[0.5, 0.5]], torch.zeros(1, 2, 2))
    x = torch.tensor([[0.1, 0.9]])
    torch.testing.assert_close(point.score(x, 0.2), (0.5 - x) / 0.04)
    torch.testing.assert_close(point.denoise(x, 0.2), torch.full((1, 2), 0.5))


def test_mixture_arguments():
    for weights, covariances in [([1.0, 0.0], torch.eye(2).expand(2, 2, 2)), ([1.0, 1.0], torch.eye(2)[None])]:
        with pytest.raises(basis.UsageError, match="expected 2 positive weights and covariances"):
            basis.GaussianMixture(weights, torch.zeros(2, 2), covariances)
    for covariance in ([[1.0, 0.0], [0.0, -0.01]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]]):
        with pytest.raises(basis.UsageError, match="symmetric positive semi-definite"):
            basis.GaussianMixture([1.0], torch.zeros(1, 2), torch.tensor([covariance]))
    rounded = torch.tensor([[1.0, 1.0 + 1e-7], [1.0 + 1e-7, 1.0]])  # singular but for the last digit
    assert torch.linalg.eigvalsh(rounded.double()).min() < 0
    assert basis.GaussianMixture([1.0], torch.zeros(1, 2), rounded[None]).variances.min() == 0


def priors_of_shape_2(mixture):
    single = basis.GaussianMixture([1.0], [[0.5, 0.2]], 0.04 * torch.eye(2)[None])
    product = [mixture, single, mixture]
    return {
        "mixture": (mixture, (2,)),
        "rescaled": (basis.Rescaled(mixture, 2.0, -1.0), (2,)),
        "product": (basis.Product(product), (3, 2)),
        "folded": (basis.Product([mixture] * 3), (3, 2)),
    }


@pytest.mark.parametrize("name", ["mixture", "rescaled", "product", "folded"])
def test_a_noise_level_for_each_example(mixture, name):
    prior, shape = priors_of_shape_2(mixture)[name]
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    sigmas = torch.tensor(SIGMAS)
    for method in (prior.score, prior.denoise):
        alone = torch.cat([method(x[i : i + 1], sigma) for i, sigma in enumerate(SIGMAS)])
        torch.testing.assert_close(method(x, sigmas), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ["aaa", "aba", "bca", "abbca"])
def test_product_is_a_loop_over_sources(mixture, order):
    priors = {
        "a": mixture,
        "b": basis.GaussianMixture([1.0], [[0.5, 0.2]], 0.04 * torch.eye(2)[None]),
        "c": basis.GaussianMixture([1.0], [[-0.5, 3.0]], 0.5 * torch.eye(2)[None]),
    }
    x = torch.randn(4, len(order), 2, generator=torch.Generator().manual_seed(2))
    product = basis.Product([priors[key] for key in order])
    loop = torch.stack([priors[key].score(x[:, k], 0.3) for k, key in enumerate(order)], 1)
    torch.testing.assert_close(product.score(x, 0.3), loop, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(product.denoise(x, 0.3), x + 0.09 * loop, rtol=1e-6, atol=1e-6)
    assert product.shape == (len(order), 2)
    with pytest.raises(basis.UsageError, match=f"expected a stack of {len(order)} sources"):
        product.score(x[:, 1:], 0.3)


def test_product_evaluates_a_shared_prior_once(gaussian):
    calls = []
    gaussian.score = lambda x, sigma: calls.append(len(x)) or torch.zeros_like(x)
    basis.Product([gaussian] * 3).score(torch.zeros(2, 3, *gaussian.shape), 0.3)
    assert calls == [6]


def test_product_needs_priors_that_fit(mixture, gaussian, edm):
    for priors in ([], [mixture, gaussian], [edm, basis.Rescaled(edm, 2.0)]):
        with pytest.raises(basis.UsageError, match="priors of one shape and data range"):
            basis.Product(priors)


@pytest.mark.parametrize(("scale", "shift"), [(2.0, -1.0), (0.5, 0.25), (255.0, 0.0)])
def test_rescaled_gaussian(scale, shift):
    # y ~ N(μ, C) and y = scale · x + shift: x ~ N((μ - shift) / scale, C / scale²).
    mean, covariance = torch.tensor([0.5, 0.25]), torch.tensor([[0.25, 0.125], [0.125, 0.5]])
    rescaled = basis.Rescaled(basis.GaussianMixture([1.0], mean[None], covariance[None]), scale, shift)
    direct = basis.GaussianMixture([1.0], (mean[None] - shift) / scale, covariance[None] / scale**2)
    x = (torch.randn(10, 2, generator=torch.Generator().manual_seed(3)) - shift) / scale
    for sigma in SIGMAS:
        torch.testing.assert_close(rescaled.score(x, sigma), direct.score(x, sigma), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(rescaled.denoise(x, sigma), direct.denoise(x, sigma), rtol=1e-4, atol=1e-5)


def test_rescaled_support(edm):
    assert basis.Rescaled(edm, 0.5, 0.5).data_range == (-1.0, 1.0)
    for scale in (0.0, -1.0):
        with pytest.raises(basis.UsageError, match="scale must be positive"):
            basis.Rescaled(edm, scale)


def test_bounded_keeps_the_denoised_estimate_in_the_support(edm):
    x = 3 * torch.randn(4, *edm.shape, generator=torch.Generator().manual_seed(5))
    sigma = torch.tensor([0.05, 0.3, 1.0, 2.0])
    bounded, s2 = basis.Bounded(edm), (sigma**2)[:, None, None, None]
    wanted = edm.denoise(x, sigma).clamp(0, 1)
    assert (edm.denoise(x, sigma) != wanted).any()
    torch.testing.assert_close(bounded.denoise(x, sigma), wanted)
    torch.testing.assert_close(x + s2 * bounded.score(x, sigma), wanted, rtol=0, atol=1e-5)
    inside = 0.5 + 0.01 * x  # where the estimate is in range, nothing changes
    wide = basis.Bounded(basis.Rescaled(edm, 0.01, 0.5))
    torch.testing.assert_close(wide.score(inside, 1.0), basis.Rescaled(edm, 0.01, 0.5).score(inside, 1.0))
    with pytest.raises(basis.UsageError, match="which values"):
        basis.Bounded(basis.GaussianMixture([1.0], [[0.0]], [[[1.0]]]))


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0])
def test_untrained_network_is_a_gaussian_over_pixels(arguments, sigma):
    # With F = 0 what is left of the preconditioning is the posterior mean of pixels drawn from N(mean, std²).
    prior = EDM(**arguments)
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        found = prior.denoise(x, sigma)
    expected = (0.25**2 * x + sigma**2 * 0.3) / (0.25**2 + sigma**2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0])
def test_network_preconditioning(edm, sigma):
    # D = μ + c_skip (x - μ) + c_out F(c_in (x - μ), ln σ / 4), Karras et al. 2022, table 1.
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    y, total = x - 0.3, math.hypot(sigma, 0.25)
    F = edm.network(y / total, torch.tensor([math.log(sigma) / 4]))
    assert F.std() > 0.01
    expected = 0.3 + 0.25**2 / total**2 * y + sigma * 0.25 / total * F
    torch.testing.assert_close(edm.denoise(x, sigma), expected, rtol=0, atol=1e-5)


def test_what_is_known_is_seen_in_the_scale_of_the_data(arguments):
    """Beside the image, scaled as ever, the network sees its greys in standard deviations, cut off at three."""
    greys = [[1 / 3, 1 / 3, 1 / 3], [0.3, 0.6, 0.1]]
    prior = EDM(**arguments | {"shape": [3, 8, 8], "known": greys})
    seen, sigma = [], 2.0
    prior.network.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(4)) * 4 - 2
    with torch.no_grad():
        prior.score(x, sigma)
    torch.testing.assert_close(seen[0][:, :3], (x - 0.3) / math.hypot(sigma, 0.25))
    for i, weights in enumerate(greys):
        grey = sum(w * x[:, c] for c, w in enumerate(weights)) - 0.3
        torch.testing.assert_close(seen[0][:, 3 + i], (grey / 0.25).clamp(-3, 3), rtol=0, atol=1e-5)
    assert (seen[0][:, 3:].abs() == 3).any()
    assert (prior.condition, EDM(**arguments).condition) == ("grayscale", None)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0])
def test_an_untrained_network_of_two_scales_is_a_gaussian_over_grey_and_colours(arguments, sigma):
    # With F = 0: the posterior mean of N(mean, 0.25²) in the direction of grey, of N(0, 0.1²) in those beside it.
    prior = EDM(**arguments | {"shape": [3, 8, 8], "colours": 0.1})
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        found = prior.denoise(x, sigma)
    basis_of_colours = torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / torch.tensor([[2.0], [6.0]]).sqrt()
    expected = torch.full_like(x, 0.3)
    for direction, std in ((torch.ones(3) / 3**0.5, 0.25), *((row, 0.1) for row in basis_of_colours)):
        share = std**2 / (std**2 + sigma**2) * torch.einsum("c,bchw->bhw", direction, x - 0.3)
        expected += direction[None, :, None, None] * share[:, None]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0])
def test_preconditioning_in_two_scales(arguments, sigma):
    # Noisy data of these scales come in with unit variance in every direction; F is asked for targets of unit variance.
    torch.manual_seed(0)
    prior = EDM(**arguments | {"shape": [3, 8, 8], "colours": 0.1})
    seen, answer = [], torch.randn(400, 3, 8, 8)
    prior.network.forward = lambda x, level: seen.append(x) or answer.clone()
    grey, colour = torch.randn(400, 1, 8, 8), torch.randn(400, 3, 8, 8)
    clean = 0.3 + 0.25 * grey / 3**0.5 * torch.ones(3, 1, 1) + 0.1 * (colour - colour.mean(1, keepdim=True))
    x = clean + sigma * torch.randn(400, 3, 8, 8)
    D = prior.denoise(x, sigma)
    assert seen[0].std(correction=0).item() == pytest.approx(1, abs=0.02)
    for part, std in ((lambda v: v.mean(1, keepdim=True), 0.25), (lambda v: v - v.mean(1, keepdim=True), 0.1)):
        skip, out = std**2 / (std**2 + sigma**2), sigma * std / math.hypot(std, sigma)
        torch.testing.assert_close(part(D - 0.3), skip * part(x - 0.3) + out * part(answer), rtol=0, atol=1e-4)


def test_network_takes_a_noise_level_for_each_example(edm):
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    alone = torch.cat([edm.denoise(x[i : i + 1], sigma) for i, sigma in enumerate(SIGMAS)])
    torch.testing.assert_close(edm.denoise(x, torch.tensor(SIGMAS)), alone, rtol=0, atol=1e-5)
    assert not torch.allclose(edm.score(x, 0.3), edm.score(x, 0.31), rtol=1e-3)


def test_curvature_bounds_the_second_derivative(mixture, x):
    for sigma in SIGMAS:
        hessian = torch.func.vmap(torch.func.hessian(lambda x, s=sigma: mixture.log_prob(x[None], s)[0]))(x)
        assert -torch.linalg.eigvalsh(hessian).min() <= mixture.lipschitz(sigma) * (1 + 1e-5)


def test_per_example():
    x = torch.zeros(2, 3, 4)
    assert per_example(0.5, x).shape == ()
    assert torch.equal(per_example(torch.tensor([1.0, 2.0]), x), torch.tensor([[[1.0]], [[2.0]]]))


# Accelerated


def test_a_prior_in_low_precision():
    """bf16 keeps eight bits: the denoised image within three grey levels, and not bit-equal (it did something)."""
    prior = basis.load_prior("mnist")
    fast = basis.Accelerated(prior, "bf16")
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for sigma in (0.05, 0.5):
        a, b = prior.denoise(x, sigma), fast.denoise(x, sigma)
        assert b.dtype == torch.float32
        assert 0 < (a - b).abs().max() < 3 / 255
        torch.testing.assert_close(fast.score(x, sigma) * sigma**2 + x, b, rtol=0, atol=2 / 255)
    assert torch.equal(basis.Accelerated(prior, "no").score(x, 0.5), prior.score(x, 0.5))


def test_an_accelerated_prior_is_the_same_prior():
    prior = basis.NCSN((1, 8, 8), 4)
    fast = basis.Accelerated(prior)
    assert (fast.shape, fast.data_range, fast.levels) == (prior.shape, prior.data_range, prior.levels)
    with pytest.raises(basis.UsageError, match=r"unknown precision 'bf8'.*bf16"):
        basis.Accelerated(prior, "bf8")


def test_tf32_holds_within_a_call_alone(edm):
    seen = []

    class Watched(basis.ScorePrior):
        def score(self, x, sigma):
            seen.append(torch.get_float32_matmul_precision())
            return edm.score(x, sigma)

    before, x = torch.get_float32_matmul_precision(), torch.rand(2, *edm.shape)
    fast = basis.Accelerated(Watched(edm.shape), "tf32")
    torch.testing.assert_close(fast.score(x, 0.3), edm.score(x, 0.3), rtol=0, atol=0.05)
    with pytest.raises(basis.UsageError, match="sigma > 0"):
        fast.score(x, 0.0)
    assert seen == ["high", "high"]
    assert torch.get_float32_matmul_precision() == before


def test_priors_of_different_discrete_levels_do_not_go_together():
    one, other = basis.NCSN((1, 8, 8), 4), basis.NCSN((1, 8, 8), 4, sigmas=[0.5, 0.1])
    with pytest.raises(basis.UsageError, match="trained at different noise levels"):
        basis.Product([one, other])
    anywhere = EDM((1, 8, 8), 0.3, 0.4, [8], [1], [False])
    assert basis.Product([one, anywhere]).levels == one.levels
    assert basis.Rescaled(one, scale=2.0).levels == tuple(level / 2 for level in one.levels)


@pytest.mark.parametrize("part", [1, 6, 2**17])
def test_a_density_is_differentiated_in_parts_with_the_sigma_of_each(part, monkeypatch):
    class Normal(basis.DensityPrior):
        def log_prob(self, x, sigma):
            return -(x**2).sum(1) / (2 * (1 + sigma**2))

    monkeypatch.setattr("basis.core.prior.CPU_PART", part)
    x = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    for sigma in (0.5, torch.linspace(0.1, 2.0, 7)):
        s2 = sigma**2 if isinstance(sigma, float) else (sigma**2)[:, None]
        torch.testing.assert_close(Normal((2,)).score(x, sigma), -x / (1 + s2))
    assert Normal((2,)).score(x[:0], 0.5).shape == (0, 2)


# Memory that does not suffice


class Narrow(basis.ScorePrior):
    """A prior for at most ``room`` examples at a time, which writes down how many it was asked about."""

    def __init__(self, prior, room):
        super().__init__(prior.shape, prior.data_range, prior.levels)
        self.prior, self.room, self.sizes = prior, room, []

    def score(self, x, sigma):
        self.sizes.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB")
        return self.prior.score(x, sigma)


@pytest.mark.parametrize("each", [False, True], ids=["one sigma", "a sigma for each"])
@pytest.mark.parametrize("method", ["score", "denoise"])
@pytest.mark.parametrize("room", [1, 2, 3, 5, 9, 22, 100])
def test_a_call_that_does_not_fit_is_made_in_parts(mixture, room, method, each):
    x = torch.randn(11, 2, 2, generator=torch.Generator().manual_seed(6))
    sigma = torch.linspace(0.1, 2.0, 11) if each else 0.3
    narrow = Narrow(mixture, room)
    product, whole = basis.Product([narrow] * 2), getattr(basis.Product([mixture] * 2), method)(x, sigma)
    for attempt in range(2):
        narrow.sizes.clear()
        with torch.no_grad():
            torch.testing.assert_close(getattr(product, method)(x, sigma), whole, rtol=1e-6, atol=1e-6)
        fitted = [size for size in narrow.sizes if size <= room]
        assert sum(fitted) == 22  # each example once
        assert attempt == 0 or fitted == narrow.sizes  # no failure a second time
        assert max(fitted) > room / 2 or room >= 22


def test_each_prior_has_its_own_room(mixture):
    narrow, wide = Narrow(mixture, 3), Narrow(mixture, 100)
    x = torch.randn(7, 3, 2, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        found = basis.Product([narrow, wide, wide]).score(x, 0.3)
        torch.testing.assert_close(found, basis.Product([mixture] * 3).score(x, 0.3), rtol=1e-6, atol=1e-6)
    assert (narrow.sizes, wide.sizes) == ([7, 4, 2, 2, 2, 1], [14])


def test_one_image_that_does_not_fit_is_said_to_be_the_reason(mixture):
    x = torch.zeros(4, 2, 2)
    with (
        torch.no_grad(),
        pytest.raises(basis.UsageError, match=r"example of shape \(2,\) does not fit.*To fix: end"),
    ):
        basis.Product([Narrow(mixture, 0)] * 2).score(x, 0.3)
    with torch.enable_grad(), pytest.raises(torch.OutOfMemoryError):  # a graph is no smaller in parts
        basis.Product([Narrow(mixture, 4)] * 2).score(x.requires_grad_(), 0.3)


def test_a_separation_does_not_tell_how_much_memory_there_was(edm):
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    sizes, found = [], []
    for room in (100, 4):
        narrow = Narrow(edm, room)
        found.append(basis.separate(images, narrow, basis.WeightedSum([1.0, 1.0]), "sample", steps=5, samples=2))
        sizes.append(narrow.sizes)
    assert sizes == [[12] * 5, [12, 6, *[3] * 20]]
    torch.testing.assert_close(found[0].samples, found[1].samples, rtol=0, atol=1e-5)


# Compiled


@pytest.mark.parametrize("fails", [None, "when asked for", "when called"])
def test_what_cannot_be_compiled_computes_as_it_is(edm, monkeypatch, fails):
    calls = []

    def compiler(function, disable=False):
        def compiled(*inputs):
            calls.append("compiled")
            if fails:
                raise RuntimeError("no compiler\nat all")
            return function(*inputs)

        if fails == "when asked for":
            raise RuntimeError("no compiler\nat all")
        return function if disable else compiled

    monkeypatch.setattr(torch, "compile", compiler)
    x = torch.rand(3, *edm.shape, generator=torch.Generator().manual_seed(0))
    plain = edm.score(x, 0.3), edm.denoise(x, torch.tensor(SIGMAS))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fast = basis.Accelerated(edm, "no", compile=True)
        for _ in range(2):
            assert torch.equal(fast.score(x, 0.3), plain[0])
            assert torch.equal(fast.denoise(x, torch.tensor(SIGMAS)), plain[1])
    lines = [str(one.message) for one in said if one.category is RuntimeWarning]
    assert lines == (["the network is not compiled, and computes as it is: RuntimeError: no compiler"] if fails else [])
    assert len(calls) == {None: 4, "when asked for": 0, "when called": 1}[fails]
    assert fast.compiled == (fails is None)


def test_cuda_graphs_are_asked_for_and_what_they_return_is_kept(edm, monkeypatch):
    """A graph writes every result into the same memory: a stand-in for the compiler does the same."""
    modes, memory = [], torch.empty(3, *edm.shape)

    def compiler(function, mode=None, **settings):
        modes.append(mode)
        return function

    class Recorded(basis.ScorePrior):
        def __init__(self, prior):
            super().__init__(prior.shape)
            self.network = prior

        def score(self, x, sigma):
            return memory.copy_(self.network.score(x, sigma))

    monkeypatch.setattr(torch, "compile", compiler)
    fast = basis.Accelerated(Recorded(edm), "no", compile=True, graphs=True)
    x = torch.rand(3, *edm.shape, generator=torch.Generator().manual_seed(0))
    first = fast.score(x, 0.3)
    fast.score(1 - x, 0.3)
    assert torch.equal(first, edm.score(x, 0.3))
    assert modes == ["reduce-overhead"]
    with pytest.raises(basis.UsageError, match="compile=True"):
        basis.Accelerated(edm, graphs=True)


def test_other_errors_are_no_failure_to_compile(edm, monkeypatch):
    def full(*inputs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda function: full)
    fast = basis.Accelerated(edm, "no", compile=True)
    with pytest.raises(torch.OutOfMemoryError):
        fast.score(torch.zeros(3, *edm.shape), 0.3)
    with pytest.raises(basis.UsageError, match="sigma > 0"):
        fast.score(torch.zeros(3, *edm.shape), 0.0)
    assert fast.compiled


@pytest.mark.slow
def test_no_compiler_on_this_machine(edm, monkeypatch, tmp_path):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, str(tmp_path / "nowhere")))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    x = torch.rand(3, *edm.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = edm.score(x, 0.3)
        fast = basis.Accelerated(edm, "no", compile=True)
        with pytest.warns(RuntimeWarning, match=r"computes as it is: .*compiler"):
            assert torch.equal(fast.score(x, 0.3), plain)
        assert torch.equal(fast.score(x, 0.3), plain)
