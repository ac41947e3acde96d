"""Models of diffusers as priors: exact networks in closed form, diffusers' own arithmetic, folders and a small hub."""

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import basis
from basis.cli import main
from basis.io.checkpoint import PRIORS
from basis.io.format import FORMATS

diffusers = pytest.importorskip("diffusers", reason="needs pip install 'basis-separation[diffusers]'")
from basis.formats.diffusers import Diffusers  # noqa: E402
from basis.priors.diffusion import Diffusion  # noqa: E402

TINY = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}
PLANS = {
    "linear": {"beta_schedule": "linear"},
    "scaled_linear": {"beta_schedule": "scaled_linear"},
    "latent's": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "sigmoid": {"beta_schedule": "sigmoid"},
    "trained_betas": {"trained_betas": np.geomspace(1e-4, 0.5, 40).tolist(), "num_train_timesteps": 40},
    "zero_snr": {"beta_schedule": "linear", "rescale_betas_zero_snr": True},
}
KINDS = ["epsilon", "v_prediction", "sample"]
SIGMAS = [0.015, 0.05, 0.2, 1.0]
MEAN, VARIANCE = torch.linspace(0.1, 0.9, 64).reshape(1, 8, 8), torch.logspace(-5, 0, 64).reshape(1, 8, 8)


def schedule(plan, kind="epsilon"):
    return diffusers.DDPMScheduler(**PLANS[plan], prediction_type=kind)


class Exact(diffusers.UNet2DModel):
    """The perfect network for pixels N(MEAN, VARIANCE): what it returns at time t is known in closed form."""

    def __init__(self, plan):
        super().__init__(**TINY)
        bar = plan.alphas_cumprod.double().numpy()
        self.bar, self.kind, self.seen = bar[bar > 0], plan.config.prediction_type, []

    def forward(self, sample, timestep, class_labels=None):
        self.seen.append((sample, timestep))
        ratio = np.log((1 - self.bar) / self.bar)  # minus the log-SNR, between whole times a straight line
        ratio = np.interp(timestep.double().numpy(), np.arange(len(ratio)), ratio)
        bar = torch.from_numpy(1 / (1 + np.exp(ratio))).reshape(-1, 1, 1, 1)
        mean, variance, z = 2 * MEAN.double() - 1, 4 * VARIANCE.double(), sample.double()
        whitened = (z - bar.sqrt() * mean) / (bar * variance + 1 - bar)
        clean, noise = mean + bar.sqrt() * variance * whitened, (1 - bar).sqrt() * whitened
        answer = {"epsilon": noise, "sample": clean, "v_prediction": bar.sqrt() * noise - (1 - bar).sqrt() * clean}
        return diffusers.models.unets.unet_2d.UNet2DOutput(sample=answer[self.kind].to(sample))


def exact(plan, kind="epsilon"):
    scheduler = schedule(plan, kind)
    return Diffusion(Exact(scheduler), scheduler)


def images(count, seed=0):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return diffusers.UNet2DModel(**TINY)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plan", PLANS)
def test_the_score_of_a_gaussian(plan, kind, sigma):
    # Pixels N(μ, C) have ∇ log p_σ(x) = -(x - μ) / (C + σ²). A network that returns the clean image leaves the noise as
    # a difference, which in float32 costs digits in proportion to 1/σ; the other two lose none.
    prior = exact(plan, kind)
    assert prior.sigma_min < sigma < prior.sigma_max
    x = MEAN + (VARIANCE + sigma**2).sqrt() * torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = -(x - MEAN).double() / (VARIANCE.double() + sigma**2)
    loss = 3e-7 / sigma**2 if kind == "sample" else 0
    torch.testing.assert_close(prior.score(x, sigma).double(), expected, rtol=1e-4, atol=1e-4 + loss)
    expected = -(x.double() - MEAN.double()) / (VARIANCE.double() + sigma**2)  # and in float64 the formula is exact
    torch.testing.assert_close(prior.score(x.double(), sigma), expected, rtol=1e-7, atol=1e-7)
    clean = (x - MEAN).double() * VARIANCE.double() / (VARIANCE.double() + sigma**2) + MEAN
    torch.testing.assert_close(prior.denoise(x, sigma).double(), clean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_noise_level_for_each_example(kind):
    prior, x, sigmas = exact("linear", kind), images(3), torch.tensor([0.02, 0.3, 5.0])
    alone = torch.cat([prior.score(x[i : i + 1], sigma.item()) for i, sigma in enumerate(sigmas)])
    torch.testing.assert_close(prior.score(x, sigmas), alone, rtol=1e-5, atol=1e-5)
    expected = -(x - MEAN) / (VARIANCE + sigmas.reshape(3, 1, 1, 1) ** 2)
    torch.testing.assert_close(prior.score(x, sigmas), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("plan", PLANS)
def test_at_whole_times_the_network_sees_what_it_was_trained_on(plan):
    scheduler, prior = schedule(plan), exact(plan)
    clean, noise = images(2), torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    for time in (0, 7, 30):
        bar = scheduler.alphas_cumprod[time].double()
        sigma = ((1 - bar) / bar).sqrt().item() / 2
        prior.score(clean + sigma * noise, sigma)
        z, t = prior.unet.seen.pop()
        torch.testing.assert_close(t, torch.full((2,), float(time)), rtol=0, atol=1e-3)
        expected = scheduler.add_noise(2 * clean - 1, noise, torch.tensor([time, time]))
        torch.testing.assert_close(z, expected, rtol=0, atol=1e-5)


def test_between_times_the_log_ratio_is_linear():
    prior, bar = exact("cosine"), schedule("cosine").alphas_cumprod.double()
    levels = ((1 - bar) / bar).sqrt() / 2
    prior.score(images(1), (levels[10] * levels[11]).sqrt().item())
    assert prior.unet.seen.pop()[1].item() == pytest.approx(10.5, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plan", ["linear", "cosine"])
def test_denoising_is_diffusers_own(unet, plan, kind):
    # Clipping in the config is a sampler's affair and changes nothing here; the sampler below is told not to clip.
    stored = {"_class_name": "DDIMScheduler", **PLANS[plan], "prediction_type": kind, "clip_sample": True}
    prior = Diffusion(unet, stored | {"thresholding": True})
    scheduler = diffusers.DDPMScheduler(**PLANS[plan], prediction_type=kind, clip_sample=False)
    for time in (3, 400):
        bar = scheduler.alphas_cumprod[time].double()
        x, sigma = images(2), ((1 - bar) / bar).sqrt().item() / 2
        z = bar.sqrt().float() * (2 * x - 1)
        with torch.no_grad():
            step = scheduler.step(unet(z, time).sample, time, z)
        torch.testing.assert_close(2 * prior.denoise(x, sigma) - 1, step.pred_original_sample, rtol=1e-4, atol=2e-4)


def test_below_the_smallest_level_the_score_is_the_one_there():
    prior, x = exact("latent's"), images(2)
    assert prior.sigma_min == pytest.approx(0.01458, abs=1e-5)
    for sigma in (0.01, 1e-4, torch.tensor([0.01, 1e-4])):
        torch.testing.assert_close(prior.score(x, sigma), prior.score(x, prior.sigma_min), rtol=1e-5, atol=0)
    step = 1e-4 * prior.score(x, prior.sigma_min)  # the level itself stays exact in σ² ∇ log p
    torch.testing.assert_close(prior.denoise(x, 0.01), x + step, rtol=0, atol=1e-6)


def test_levels_out_of_range():
    prior, x = exact("latent's"), images(2)
    assert math.isfinite(prior.score(x, prior.sigma_max).sum())
    for sigma in (7.5, torch.tensor([0.1, 8.0])):
        with pytest.raises(basis.UsageError, match=r"above 0 to 7\.\d+, .* To fix: choose sigma_max at most 7"):
            prior.score(x, sigma)
    for sigma in (0.0, -1.0, math.nan):
        with pytest.raises(basis.UsageError, match="noise levels from above 0"):
            prior.score(x, sigma)


def test_the_network_is_a_copy(unet):
    half = diffusers.UNet2DModel.from_config(unet.config).half().train()
    prior = Diffusion(half, schedule("linear"))
    before = prior.score(images(2), 0.1)
    half.conv_in.weight.data.zero_()
    assert torch.equal(prior.score(images(2), 0.1), before)
    assert before.dtype == torch.float32
    assert half.training
    assert half.conv_in.weight.requires_grad
    assert half.dtype == torch.float16
    assert not prior.unet.training
    assert not any(parameter.requires_grad for parameter in prior.parameters())


def test_round_trip(unet, tmp_path):
    arrays = diffusers.DDIMScheduler(trained_betas=np.geomspace(1e-4, 0.5, 40), prediction_type="v_prediction")
    for scheduler in (schedule("cosine", "sample"), arrays):
        prior = Diffusion(unet, scheduler)
        again = basis.load_prior(basis.save_prior(prior, prior.arguments, tmp_path, overwrite=True))
        assert type(again) is Diffusion
        assert (again.shape, again.data_range, again.levels) == ((1, 8, 8), (0.0, 1.0), None)
        assert again.arguments == prior.arguments
        assert torch.equal(again.score(images(2), 0.1), prior.score(images(2), 0.1))
    assert PRIORS.name_of(Diffusion) == "diffusion"
    assert FORMATS.get("diffusers") is Diffusers


def test_class_conditional(tmp_path):
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**TINY, num_class_embeds=3)
    scores = [Diffusion(unet, schedule("linear"), label=label).score(images(2), 0.2) for label in range(3)]
    assert (scores[0] - scores[1]).abs().max() > 1e-2
    for label in (None, 3, -1, 1.0, True):
        with pytest.raises(basis.UsageError, match=r"one of 3 classes, got label .* from 0 to 2|takes a whole number"):
            Diffusion(unet, schedule("linear"), label=label)
    folder = tmp_path / "pipeline"
    diffusers.DDPMPipeline(unet, schedule("linear")).save_pretrained(folder)
    foreign = Diffusers(label=2).read(folder)
    assert torch.equal(foreign.prior.score(images(2), 0.2), scores[2])
    assert foreign.arguments["label"] == 2
    with pytest.raises(basis.UsageError, match=r"got label None.*--set label=0"):
        basis.load_prior(folder)


def test_a_label_for_an_unconditional_model(unet):
    with pytest.raises(basis.UsageError, match="the model is unconditional, got label 1"):
        Diffusion(unet, schedule("linear"), label=1)


def test_a_network_that_learned_a_variance():
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**TINY | {"out_channels": 2})
    prior = Diffusion(unet, {"_class_name": "DDPMScheduler", "variance_type": "learned_range"})
    z = (2 * images(2) - 1) / math.sqrt(1 + 0.4**2)
    t = torch.tensor(np.interp(math.log(0.4), prior._log_levels, prior._times))
    with torch.no_grad():
        expected = -unet(z, t.float()).sample[:, :1] / 0.2
    torch.testing.assert_close(prior.score(images(2), 0.2), expected, rtol=1e-4, atol=1e-4)


REFUSED = {
    "latent": ({"_class_name": "UNet2DConditionModel"}, {}, "expected a UNet2DModel, got a UNet2DConditionModel"),
    "fourier": ({"time_embedding_type": "fourier"}, {}, "time_embedding_type is 'fourier'"),
    "class type": ({"class_embed_type": "timestep"}, {}, "class_embed_type is 'timestep'"),
    "no size": ({"sample_size": None}, {}, 'does not say the size.*set "sample_size"'),
    "channels": ({"in_channels": 3}, {}, "takes 3 channels and returns 1"),
    "blocks": ({"down_block_types": ["DownBlock2D"]}, {}, "does not build a UNet2DModel"),
    "VE": ({}, {"_class_name": "ScoreSdeVeScheduler"}, "ScoreSdeVeScheduler does not describe.*DDPMScheduler, DDIM"),
    "EDM": ({}, {"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler does not describe a variance-preserving"),
    "flow": ({}, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "does not describe a variance-preserving"),
    "continuous": ({}, {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "does not describe"),
    "no scheduler": ({}, {"_class_name": "DDPMPipeline"}, "has no scheduler DDPMPipeline.*DDPMScheduler"),
    "prediction": ({}, {"prediction_type": "flow"}, "prediction_type is 'flow'.*epsilon, v_prediction, sample"),
    "betas": ({}, {"trained_betas": [0.1, 0.0, 0.1]}, "does not grow from step to step"),
    "schedule": ({}, {"beta_schedule": "none"}, "does not build a DDPMScheduler"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    network, plan, message = REFUSED[case]
    with pytest.raises(basis.UsageError, match=message) as caught:
        Diffusion(TINY | network, plan)
    assert "To fix: " in str(caught.value)


def test_neither_config_nor_object(unet):
    with pytest.raises(basis.UsageError, match="expected a UNet2DModel or its config, got a Linear"):
        Diffusion(torch.nn.Linear(1, 1), {})
    with pytest.raises(basis.UsageError, match="expected a scheduler or its config, got 'linear'"):
        Diffusion(unet, "linear")


def test_every_scheduler_with_the_same_process_gives_the_same_prior(unet):
    scores = [
        Diffusion(unet, {"_class_name": f"{name}Scheduler", "beta_schedule": "linear"}).score(images(2), 0.1)
        for name in ("DDPM", "DDIM", "PNDM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep")
    ]
    assert all(torch.equal(score, scores[0]) for score in scores)


def test_arguments_are_json(unet):
    prior = Diffusion(unet, schedule("trained_betas"))
    assert json.loads(json.dumps(prior.arguments)) == prior.arguments
    assert prior.arguments["scheduler"]["_class_name"] == "DDPMScheduler"


@pytest.fixture(scope="module")
def folder(unet, tmp_path_factory):
    """A pipeline as diffusers saves it."""
    folder = tmp_path_factory.mktemp("models") / "pipeline"
    diffusers.DDPMPipeline(unet, schedule("cosine")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def old(unet, folder, tmp_path_factory):
    """The same as a repository of 2022 has it: everything at the root, a pickle, other names in the attention."""
    root = tmp_path_factory.mktemp("models") / "old"
    root.mkdir()
    for path in (folder / "unet" / "config.json", folder / "scheduler" / "scheduler_config.json"):
        shutil.copy(path, root)
    index = {"_class_name": "DDPMPipeline", "_diffusers_version": "0.1.1"}
    index |= {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    (root / "model_index.json").write_text(json.dumps(index))
    then = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    names = {key: re.sub("|".join(then), lambda match: then[match[0]], key) for key in unet.state_dict()}
    assert "mid_block.attentions.0.query.weight" in names.values()
    tensors = {names[key]: tensor for key, tensor in unet.state_dict().items()}
    torch.save(tensors, root / "diffusion_pytorch_model.bin")
    return root


@pytest.fixture(scope="module")
def truth(unet):
    return Diffusion(unet, schedule("cosine")).score(images(2), 0.3)


def copied(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_pipeline_folder(folder, truth):
    for source in (folder, str(folder), folder / "unet"):
        assert torch.equal(basis.load_prior(source).score(images(2), 0.3), truth)
    card = Diffusers().read(folder).card
    content = (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert card["weights"] == {"diffusion_pytorch_model.safetensors": hashlib.sha256(content).hexdigest()}


def test_the_layout_of_the_first_repositories(old, truth):
    assert torch.equal(basis.load_prior(old).score(images(2), 0.3), truth)


def test_safetensors_come_before_a_pickle(folder, truth, tmp_path):
    folder = copied(folder, tmp_path)
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"never opened")
    prior = Diffusers().read(folder)
    assert torch.equal(prior.prior.score(images(2), 0.3), truth)
    assert list(prior.card["weights"]) == ["diffusion_pytorch_model.safetensors"]


class Bomb:
    def __reduce__(self):
        return print, ("a pickle ran",)


def test_a_pickle_runs_no_code(old, tmp_path, capfd):
    folder = copied(old, tmp_path)
    torch.save({"conv_in.weight": Bomb()}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(basis.DataError, match=r"is not a checkpoint that torch\.save wrote|with a state dict"):
        basis.load_prior(folder)
    assert "a pickle ran" not in capfd.readouterr().out


def test_live_pipelines(unet, truth):
    for pipeline in (diffusers.DDPMPipeline, diffusers.DDIMPipeline):
        assert torch.equal(basis.load_prior(pipeline(unet, schedule("cosine"))).score(images(2), 0.3), truth)
    with pytest.raises(basis.UsageError, match=r"UNet2DModel alone.*Diffusion\(unet, scheduler\)"):
        basis.load_prior(unet)
    with pytest.raises(basis.UsageError, match="ScoreSdeVeScheduler does not describe"):
        basis.load_prior(diffusers.ScoreSdeVePipeline(unet, diffusers.ScoreSdeVeScheduler()))


def test_without_a_scheduler(folder, truth, tmp_path):
    alone = Path(shutil.copytree(folder / "unet", tmp_path / "alone"))
    with pytest.raises(basis.DataError, match=r"has no scheduler_config.json.*save_pretrained.*--set 'scheduler="):
        basis.load_prior(alone)
    foreign = Diffusers(scheduler=PLANS["cosine"]).read(alone)
    assert torch.equal(foreign.prior.score(images(2), 0.3), truth)
    schedule("cosine").save_pretrained(alone)
    assert torch.equal(basis.load_prior(alone).score(images(2), 0.3), truth)


def test_what_is_left_to_others(tmp_path, folder):
    reader = Diffusers()
    for source in ("mnist", tmp_path, str(tmp_path / "none"), 3, torch.nn.Linear(1, 1), None):
        assert not reader.accepts(source)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert not reader.accepts(tmp_path)
    assert all(map(reader.accepts, [folder, str(folder), folder / "unet", "hub:google/ddpm-cifar10-32"]))


def edit(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize("part", ["vae", "vqvae", "text_encoder"])
def test_latent_pipelines(folder, tmp_path, part):
    folder = copied(folder, tmp_path)
    edit(folder / "model_index.json", lambda index: index | {part: ["diffusers", "AutoencoderKL"]})
    with pytest.raises(basis.UsageError, match=rf"latent or text-conditional model \(it has a {part}\).*out of scope"):
        basis.load_prior(folder)
    edit(folder / "model_index.json", lambda index: index | {part: [None, None]})  # a part that was left out
    assert basis.load_prior(folder).shape == (1, 8, 8)


def test_pipelines_of_other_parts(folder, tmp_path):
    folder = copied(folder, tmp_path)
    edit(folder / "model_index.json", lambda index: index | {"movement": ["diffusers", "X"]})
    with pytest.raises(basis.UsageError, match="expected a pipeline of a unet and a scheduler, DDPMPipeline has move"):
        basis.load_prior(folder)


def without(path, name):
    return {key: tensor for key, tensor in load_file(path).items() if key != name}


DAMAGES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is not a safetensors file, or damaged"),
    "gone": (lambda path: path.unlink(), "does not hold the UNet"),
    "config": (lambda path: (path.parent / "config.json").write_text("{"), "config.json is not a JSON object"),
    "no config": (lambda path: (path.parent / "config.json").unlink(), "has neither unet/config.json nor config.json"),
    "wider": (lambda path: edit(path.parent / "config.json", lambda c: c | {"block_out_channels": [8, 32]}), "UNet"),
    "deeper": (lambda path: edit(path.parent / "config.json", lambda c: c | {"layers_per_block": 2}), "is missing; "),
    "short of one": (
        lambda path: save_file(without(path, "conv_out.bias"), path),
        "describes: conv_out.bias is missing",
    ),
    "shallow": (lambda path: edit(path.parent / "config.json", lambda c: c | {"add_attention": False}), "left over"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged(folder, tmp_path, kind):
    damage, message = DAMAGES[kind]
    folder = copied(folder, tmp_path)
    damage(folder / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(basis.DataError, match=message) as caught:
        basis.load_prior(folder)
    assert "\n" not in str(caught.value)
    assert "To fix: " in str(caught.value)


def test_import_by_command(old, truth, tmp_path, monkeypatch):
    command = ["basis", "import", "diffusers", str(old), str(tmp_path / "prior")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert torch.equal(basis.load_prior(tmp_path / "prior").score(images(2), 0.3), truth)
    card = json.loads((tmp_path / "prior" / "card.json").read_text())
    assert card["weights"].keys() == {"diffusion_pytorch_model.bin"}


WITHOUT = """
import sys
sys.modules["diffusers"] = None  # as if it were not installed
import basis
from basis.cli import main
from basis.io.checkpoint import PRIORS
from basis.io.format import FORMATS
print(sorted({"diffusion"} & set(PRIORS.describe())), sorted({"diffusers"} & set(FORMATS.describe())))
print(basis.load_prior("mnist").shape)
for act in (lambda: PRIORS.get("diffusion")({}, {}), lambda: basis.load_prior("hub:google/ddpm-cifar10-32")):
    try:
        act()
    except basis.UsageError as error:
        print(error)
"""


def run(script, **environment):
    """Run a script in a process of its own; returns the lines that it printed."""
    environment = {**os.environ, **environment, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_diffusers():
    listed, bundled, *errors = run(WITHOUT)
    assert listed == "['diffusion'] ['diffusers']"
    assert bundled == "(1, 28, 28)"
    assert len(errors) == 2
    assert all("To fix: pip install 'basis-separation[diffusers]'" in error for error in errors)


class Hub(ThreadingHTTPServer):
    """As much of huggingface.co as a download needs: repositories are folders, large files are named by their hash."""

    daemon_threads = True

    def __init__(self, root):
        super().__init__(("127.0.0.1", 0), Handler)
        self.root, self.sent, self.url = root, [], f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/off":
            self.server.shutdown()
            self.server.server_close()
            self.answer(b"{}")  # last, so that the next request finds nobody
        elif match := re.fullmatch(r"/api/models/(\w+/\w+)(/revision/\w+|/tree/\w+)", path):
            folder = self.server.root / match[1]
            if not folder.is_dir():
                self.answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})
                return
            tree = [self.entry(file, folder) for file in sorted(folder.rglob("*")) if file.is_file()]
            info = {"id": match[1], "sha": self.COMMIT, "siblings": [{"rfilename": e["path"]} for e in tree]}
            self.answer(json.dumps(tree if "/tree/" in path else info).encode())
        else:
            match = re.fullmatch(rf"/(\w+/\w+)/resolve/{self.COMMIT}/(.*)", path)
            assert match, path
            repository, name = match.groups()
            entry = self.entry(self.server.root / repository / name, self.server.root / repository)
            tag = entry.get("lfs", {"oid": entry["oid"]})["oid"]
            content = (self.server.root / repository / name).read_bytes()
            if "tampered" in repository and name.endswith(".safetensors"):
                content = content[:-1] + bytes([content[-1] ^ 1])
            if self.command == "GET":
                self.server.sent.append(f"{repository}/{name}")
            self.answer(content, 200, {"ETag": f'"{tag}"', "X-Repo-Commit": self.COMMIT})

    do_HEAD = do_GET

    def entry(self, file, folder):
        content = file.read_bytes()
        entry = {"type": "file", "path": str(file.relative_to(folder)), "size": len(content)}
        entry["oid"] = hashlib.sha1(content).hexdigest()
        if file.suffix != ".json":
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    def answer(self, content, status=200, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


HUB = """
import os, torch, urllib.request, basis
def load(name):
    try:
        score = basis.load_prior("hub:" + name).score(torch.full((1, 1, 8, 8), 0.5), 0.3)
        print(score.double().sum().item())
    except basis.BasisError as error:
        print(type(error).__name__, error)
for name in ("us/new", "us/old", "us/tampered", "us/latent", "us/none"):
    load(name)
from basis.formats.diffusers import Diffusers
print(Diffusers().read("hub:us/new@main").card)
urllib.request.urlopen(os.environ["HF_ENDPOINT"] + "/off").read()
load("us/old")
load("us/other")
"""


def test_the_hub(folder, old, truth, unet, tmp_path):
    root = tmp_path / "hub"
    for name, source in {"new": folder, "old": old, "tampered": folder, "latent": folder, "other": old}.items():
        shutil.copytree(source, root / "us" / name)
    shutil.copy(old / "diffusion_pytorch_model.bin", root / "us" / "new" / "unet")  # not wanted beside safetensors
    edit(root / "us" / "latent" / "model_index.json", lambda index: index | {"vqvae": ["diffusers", "VQModel"]})
    hub = Hub(root)
    lines = run(HUB, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="0", no_proxy="127.0.0.1")
    new, old, tampered, latent, none, card, cached, offline = lines
    grey = Diffusion(unet, schedule("cosine")).score(torch.full((1, 1, 8, 8), 0.5), 0.3).double().sum().item()
    assert [float(new), float(old), float(cached)] == pytest.approx([grey] * 3, rel=1e-5)
    sent = {name for name in hub.sent if not name.endswith(".json")}
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert sent == {f"us/new/{weights}", f"us/tampered/{weights}", "us/old/diffusion_pytorch_model.bin"}
    assert re.match(r"DataError .*safetensors has sha256 .*expected .* To fix: delete .*blobs", tampered)
    assert re.match(r"UsageError DDPMPipeline is a latent .*it has a vqvae", latent)
    assert re.match(r"DataError us/none could not be downloaded \(RepositoryNotFound.*To fix: check the name", none)
    assert "'repository': 'us/new'" in card
    assert Handler.COMMIT in card
    assert re.match(r"DataError us/other could not .*without internet, run `hf download us/other --local-dir", offline)
