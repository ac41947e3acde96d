"""Glow: inverse, log-determinants and densities against autograd, quadrature and closed forms."""

import json
import math

import pytest
import torch
from torch import nn

import basis
from basis.core.noise import Noise
from basis.nn.frozen_glow import FrozenStep
from basis.nn.glow import GlowNetwork, Hidden, Step, ZeroConv, scaled_conv
from basis.priors.glow import Glow

TINY = {"shape": [2, 4, 4], "scales": 2, "depth": 2, "width": 8}
KINDS = [(True, False), (True, True), (False, False), (False, True)]
SIGMAS = [0.0, 0.01, 0.3, 1.0]


def shaken(module, amount=0.1):
    """Return the module with weights that do something, none of them at a special value."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=generator))
    return module


def glow(frozen=True, seed=0, **changes):
    torch.manual_seed(seed)
    prior = shaken(Glow(**{**TINY, **changes}))
    return prior.eval().requires_grad_(False) if frozen else prior


def images(count=3, shape=(2, 4, 4), seed=0):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def jacobian_log_det(function, x):
    """log |det| of the Jacobian of a function of one example, by autograd in float64 arithmetic of the determinant."""
    J = torch.autograd.functional.jacobian(lambda flat: function(flat.reshape(x.shape)).flatten(), x.flatten())
    return torch.linalg.slogdet(J.double())[1].item()


def layers():
    torch.manual_seed(0)
    for affine, lu in KINDS:
        yield pytest.param(shaken(Step(6, 8, affine=affine, lu=lu)), id=f"step-affine{affine:d}-lu{lu:d}")
    yield pytest.param(shaken(Step(3, 8)), id="step-odd")


@pytest.mark.parametrize("step", list(layers()))
def test_a_step_by_its_jacobian_and_its_inverse(step):
    channels = len(step.norm.b)
    x = images(2, (channels, 3, 2))
    z, log_det = step(x)
    for i in range(2):
        expected = jacobian_log_det(lambda y: step(y[None])[0][0], x[i])
        assert log_det[i].item() == pytest.approx(expected, abs=1e-4)
    frozen = FrozenStep(step, (3, 2))
    torch.testing.assert_close(frozen.inverse(z.detach(), None), x, rtol=0, atol=1e-5)
    y, change = frozen.forward(x, None)
    torch.testing.assert_close(y, z.detach(), rtol=0, atol=1e-5)
    total = frozen.log_det + (0 if change is None else change)
    torch.testing.assert_close(total.float().expand(2), log_det.detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("lu", [False, True])
def test_actnorm_and_1x1_convolution_by_hand_and_by_their_jacobian(lu):
    step, x = shaken(Step(4, 8, lu=lu), 0.3), images(1, (4, 2, 3))[0]
    z = torch.cat(step.mixed(x[None]), 1)[0]
    normed = (x + step.norm.b[:, None, None]) * torch.exp(3 * step.norm.logs)[:, None, None]
    torch.testing.assert_close(z, torch.einsum("chw,cd->dhw", normed, step.mix.matrix()))  # row vector times W
    expected = jacobian_log_det(lambda y: torch.cat(step.mixed(y[None]), 1)[0], x)
    assert 6 * (step.norm.log_scale.sum() + step.mix.log_det()).item() == pytest.approx(expected, abs=1e-4)


def test_the_border_channel_by_hand():
    # Zero padding by 1, and a last input channel that is 1 on the padding only.
    x = images(2, (3, 4, 5))
    padded = torch.zeros(2, 4, 6, 7)
    padded[:, :3, 1:-1, 1:-1] = x
    padded[:, 3] = 1
    padded[:, 3, 1:-1, 1:-1] = 0
    zero, hidden = shaken(ZeroConv(3, 4, 0)), shaken(Hidden(3, 4, 3, 0))
    for layer, end in ((zero, nn.Identity()), (hidden, nn.ReLU())):
        b, log_scale = layer.affine
        expected = end((nn.functional.conv2d(padded, layer.weight) + b[:, None, None]) * log_scale.exp()[:, None, None])
        torch.testing.assert_close(layer(x, None), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(log_scale, 3 * hidden.norm.logs)


def test_affine_coupling_by_hand():
    step, z = shaken(Step(4, 8)), images(1, (4, 2, 2))
    mixed = torch.cat(step.mixed(z), 1)
    out = step.l_last(step.l_2(step.l_1(mixed[:, :2], None), None), None)
    second = (mixed[:, 2:] + out[:, [0, 2]]) * torch.sigmoid(out[:, [1, 3]] + 2)
    torch.testing.assert_close(step(z)[0], torch.cat([mixed[:, :2], second], 1))


@pytest.mark.parametrize(("affine", "lu"), KINDS)
@pytest.mark.parametrize("levels", [None, [0.3, 0.0]])
def test_the_whole_flow(affine, lu, levels):
    prior = glow(affine=affine, lu=lu, levels=levels, std=None if levels else 0.3)
    x = images()
    for sigma in (0.0, 0.3):
        z, log_det = prior.encode(x, sigma)
        torch.testing.assert_close(prior.decode(z, sigma), x, rtol=0, atol=1e-5)
        expected = jacobian_log_det(lambda y, s=sigma: prior.encode(y[None], s)[0][0], x[0])
        assert log_det[0].item() == pytest.approx(expected, abs=1e-4)
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
        torch.testing.assert_close(prior.log_prob(x, sigma), normal + log_det)


@pytest.mark.parametrize(("affine", "lu"), KINDS)
@pytest.mark.parametrize("learned_top", [True, False])
def test_prepared_weights_compute_the_same(affine, lu, learned_top):
    sigma = torch.tensor([0.0, 0.1, 1.0])
    prior = glow(False, affine=affine, lu=lu, learned_top=learned_top, std=0.3)
    plain, slope = prior.log_prob(images(), sigma).detach(), prior.score(images(), sigma)
    prior.eval().requires_grad_(False)
    assert prior.networks[0].frozen() is prior.networks[0].frozen() is not None
    torch.testing.assert_close(prior.log_prob(images(), sigma), plain, rtol=2e-6, atol=1e-5)
    torch.testing.assert_close(prior.score(images(), sigma), slope, rtol=1e-4, atol=1e-4)


def test_prepared_weights_follow_every_change():
    prior, other, x = glow(), glow(seed=1), images()
    before, theirs = prior.log_prob(x, 0.3), other.log_prob(x, 0.3)
    with torch.no_grad():
        prior.networks[0].steps[0][0].norm.b.add_(0.1)
    changed = prior.log_prob(x, 0.3)
    assert (changed - before).abs().min() > 1e-3
    for assign in (False, True):
        prior.load_state_dict({key: t.clone() for key, t in other.state_dict().items()}, assign=assign)
        assert torch.equal(prior.log_prob(x, 0.3), theirs)
        prior.load_state_dict({key: t.clone() for key, t in glow().state_dict().items()})
        assert torch.equal(prior.log_prob(x, 0.3), before)
    prior.double()
    torch.testing.assert_close(prior.log_prob(x.double(), 0.3), before.double(), rtol=1e-5, atol=1e-5)


def test_no_parameter_gradients():
    prior = glow()
    prior.score(images(), 0.3)
    assert all(parameter.grad is None for parameter in prior.parameters())
    unfrozen = glow(False)
    unfrozen.score(images(), 0.3)
    assert all(parameter.grad is None for parameter in unfrozen.parameters())


@pytest.mark.parametrize("sigma", SIGMAS)
def test_score_by_finite_differences(sigma):
    prior = glow(std=0.3).double()
    x = images().double()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).double()
    step = 1e-6
    slope = (prior.log_prob(x + step * direction, sigma) - prior.log_prob(x - step * direction, sigma)) / (2 * step)
    found = (prior.score(x, sigma) * direction).sum((1, 2, 3))
    torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-5)


class TwoPixels(nn.Module):
    """Steps of flow on two channels of one pixel, with N(0, I) behind them."""

    def __init__(self, **settings):
        super().__init__()
        torch.manual_seed(2)
        self.steps = nn.ModuleList(shaken(Step(2, 16, **settings), 0.2) for _ in range(3))

    def forward(self, x):
        log_det = 0.0
        for step in self.steps:
            x, change = step(x)
            log_det = log_det + change
        return log_det + torch.distributions.Normal(0.0, 1.0).log_prob(x).sum((1, 2, 3))


@pytest.mark.parametrize(("affine", "lu"), KINDS)
def test_densities_integrate_to_1(affine, lu):
    # The trapezoid rule on a grid that holds all but 1e-5 of the mass; a density with kinks, from the ReLUs.
    flow = TwoPixels(affine=affine, lu=lu)
    z = torch.randn(2000, 2, 1, 1, generator=torch.Generator().manual_seed(0)) * 1.2
    for step in reversed(flow.steps):
        z = FrozenStep(step, (1, 1)).inverse(z, None).detach()
    low, high = z.amin((0, 2, 3)), z.amax((0, 2, 3))
    margin = 0.25 * (high - low)
    lines = [torch.linspace(a, b, 500) for a, b in zip(low - margin, high + margin, strict=True)]
    cell = math.prod((line[1] - line[0]).item() for line in lines)
    grid = torch.cartesian_prod(*lines)[:, :, None, None]
    with torch.no_grad():
        total = sum(flow(part).double().exp().sum().item() for part in grid.split(50_000)) * cell
    assert total == pytest.approx(1, abs=1e-3)


def test_samples_have_the_density():
    # E_p[q(x) / p(x)] = 1 for any density q with the data range of p: here a slightly wider flow of the same weights.
    prior = glow(shape=[1, 4, 4], depth=1)
    x = prior.sample(4000, 0.3)
    wider = prior.mean + 1.05 * (x - prior.mean)
    ratio = (prior.log_prob(wider, 0.3) + 16 * math.log(1.05) - prior.log_prob(x, 0.3)).exp()
    assert ratio.mean().item() == pytest.approx(1, abs=4 * ratio.std().item() / math.sqrt(len(ratio)))
    z, _ = prior.encode(x, 0.3)
    assert z.var().item() == pytest.approx(1, abs=0.02)


def test_untrained_flow_is_nearly_gaussian():
    # Zero convolutions start at zero: shifts 0, scales sigmoid(2), orthogonal 1×1 convolutions.
    prior = Glow(**TINY, std=0.5, levels=None).eval().requires_grad_(False)
    x = images()
    _, log_det = prior.encode(x, 0.2)
    D = 32
    expected = math.log(1 / (1 + math.exp(-2))) * (16 * 2 + 8 * 2) - D / 2 * math.log(0.5**2 + 0.2**2)
    torch.testing.assert_close(log_det, torch.full((3,), expected))


def test_sampling():
    prior = glow()
    x = prior.sample(3, 0.3, seed=5)
    z = Noise((32,), 5, range(3)).normal()
    torch.testing.assert_close(prior.encode(x, 0.3)[0], z, rtol=0, atol=1e-3)
    torch.testing.assert_close(prior.sample(2, 0.3, seed=5), x[:2], rtol=0, atol=1e-5)
    cold = prior.encode(prior.sample(3, 0.3, 0.7, seed=5), 0.3)[0]
    torch.testing.assert_close(cold, 0.7 * z, rtol=0, atol=1e-3)
    assert torch.equal(prior.sample(2, 0.3, temperature=0.0)[0], prior.sample(2, 0.3, temperature=0.0)[1])


def test_bits_per_dimension():
    prior = glow()
    nats, D = prior.log_prob(images(), 0.0), 32
    expected = -(nats - D * math.log(256)) / (D * math.log(2))  # the released figure, per dimension
    torch.testing.assert_close(prior.bits_per_dim(images()), expected)


@pytest.mark.parametrize("std", [None, 0.3])
def test_initialisation_standardises(std):
    torch.manual_seed(0)
    prior = Glow(**{**TINY, "width": 16}, levels=None if std else [0.1], std=std)
    x = images(200)
    prior.initialise(x, 0.1)
    network, level = prior._network(0.1, x)
    e = network.embedding(level)
    y, checked = (x - prior.mean) / prior._scale(0.1, x), 0
    for steps in network.steps:
        y = nn.functional.pixel_unshuffle(y, 2)
        for step in steps:
            z1, _ = step.mixed(y)
            whole = torch.cat(step.mixed(y), 1)
            hidden = step.l_1(z1, e)
            for output in (whole, scaled_conv(z1, step.l_1, e), scaled_conv(hidden, step.l_2, e)):
                checked += 1
                torch.testing.assert_close(output.mean((0, 2, 3)), torch.zeros(output.shape[1]), rtol=0, atol=1e-4)
                torch.testing.assert_close(output.square().mean(), torch.ones([]), rtol=0, atol=1e-2)
            y, _ = step(y, e)
        y = y.chunk(2, 1)[0]
    assert checked == 2 * 2 * 3


def test_one_network_a_level():
    prior = glow(levels=[1.0, 0.3, 0.01, 0.0])
    x = images()
    assert prior.levels == (1.0, 0.3, 0.01)
    found = [prior.log_prob(x, sigma) for sigma in (1.0, 0.3, 0.01, 0.0)]
    assert len({float(f[0]) for f in found}) == 4
    mixed = prior.log_prob(x, torch.tensor([0.3, 1.0, 0.3]))
    torch.testing.assert_close(mixed, torch.stack([found[1][0], found[0][1], found[1][2]]))
    score = prior.score(x, torch.tensor([0.3, 1.0, 0.3]))
    torch.testing.assert_close(score[1], prior.score(x, 1.0)[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(prior.log_prob(x, 0.3001), found[1])
    for sigma in (0.2, 0.31, 2.0, 0.005, torch.tensor([0.3, 0.3, 0.4])):
        with pytest.raises(basis.UsageError, match=r"no network for sigma .* choose one of 1, 0\.3, 0\.01, 0"):
            prior.log_prob(x, sigma)


def test_samplers_take_the_levels_there_are():
    prior = glow(levels=[1.0, 0.3, 0.05])
    run = basis.stream(torch.ones(2, 4, 4), prior, basis.WeightedSum([1.0, 1.0]), steps=2, levels=10, delta=1e-5)
    assert [state.sigma for state in run][::2] == pytest.approx([1.0, 0.3, 0.05])
    with pytest.raises(basis.UsageError, match="no network for sigma"):
        basis.separate(torch.ones(2, 4, 4), glow(levels=[0.0]), basis.WeightedSum([1.0, 1.0]))


def test_one_network_told_sigma():
    prior = glow(std=0.3, sigma_max=2.0)
    x = images()
    assert prior.levels is None
    found = torch.stack([prior.log_prob(x[:1], sigma)[0] for sigma in (0.0, 0.01, 0.5, 2.0)])
    assert found.unique().numel() == 4
    torch.testing.assert_close(prior.log_prob(x[:1].expand(2, -1, -1, -1), torch.tensor([0.01, 2.0])), found[[1, 3]])
    for sigma in (-0.1, 2.1, math.nan, torch.tensor([0.1, 0.1, 3.0])):
        with pytest.raises(basis.UsageError, match=r"choose noise levels from 0 to 2"):
            prior.log_prob(x, sigma)
    fresh = Glow(**TINY, std=None).eval()  # the embedding has no effect at first
    assert torch.equal(fresh.log_prob(x, 0.1), fresh.log_prob(x, 0.7))


@pytest.mark.parametrize("levels", [None, [0.3, 0.1, 0.0]])
def test_on_disk(levels, tmp_path):
    arguments = {**TINY, "levels": levels, "lu": True, "std": 0.25}
    folder = basis.save_prior(glow(**arguments), arguments, tmp_path)
    x = images()
    for prior in (basis.load_prior(folder), Glow.one_at_a_time(folder)):
        assert json.dumps(arguments)
        for sigma in (0.1, 0.3, 0.0, 0.3):
            assert torch.equal(prior.log_prob(x, sigma), glow(**arguments).log_prob(x, sigma))
        assert prior.levels == glow(**arguments).levels
        assert str(prior.device) == "cpu"


def test_one_at_a_time_holds_one_network(tmp_path):
    arguments = {**TINY, "levels": [0.3, 0.1, 0.0]}
    folder = basis.save_prior(glow(**arguments), arguments, tmp_path)
    whole, single = basis.load_prior(folder), Glow.one_at_a_time(folder)
    count = [sum(p.numel() for p in prior.parameters()) for prior in (whole, single)]
    assert count[0] == 3 * count[1]
    with pytest.raises(basis.UsageError, match=r"no network for sigma 0\.2"):
        single.log_prob(images(), 0.2)


def test_loss_of_invertibility_is_reported():
    prior = glow(levels=[0.3])
    network = prior.networks[0]
    with torch.no_grad():
        W = network.steps[1][0].mix.W
        W[:, 0] = W[:, 1]
    where = r"the flow at sigma 0\.3 is not finite: the 1×1 convolution of scale 2 of 2, step 1 of 2 is singular"
    for call in (lambda: prior.sample(1, 0.3), lambda: prior.decode(torch.zeros(1, 32), 0.3)):
        with pytest.raises(basis.DivergenceError, match=where):
            call()
    with torch.no_grad():
        W[:] = 0
    with pytest.raises(basis.DivergenceError, match=where):
        prior.log_prob(images(), 0.3)
    prior.train()
    with pytest.raises(basis.DivergenceError, match=where):
        prior.log_prob(images(), 0.3)


def test_values_that_are_not_finite_are_reported():
    prior = glow()
    with pytest.raises(basis.DivergenceError, match="given values that are not finite"):
        prior.score(torch.full((1, 2, 4, 4), math.nan), 0.3)
    with torch.no_grad():
        prior.networks[0].steps[0][1].norm.logs.fill_(100.0)
    with pytest.raises(basis.DivergenceError, match="not finite after scale 1 of 2, step 2 of 2"):
        prior.log_prob(images(), 0.3)


def test_far_away_images_have_finite_scores():
    # Bounded scales: what a sampler visits at σ = 1 does not overflow float32.
    prior = glow()
    for scale in (1.0, 10.0, 1e3):
        x = scale * torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
        assert torch.isfinite(prior.score(x, 1.0)).all()


BAD = {
    "odd": ({"shape": [1, 28, 28], "scales": 3}, "28×28 do not allow.*multiples of 8"),
    "flat": ({"shape": [28, 28]}, r"expected a shape \(C, H, W\)"),
    "depth": ({"depth": 0}, "depth and width of at least 1"),
    "rising": ({"levels": [0.1, 0.2]}, "decreasing noise levels"),
    "negative": ({"levels": [0.1, -0.2]}, "decreasing noise levels"),
    "none": ({"levels": []}, "decreasing noise levels"),
    "std": ({"std": 0.0}, "std > 0"),
    "sigma_max": ({"sigma_max": 0.0}, "sigma_max > 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    changes, message = BAD[case]
    with pytest.raises(basis.UsageError, match=message):
        Glow(**{**TINY, **changes})


def test_it_learns():
    # Maximum likelihood on correlated pixels, at two noise levels at once. A Gaussian without correlations would stay
    # 14.5 and 1.4 nats below the truth.
    D, generator = 16, torch.Generator().manual_seed(0)
    factor = torch.randn(D, 3, generator=generator)
    covariance = 0.02 * factor @ factor.T + 0.002 * torch.eye(D)
    truth = basis.GaussianMixture([1.0], 0.5 * torch.ones(1, 1, 4, 4), covariance[None])
    root = torch.linalg.cholesky(covariance)

    def batch(n):
        clean = 0.5 + torch.randn(n, D, generator=generator) @ root.T
        sigma = torch.tensor([0.03, 0.3])[torch.arange(n) % 2]
        noisy = clean + sigma[:, None] * torch.randn(n, D, generator=generator)
        return noisy.reshape(n, 1, 4, 4), sigma

    torch.manual_seed(0)
    prior = Glow([1, 4, 4], scales=2, depth=3, width=32, mean=0.5, std=0.25, embedding=16)
    prior.initialise(*batch(256))
    optimizer = torch.optim.Adam(prior.parameters(), 3e-3)
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 150)
        loss = -prior.log_prob(*batch(128)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(prior.parameters(), 100.0)
        optimizer.step()
    prior.eval().requires_grad_(False)
    x, sigma = batch(2000)
    gap = truth.log_prob(x, sigma) - prior.log_prob(x, sigma)
    for level in (0.03, 0.3):
        assert -0.05 < gap[sigma == level].mean() < 0.5


def test_published_sizes():
    # CIFAR-10: 44.6 M parameters as published, those of the top prior's inputs left out, which are zero.
    with torch.device("meta"):
        network = GlowNetwork((3, 32, 32), 3, 32, 512)
    assert round((sum(p.numel() for p in network.parameters()) + 9 * 48 * 96) / 1e6, 1) == 44.6
