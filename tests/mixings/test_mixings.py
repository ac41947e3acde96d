"""The contract of every mixing that the registry finds: adjoint, gain, residual and projection belong to its map."""

import pytest
import torch

import basis
from basis.core.mixing import MIXINGS

SHAPE = (3, 2, 4)
# Sensible arguments, more than one where it matters; a mixing that is not named here is built with its defaults.
ARGUMENTS = {
    "weighted_sum": [([1.0, 1.0],), ([0.7, -1.2, 0.4],), ([5.0, -3.0],), ([1e-3],)],
    "clipped": [([1.0, 1.0],), ([0.7, -1.2, 0.4], -0.5, 0.75)],  # both bounds
    "grayscale": [(), ((0.3, 0.6, 0.1),)],
}
CASES = [(name, arguments) for name in MIXINGS.names() for arguments in ARGUMENTS.get(name, [()])]


def build(case):
    return MIXINGS.get(case[0])(*case[1])


def draw(mixing, seed, count=5):
    """Sources on both sides of any bound, away from the kinks with probability 1."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + torch.randn(count, mixing.sources, *SHAPE, generator=generator, dtype=torch.float64)


def is_linear(mixing):
    a, b = 10 * draw(mixing, 1), 10 * draw(mixing, 2)
    return torch.allclose(mixing(3 * a - b), 3 * mixing(a) - mixing(b), atol=1e-9)


LINEAR = [case for case in CASES if is_linear(build(case))]


@pytest.fixture(params=CASES, ids=str)
def mixing(request):
    return build(request.param)


@pytest.fixture
def x(mixing):
    return draw(mixing, seed=0)


def jacobian(mixing, x):
    """The derivative at one example as a dense matrix."""
    J = torch.func.jacfwd(lambda flat: mixing(flat.reshape(1, *x.shape)).flatten())(x.flatten())
    return J.detach()


def test_each_example_is_mixed_by_itself(mixing, x):
    torch.testing.assert_close(mixing(x)[3:4], mixing(x[3:4]), rtol=1e-14, atol=1e-14)  # sums differ in their last bit


def test_the_adjoint_is_the_transpose(mixing, x):
    v = draw(mixing, 3)
    m, Av = torch.func.jvp(mixing.forward, (x,), (v,))
    r = torch.randn(m.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert ((Av * r).sum() - (v * mixing.adjoint(x, r)).sum()).abs() <= 1e-6 * (Av * r).abs().sum()
    for i in range(len(x)):
        torch.testing.assert_close(mixing.adjoint(x, r)[i].flatten(), jacobian(mixing, x[i]).T @ r[i].flatten())


@pytest.mark.parametrize("mixing", LINEAR, indirect=True, ids=str)
def test_a_linear_map_is_its_jacobian(mixing, x):
    torch.testing.assert_close(mixing(x).flatten(1), x.flatten(1) @ jacobian(mixing, x[0]).T)


def test_the_gain_is_the_largest_eigenvalue(mixing, x):
    J = jacobian(mixing, x[0])
    assert mixing.gain(x[0]) == pytest.approx(torch.linalg.eigvalsh(J @ J.T)[-1].item(), rel=1e-5)


def test_published_gains():
    x = torch.zeros(2, *SHAPE)
    assert basis.WeightedSum([1.0, 1.0]).gain(x) == pytest.approx(2)
    assert basis.WeightedSum([5.0, -3.0]).gain(x) == pytest.approx(34)
    assert basis.Grayscale().gain(torch.zeros(1, *SHAPE)) == pytest.approx(1 / 3)


def test_forward_by_hand():
    x = torch.tensor([[[0.2, 0.9], [0.4, 0.8]]])
    torch.testing.assert_close(basis.WeightedSum([2.0, -1.0])(x), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(basis.Clipped([1.0, 1.0])(x), torch.tensor([[0.6, 1.0]]))
    torch.testing.assert_close(basis.Clipped([1.0, -2.0])(x), torch.tensor([[0.0, 0.0]]))
    colour = torch.tensor([0.1, 0.5, 0.9]).reshape(1, 1, 3, 1, 1)
    torch.testing.assert_close(basis.Grayscale()(colour), torch.tensor([[[[0.5]]]]))
    torch.testing.assert_close(basis.Grayscale((1, 0, 0))(colour), torch.tensor([[[[0.1]]]]))


def test_the_projection_meets_the_constraint(mixing, x):
    # From the sources of one mixture to those of another.
    m = mixing(draw(mixing, 5))
    assert (mixing(mixing.project(x, m)) - m).abs().max() <= 2e-6


def test_the_residual_points_to_the_mixture(mixing, x):
    # Zero where the constraint is met, and of the sign and at least the size of m - g(x) where not.
    m, g = mixing(draw(mixing, 5)), mixing(x)
    assert not mixing.residual(x, g).any()
    assert torch.equal(mixing.residual(x, m).sign(), (m - g).sign())
    assert (mixing.residual(x, m).abs() >= (m - g).abs()).all()


@pytest.mark.parametrize("mixing", LINEAR, indirect=True, ids=str)
def test_the_residual_of_a_linear_map_is_the_difference(mixing, x):
    m = mixing(draw(mixing, 5))
    assert torch.equal(mixing.residual(x, m), m - mixing(x))


def test_the_residual_of_a_saturated_sum_is_censored():
    s, m = torch.tensor([[-0.5, 0.3, 1.5]] * 3), torch.tensor([[0.0] * 3, [0.6] * 3, [1.0] * 3])
    expected = torch.tensor([[0.0, -0.3, -1.5], [1.1, 0.3, -0.9], [1.5, 0.7, 0.0]])
    torch.testing.assert_close(basis.Clipped([1.0]).residual(s[:, None], m), expected)


def test_the_likelihood_counts_the_residual(mixing, x):
    prior = basis.Product([basis.GaussianMixture([1.0], torch.zeros(1, *SHAPE), torch.eye(24)[None])] * mixing.sources)
    x, m = x.float(), mixing(draw(mixing, 5)).float()
    pull = basis.AnnealedPosterior(prior, mixing, m, ratio=2.0).score(x, 0.5) - prior.score(x, 0.5)
    torch.testing.assert_close(pull, mixing.adjoint(x, mixing.residual(x, m)), atol=1e-4, rtol=1e-4)


def test_a_saturated_sum_is_at_its_bound_exactly():
    mixing = basis.Clipped([1.0], -0.3, 0.8)
    m = mixing(torch.linspace(0.9, 3, 500)[:, None])
    assert torch.equal(m, torch.full_like(m, 0.8))
    assert not mixing.residual(torch.full((500, 1), 1.7), m).any()


@pytest.mark.parametrize("data_range", [(0.0, 1.0), (-1.0, 2.0)])
def test_the_projection_stays_within_the_support(mixing, x, data_range):
    # The mixture of sources within the bounds can be met within the bounds; sources there already stay.
    low, high = data_range
    inside = low + (high - low) * torch.sigmoid(draw(mixing, 6))
    m = mixing(inside)
    found = mixing.project(x, m, data_range)
    assert x.min() < low
    assert x.max() > high
    assert found.min() >= low
    assert found.max() <= high
    assert (mixing(found) - m).abs().max() <= 1e-3
    assert torch.equal(mixing.project(inside, m, data_range), inside)


def test_clamping_and_projecting_in_turn_by_hand():
    # (1, 1.6) projects to (0.7, 1.3) and clamps to (0.7, 1), then (0.85, 1.15) to (0.85, 1), …: to (1, 1).
    sources, m = torch.tensor([[[1.0], [1.6]]]), torch.tensor([[2.0]])
    found = basis.WeightedSum([1.0, 1.0]).project(sources, m, (0.0, 1.0))
    torch.testing.assert_close(found, torch.ones(1, 2, 1), atol=1e-6, rtol=0)
    # No sources within the bounds mix to 3: the nearest that do not leave them.
    found = basis.WeightedSum([1.0, 1.0]).project(sources, m + 1, (0.0, 1.0))
    torch.testing.assert_close(found, torch.ones(1, 2, 1))


@pytest.mark.parametrize("mixing", LINEAR, indirect=True, ids=str)
def test_the_projection_is_the_nearest_point(mixing, x):
    m = mixing(draw(mixing, 5))
    J = jacobian(mixing, x[0])
    step = (m.flatten(1) - x.flatten(1) @ J.T) @ torch.linalg.pinv(J).T
    torch.testing.assert_close(mixing.project(x, m), x + step.reshape(x.shape), atol=1e-5, rtol=0)


@pytest.mark.parametrize("m", [0.0, 0.3, 1.0, 0.99])
def test_clipped_projects_to_the_nearest_point(m):
    # By hand: a sum s beyond the bound that m is at may stay, any other moves to s = m, half of the way in each source.
    s = torch.tensor([-0.8, -0.1, 0.2, 0.7, 1.1, 1.9])
    target = {0.0: s.clamp(max=0), 1.0: s.clamp(min=1)}.get(m, torch.full_like(s, m))
    x = torch.stack([s / 2 + 0.1, s / 2 - 0.1])[None]
    expected = x + (target - s) / 2
    found = basis.Clipped([1.0, 1.0]).project(x, torch.full((1, 6), m))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_separating_a_saturated_sum(as_sampled):
    # Where the truth is beyond the bound the constraint must not pull: the sum keeps its prior mean 1.3 there, as it
    # does not with the plain sum.
    means = torch.tensor([[0.7, 0.1, 0.5, 0.6]])
    prior = basis.GaussianMixture([1.0], means, 0.01 * torch.eye(4)[None])
    other = basis.GaussianMixture([1.0], means.flip(1), 0.01 * torch.eye(4)[None])
    truth = torch.stack([means, means.flip(1)], 1)  # sums 1.3, 0.6, 0.6, 1.3
    mixing = basis.Clipped([1.0, 1.0])
    m = mixing(truth)
    settings = {"samples": 60, "levels": 4}
    found = basis.separate(m, [prior, other], mixing, **settings, **as_sampled)
    sums = found.samples[0].sum(1).mean(0)
    torch.testing.assert_close(sums, torch.tensor([1.3, 0.6, 0.6, 1.3]), atol=0.06, rtol=0)
    error = (mixing(found.samples[0]) - m).square().mean()
    assert error < 2 * 0.01**2  # γ² at the last level, doubled at most by the step size
    plain = basis.separate(m, [prior, other], basis.WeightedSum([1.0, 1.0]), **settings, **as_sampled)
    assert (plain.samples[0].sum(1).mean(0)[[0, 3]] - 1).abs().max() < 0.02
    exactly = basis.separate(m, [prior, other], mixing, **settings)
    assert (mixing(exactly.samples[0]) - m).abs().max() < 1e-5
    assert (exactly.samples[0].sum(1).mean(0)[[0, 3]] > 1.2).all()


def test_bad_arguments():
    for alphas in ([], [0.0, 0.0], [1.0, float("nan")], [float("inf")]):
        with pytest.raises(basis.UsageError, match="at least one weight, finite and not all zero"):
            basis.WeightedSum(alphas)
        with pytest.raises(basis.UsageError, match="at least one weight, finite and not all zero"):
            basis.Clipped(alphas)
    for weights in ((0, 0, 0), (), (1.0, float("nan"), 1.0), (float("inf"),)):
        with pytest.raises(basis.UsageError, match=r"at least one weight, finite and not all zero.*one a channel"):
            basis.Grayscale(weights)
    for low, high in ((1.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)):
        with pytest.raises(basis.UsageError, match="expected low < high"):
            basis.Clipped([1.0], low, high)


def test_sources_of_another_kind():
    for mixing in (basis.WeightedSum([1.0, 1.0]), basis.Clipped([1.0, 1.0])):
        for count in (1, 3):
            with pytest.raises(basis.UsageError, match=rf"expected 2 sources.*got \(5, {count}, 3, 2, 4\)"):
                mixing(torch.zeros(5, count, *SHAPE))
    for shape in ((5, 1, 1, 2, 4), (5, 1, 4, 2, 4), (5, 3)):
        with pytest.raises(basis.UsageError, match=r"expected images of 3 channels.*To fix"):
            basis.Grayscale()(torch.zeros(shape))


def test_the_correction_is_the_adjoint_of_the_residual(mixing, x):
    m = mixing(draw(mixing, 5))
    expected = mixing.adjoint(x, mixing.residual(x, m))
    assert torch.allclose(mixing.correction(x, m), expected, atol=1e-6)


def test_projection_of_sources_that_mix_rightly_but_lie_out_of_bounds():
    mixing, m = basis.WeightedSum([1.0, 1.0]), torch.tensor([[1.0, 0.25]])
    x = torch.tensor([[[1.5, -0.5], [-0.5, 0.75]]])
    assert torch.equal(mixing(x), m)
    found = mixing.project(x, m, (0.0, 1.0))
    assert ((found >= 0) & (found <= 1)).all()
    torch.testing.assert_close(mixing(found), m, rtol=0, atol=1e-6)
