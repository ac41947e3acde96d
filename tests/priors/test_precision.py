"""Priors in low precision: the same operators on every device, on CUDA too."""

import copy

import pytest
import torch
from torch import nn

import basis
from basis.core.prior import per_example
from basis.nn.magnitude import hold_weights
from basis.priors.edm import EDM
from basis.priors.glow import Glow
from on_cuda import AsOnCuda

TINY = {"mean": 0.3, "std": 0.25, "widths": [8, 16], "blocks": [1, 1], "attention": [False, True]}
COLOURS = {"colours": 0.1, "known": [[1 / 3] * 3], "classes": 4, "reads": [8, 16]}


def stirred(prior):
    """Give every parameter a value that does something."""
    generator = torch.Generator().manual_seed(0)
    for parameter in prior.parameters():
        if parameter.dim() < 2 or not parameter.any():
            parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return prior.eval().requires_grad_(False)


def held():
    prior = EDM([1, 8, 8], **TINY)
    hold_weights(prior)
    return prior


def unet(**more):
    pytest.importorskip("diffusers", reason="models of diffusers need that package")
    from basis.priors.diffusion import Diffusion

    config = {
        "sample_size": 16, "in_channels": 1, "out_channels": 1, "block_out_channels": [8, 16], "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": 8,
    }  # fmt: skip
    return Diffusion(config | more, {"beta_schedule": "linear"}, label=1 if "num_class_embeds" in more else None)


PRIORS = {
    "edm": lambda: EDM([1, 8, 8], **TINY),
    "edm held": held,
    "by level": lambda: EDM([1, 8, 8], **TINY, borders=[0.3]),
    "colours": lambda: EDM([3, 8, 8], **TINY, **COLOURS),
    "ncsn": lambda: basis.NCSN([1, 8, 8], 4, sigmas=[0.9, 0.3, 0.1]),
    "ncsnv2": lambda: basis.NCSN([1, 8, 8], 4, sigmas=[0.9, 0.3, 0.1], version=2),
    "glow": lambda: Glow([1, 8, 8], scales=2, depth=2, width=8, std=0.3),
    "glow lu": lambda: Glow([1, 8, 8], levels=[0.9, 0.3, 0.1], scales=2, depth=1, width=8, lu=True),
    "diffusion": unet,
    "diffusion classes": lambda: unet(num_class_embeds=3),
    "diffusion resnet": lambda: unet(downsample_type="resnet", upsample_type="resnet"),
    "diffusion scale shift": lambda: unet(resnet_time_scale_shift="scale_shift"),
    "rescaled": lambda: basis.Rescaled(EDM([1, 8, 8], **TINY), 2.0, -1.0),
    "windowed": lambda: basis.Windowed(EDM([1, 8, 8], **TINY), (12, 12)),
    "mixture": lambda: basis.GaussianMixture([0.5, 0.5], torch.rand(2, 3), torch.eye(3).expand(2, 3, 3)),
}


@pytest.fixture(params=PRIORS)
def prior(request):
    torch.manual_seed(0)
    return stirred(PRIORS[request.param]())


def images(prior, n=3):
    return torch.rand(n, *prior.shape, generator=torch.Generator().manual_seed(1))


def error(found, right):
    """Return the root of the mean squared error."""
    return (found - right).square().mean().sqrt()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("sigma", [0.3, torch.tensor([0.9, 0.3, 0.1])], ids=["one", "each"])
def test_low_precision_is_the_same_prior_but_for_rounding(prior, precision, sigma):
    x = images(prior)
    before = copy.deepcopy(prior.state_dict())
    fast, plain = basis.Accelerated(prior, precision), prior.denoise(x, sigma)
    found, score = fast.denoise(x, sigma), fast.score(x, sigma)
    assert found.dtype == score.dtype == torch.float32
    assert error(found, plain) < {"bf16": 0.01, "fp16": 0.002}[precision]
    assert torch.equal(found, plain) == isinstance(prior, basis.GaussianMixture)  # which has no networks
    torch.testing.assert_close(x + per_example(sigma, x) ** 2 * score, found, rtol=0, atol=1e-4)
    after = prior.state_dict()  # the prior that was given is as before
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) and before[k].dtype == after[k].dtype for k in before)
    assert torch.equal(prior.denoise(x, sigma), plain)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_operators_are_the_same_on_every_device(prior, precision):
    """No autocast, whose list of operators depends on the device; and a caller's own, as CUDA has it, does no harm."""
    fast, seen = basis.Accelerated(prior, precision), []
    for module in fast.modules():
        module.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    x = images(prior)
    plain = fast.score(x, 0.3)
    assert not any(seen)
    with AsOnCuda(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = fast.score(x, 0.3)
    assert error(found, plain) < 0.1 * plain.square().mean().sqrt()


def test_gradients_pass_through_low_precision(edm):
    x = images(edm).requires_grad_()
    pulls = [torch.autograd.grad(p.denoise(x, 0.3).sum(), x)[0] for p in (edm, basis.Accelerated(edm, "bf16"))]
    torch.testing.assert_close(pulls[1], pulls[0], rtol=0, atol=0.02)
    assert not torch.equal(*pulls)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar10-colour", "ncsn-mnist", "glow-mnist"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_bundled_priors_in_low_precision(name, precision):
    prior = basis.load_prior(name)
    x, sigma = images(prior, 2), prior.levels[3] if prior.levels else 0.4
    with AsOnCuda():
        found = basis.Accelerated(prior, precision).denoise(x, sigma)
    assert error(found, prior.denoise(x, sigma)) < 0.03


def test_a_network_of_ones_own_in_low_precision():
    """Layers compute in bf16; what the network makes of its noise level, in float32, is cast where it arrives."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.frequencies = nn.Parameter(torch.linspace(1, 300, 16))
            self.register_buffer("kernel", torch.ones(1, 1, 3, 3) / 9)
            self.embed, self.attend = nn.Linear(16, 8), nn.MultiheadAttention(8, 2, batch_first=True)
            self.enter, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8)
            self.batch, self.leave = nn.BatchNorm2d(8), nn.Conv2d(8, 1, 3, padding=1)

        def forward(self, x, level):
            self.seen = torch.sin(level[:, None] * self.frequencies)
            x = nn.functional.conv2d(x, self.kernel, padding=1)
            x = self.batch(self.norm(self.enter(x))) + self.embed(self.seen)[:, :, None, None]
            y = x.flatten(2).transpose(1, 2)
            self.type = y.dtype
            return self.leave(x + self.attend(y, y, y)[0].transpose(1, 2).unflatten(2, x.shape[2:]))

    class Mine(basis.ScorePrior):
        def __init__(self):
            super().__init__((1, 8, 8))
            self.network = Own()

        def score(self, x, sigma):
            return (self.network(x, per_example(sigma, x).expand(len(x), 1, 1, 1).reshape(-1)) - x) / sigma**2

    torch.manual_seed(0)
    prior = Mine().eval().requires_grad_(False)
    fast, x = basis.Accelerated(prior, "bf16"), images(prior)
    torch.testing.assert_close(fast.denoise(x, 0.7), prior.denoise(x, 0.7), rtol=0, atol=0.02)
    assert fast.prior.network.type == torch.bfloat16
    assert torch.equal(fast.prior.network.seen, prior.network.seen)  # to the bit


def test_a_network_that_does_not_compute_in_low_precision_says_so():
    class Stubborn(basis.ScorePrior):
        def __init__(self):
            super().__init__((4,))
            self.layer = nn.Linear(4, 4)

        def score(self, x, sigma):
            return x @ self.layer.weight

    with pytest.raises(basis.UsageError, match=r"does not compute in bf16.*precision"):
        basis.Accelerated(Stubborn()).score(torch.zeros(1, 4), 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edm", "by level", "ncsn"])
def test_compiled_in_low_precision(name):
    torch.manual_seed(0)
    prior = stirred(PRIORS[name]())
    fast, x = basis.Accelerated(prior, "bf16", compile=True), images(prior)
    torch.testing.assert_close(fast.denoise(x, 0.3), prior.denoise(x, 0.3), rtol=0, atol=0.02)
    assert fast.compiled
    assert all(module._compiled_call_impl is None for module in prior.modules())
