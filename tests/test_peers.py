"""The adapters of benchmarks/peers.py against closed forms; they need azula and deepinv, the extra `peers`."""

import importlib.util
from pathlib import Path

import pytest
import torch

import basis

azula_noise = pytest.importorskip("azula.noise", reason="azula is not installed (extra `peers`)")
deepinv = pytest.importorskip("deepinv", reason="deepinv is not installed (extra `peers`)")

FILE = Path(__file__).parents[1] / "benchmarks" / "peers.py"
if not FILE.exists():
    pytest.skip("benchmarks/ is not beside the tests", allow_module_level=True)
spec = importlib.util.spec_from_file_location("peers", FILE)
peers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peers)

SAMPLES = 2000
BACKWARD = {"azula DPS": 20, "azula MMPS": 120, "deepinv DPS": 19}  # through the network, for 20 evaluations


def closed_form(means, covariances, x, sigma):
    """E[x₀ | x₀ + σ ε = x] of independent Gaussians, each (D,) and (D, D), for x (B, K, D)."""
    parts = [
        mean + (x[:, k] - mean) @ torch.linalg.solve(covariance + sigma**2 * torch.eye(len(mean)), covariance)
        for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True))
    ]
    return torch.stack(parts, 1)


@pytest.fixture
def moments():
    """Means (2, 4) and covariances (2, 4, 4) of two different sources of 2×2 pixels."""
    factors = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([0.002, 0.012]).reshape(2, 1, 1)
    return torch.tensor([[0.3, 0.4, 0.5, 0.6], [0.6, 0.6, 0.4, 0.3]]), 0.01 * torch.eye(4) + scale * (
        factors @ factors.mT
    )


@pytest.fixture
def prior(moments):
    means, covariances = moments
    return basis.Product(
        [
            basis.GaussianMixture([1.0], mean.reshape(1, 1, 2, 2), covariance[None])
            for mean, covariance in zip(means, covariances, strict=True)
        ]
    )


@pytest.mark.parametrize("schedule", [azula_noise.VPSchedule(), azula_noise.VESchedule(0.01, 3.0)])
@pytest.mark.parametrize("time", [0.2, 0.7])
def test_azula_denoiser_is_the_posterior_mean_whatever_the_schedule(prior, moments, schedule, time):
    t = torch.tensor(time)
    alpha, sigma = schedule(t)
    y = torch.rand(5, 2, 4)
    found = peers.AzulaDenoiser(prior, schedule)(alpha * y.reshape(5, 2, 2, 2), t).mean
    assert torch.allclose(found.flatten(2), closed_form(*moments, y, sigma / alpha), atol=1e-5)


@pytest.mark.parametrize("sigma", [0.1, torch.tensor(0.4), torch.tensor([0.1, 0.2, 0.3, 0.4, 1.0])])
def test_deepinv_denoiser_is_the_posterior_mean_also_between_minus_one_and_one(prior, moments, sigma):
    y = torch.rand(5, 2, 4)
    denoiser = peers.DeepinvDenoiser(prior)
    found = denoiser(y.reshape(5, 2, 2, 2), sigma).flatten(2)
    levels = sigma.expand(5) if isinstance(sigma, torch.Tensor) else torch.full((5,), sigma)
    truth = torch.cat([closed_form(*moments, y[i : i + 1], level) for i, level in enumerate(levels)])
    assert torch.allclose(found, truth, atol=1e-5)
    wrapped = deepinv.sampling.diffusion_sde.MinusOneOneDenoiserWrapper(denoiser)
    assert torch.allclose(wrapped(2 * y.reshape(5, 2, 2, 2) - 1, 2 * sigma).flatten(2), 2 * truth - 1, atol=1e-5)


def test_denoisers_of_a_network(edm):
    x = torch.rand(3, 2, 8, 8)
    truth = edm.denoise(x.reshape(6, 1, 8, 8), 0.3).reshape(3, 2, 8, 8)
    product = basis.Product([edm, edm])
    assert torch.allclose(peers.DeepinvDenoiser(product)(x, 0.3), truth, atol=1e-5)
    even = peers.Levels(0.3, 0.3, 1.0)
    assert torch.allclose(peers.AzulaDenoiser(product, even)(x, torch.tensor(0.5)).mean, truth, atol=1e-5)


def test_levels_are_those_of_karras():
    sigmas = peers.Levels(3.0, 0.01, 7.0)(torch.linspace(1, 0, 12, dtype=torch.float64))[1]
    assert torch.allclose(sigmas, peers.karras(3.0, 0.01, 12, 7.0), atol=1e-12)


def test_the_operator_and_its_singular_values():
    x, m = torch.rand(3, 2, 4, 4).double(), torch.rand(3, 1, 4, 4).double()
    physics = peers.summed(m, 0.01)
    assert torch.allclose(physics.A(x), x.sum(1, keepdim=True), atol=1e-6)
    assert torch.allclose(physics.A_adjoint(m), m.expand(-1, 2, -1, -1), atol=1e-6)
    assert torch.allclose(physics.A_dagger(m), peers.halves(m), atol=1e-6)
    assert torch.allclose(physics.V(physics.V_adjoint(x)), x, atol=1e-6)
    assert torch.allclose(physics.V_adjoint(x).norm(), x.norm())
    nearest = basis.WeightedSum([1, 1]).project(x[:, :, None], m)[:, :, 0]
    assert torch.allclose(physics.prox_l2(x, m, 1e7), nearest, atol=1e-6)  # in float32 it cancels


@pytest.mark.parametrize(
    ("name", "settings", "error"),
    [
        ("azula MMPS", {"noise": 1e-3, "iterations": 4, "eta": 1.0}, 0.01),  # exact where the prior is Gaussian
        ("azula DPS", {}, 0.03),
        ("deepinv DPS", {"guidance": "annealed", "weight": 0.5, "alpha": 1.0}, 0.03),
        ("deepinv DDRM", {}, 0.02),
        ("deepinv DiffPIR", {}, 0.02),
    ],
)
def test_peers_come_near_the_closed_form_posterior_mean(prior, moments, name, settings, error):
    (mean, other), (covariance, further) = moments
    m = torch.tensor([1.1, 0.8, 1.0, 0.7])
    truth = mean + (m - mean - other) @ torch.linalg.solve(covariance + further, covariance)
    torch.manual_seed(0)
    x = peers.PEERS[name](prior, m.reshape(1, 1, 2, 2).expand(SAMPLES, -1, -1, -1), 100, **settings).flatten(2)
    off = (x.mean(0) - torch.stack([truth, m - truth])).abs().max()
    assert off < error
    assert (truth - m / 2).abs().max() > 0.15  # so far is an answer that knows nothing of the sources


@pytest.mark.parametrize("name", peers.PEERS)
def test_evaluations_are_as_many_as_asked_for(prior, name):
    counted = [peers.Counted(one) for one in prior.members]
    peers.PEERS[name](basis.Product(counted), torch.ones(3, 1, 2, 2), 20)
    assert [one.forwards / 3 for one in counted] == [20, 20]
    assert [one.vjps / 3 for one in counted] == [BACKWARD.get(name, 0)] * 2


def test_mixtures_in_a_batch_do_not_change_each_other_in_azulas_dps(prior, monkeypatch):
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.full_like(x, 0.3))
    m = torch.rand(2, 1, 2, 2)
    both = peers.azula_dps(prior, m, 10)
    alone = torch.cat([peers.azula_dps(prior, one, 10) for one in m.split(1)])
    assert torch.allclose(both, alone, atol=1e-5)
