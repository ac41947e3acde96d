"""Pipelines of diffusers as people have them: variants, shards, pickles, wrapped networks, other schedulers."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import basis

diffusers = pytest.importorskip("diffusers", reason="needs pip install 'basis-separation[diffusers]'")
from basis.formats.diffusers import Diffusers  # noqa: E402
from basis.priors.diffusion import Diffusion  # noqa: E402

TINY = {
    "sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": [8, 8], "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2, "layers_per_block": 1,
    "add_attention": False,
}  # fmt: skip
X = torch.linspace(0, 1, 128).reshape(2, 1, 8, 8)
ZERO = {"beta_schedule": "linear", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return diffusers.UNet2DModel(**TINY)


@pytest.fixture
def save(unet, tmp_path):
    """Save the pipeline as diffusers does; returns its folder."""

    def call(name="pipeline", network=unet, **options):
        folder = tmp_path / name
        diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(folder, **options)
        return folder

    return call


@pytest.fixture(scope="module")
def truth(unet):
    return Diffusion(unet, diffusers.DDPMScheduler()).score(X, 0.3)


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("shard", [None, "20KB"])
def test_what_diffusers_writes_is_read(save, truth, safe, variant, shard):
    folder = save(safe_serialization=safe, variant=variant, **({"max_shard_size": shard} if shard else {}))
    files = [path.name for path in (folder / "unet").iterdir() if path.suffix in (".safetensors", ".bin")]
    assert (len(files) > 1) == bool(shard)
    found = Diffusers().read(folder)
    assert torch.equal(found.prior.score(X, 0.3), truth)
    assert set(found.card["weights"]) == set(files)
    (folder / "unet" / files[0]).unlink()
    with pytest.raises(basis.DataError, match=r"parts of the UNet's weights|does not hold the UNet's weights"):
        basis.load_prior(folder)


def test_weights_of_16_bits_become_float32(unet, save, truth):
    half = diffusers.UNet2DModel.from_config(unet.config)
    half.load_state_dict(unet.state_dict())
    prior = basis.load_prior(save(network=half.half(), variant="fp16"))
    assert {parameter.dtype for parameter in prior.parameters()} == {torch.float32}
    torch.testing.assert_close(prior.score(X, 0.3), truth, rtol=0, atol=0.02)


def test_variants(save, truth, tmp_path):
    folder = save(variant="ema")
    weights = folder / "unet" / "diffusion_pytorch_model.ema.safetensors"
    other = {key: value + 1 for key, value in load_file(weights).items()}
    save_file(other, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(basis.UsageError, match=r"has variants ema, fp16.*--set variant=NAME"):
        basis.load_prior(folder)
    assert torch.equal(Diffusers(variant="ema").read(folder).prior.score(X, 0.3), truth)
    with pytest.raises(basis.DataError, match=r"weights raw, .* it has ema, fp16"):
        Diffusers(variant="raw").read(folder)
    shutil.copy(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(basis.load_prior(folder).score(X, 0.3), truth)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_prefixes(save, truth, prefix, kind):
    folder = save()
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {prefix + key: value for key, value in load_file(path).items()}
    path.unlink()
    save_file(tensors, path) if kind == "safetensors" else torch.save(tensors, path.with_suffix(".bin"))
    assert torch.equal(basis.load_prior(folder).score(X, 0.3), truth)


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, lambda unet: torch.compile(unet, backend="eager")])
def test_live_networks_that_are_wrapped(unet, truth, wrap):
    scheduler = diffusers.DDPMScheduler()
    pipeline = diffusers.DDPMPipeline(unet, scheduler)
    pipeline.unet = wrap(unet)
    assert torch.equal(Diffusion(wrap(unet), scheduler).score(X, 0.3), truth)
    assert torch.equal(basis.load_prior(pipeline).score(X, 0.3), truth)
    with pytest.raises(basis.UsageError, match="alone does not say which noise"):
        basis.load_prior(wrap(unet))


def test_git_lfs_pointers(save):
    folder = save()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(pointer)
    with pytest.raises(basis.DataError, match=r"is a Git LFS pointer, not the file\. To fix: git lfs pull"):
        basis.load_prior(folder)


SCHEDULERS = ["EulerDiscrete", "EulerAncestralDiscrete", "DPMSolverMultistep", "UniPCMultistep", "DDPM"]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_zero_terminal_signal(unet, name):
    """The last of a thousand times is pure noise; every scheduler with that config gives the prior that DDIM's does."""
    expected = Diffusion(unet, {"_class_name": "DDIMScheduler", **ZERO})
    found = Diffusion(unet, {"_class_name": f"{name}Scheduler", **ZERO})
    assert len(found._times) == 999
    assert found.sigma_max == expected.sigma_max
    assert torch.equal(found.score(X, 2.0), expected.score(X, 2.0))


@pytest.mark.parametrize(("size", "levels", "near"), [(28, 4, "24 or 32"), ([28, 32], 4, "24 or 32"), (6, 3, "4 or 8")])
def test_sizes_that_a_network_cannot_halve(size, levels, near):
    config = {**TINY, "sample_size": size, "block_out_channels": [8] * levels}
    config |= {"down_block_types": ["DownBlock2D"] * levels, "up_block_types": ["UpBlock2D"] * levels}
    with pytest.raises(basis.UsageError, match=rf"halves its images {levels - 1} times.* for instance {near}, and pad"):
        Diffusion(config, {})
    right = Diffusion({**config, "sample_size": 32}, {})
    assert right.score(torch.zeros(1, 1, 32, 32), 0.3).shape == (1, 1, 32, 32)


def test_a_network_that_builds_and_does_not_run():
    heads = {"down_block_types": ["AttnDownBlock2D"] * 2, "up_block_types": ["AttnUpBlock2D"] * 2}
    with pytest.raises(basis.UsageError, match="does not build a UNet2DModel that runs"):
        Diffusion({**TINY, **heads, "attention_head_dim": 16}, {})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(save, value):
    folder = save()
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["conv_in.bias"][0] = value
    save_file(tensors, path)
    with pytest.raises(basis.DataError, match=r"1 of \d+ tensors hold NaN or infinite values: conv_in\.bias"):
        basis.load_prior(folder)


WORLD = {"block_out_channels": [10**6, 10**6], "layers_per_block": 10**6, "num_class_embeds": 10**10}


@pytest.mark.parametrize("name", WORLD)
def test_configs_that_ask_for_the_world(save, name):
    path = save() / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: WORLD[name]}))
    with pytest.raises(basis.BasisError, match=r"larger network|does not build|does not describe"):
        basis.load_prior(path.parent.parent)
