"""Side by side with other libraries: azula's DPS and MMPS, deepinv's DPS, DDRM and DiffPIR, on pairs of digits.

`python benchmarks/peers.py` (extra `peers`). All have the same prior, the same mixtures m = x₁ + x₂ and the same number
of evaluations of the network for each source, counted at the network with everything included; backward passes through
it (VJPs) are counted beside. The peers are used as they ship; this file holds only what joins them to a prior of ours:
two sources are two channels, so that the joint prior is the product, and A = [1 1] sums them. Everything is in the
units of the data, images in [0, 1]; what a peer keeps in [-1, 1] it converts itself.

How the peers' settings were chosen, and what else was tried: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import azula.denoise
import azula.guidance.dps
import azula.guidance.mmps
import azula.noise
import azula.sample
import deepinv
import torch
from azula.linalg.covariance import IsotropicCovariance
from torch import Tensor

import basis
from basis.core.dataset import DATASETS
from basis.core.metric import align, reorder
from basis.core.prior import Prior, Product, ScorePrior
from basis.core.schedule import karras
from basis.core.separator import choose
from basis.evaluate import mixtures as mix
from basis.evaluate.statistics import standard_error
from basis.io.presets import resolve
from basis.metrics.psnr import psnr
from basis.runs.write import versions

BATCH = 48
FRESH = 1e9  # as the amount of noise drawn anew in each step: all of it
MIXING = basis.WeightedSum([1.0, 1.0])


class Counted(ScorePrior):
    """A prior that counts the examples that it is asked about, and those that gradients go back through."""

    def __init__(self, prior: Prior) -> None:
        super().__init__(prior.shape, prior.data_range, prior.levels)
        self.prior, self.forwards, self.vjps = prior, 0, 0

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        self.forwards += len(x)
        score = self.prior.score(x, sigma)
        if score.requires_grad:
            score.register_hook(self._note)
        return score

    def _note(self, gradient: Tensor) -> None:
        self.vjps += len(gradient)


# Adapters.


def denoise(prior: Product, x: Tensor, sigma: float | Tensor) -> Tensor:
    """Return D(x, σ) of K one-channel sources stacked as channels, (B, K, H, W), in the type of x."""
    level = torch.as_tensor(sigma, dtype=torch.float32, device=x.device)
    level = level.reshape(()) if level.numel() == 1 else level.reshape(-1)
    return prior.denoise(x.float().unsqueeze(2), level).squeeze(2).to(x)


class Levels(azula.noise.Schedule):
    """Noise levels from σ_max (t = 1) to σ_min (t = 0), spaced as by `karras`: evenly in σ^(1/ρ); α = 1."""

    def __init__(self, sigma_max: float, sigma_min: float, rho: float) -> None:
        self.high, self.low, self.rho = sigma_max ** (1 / rho), sigma_min ** (1 / rho), rho

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), (self.low + t * (self.high - self.low)) ** self.rho


class AzulaDenoiser(azula.denoise.Denoiser):
    """A prior of stacks as azula's denoiser: ``E[x | x_t] = D(x_t / α_t, σ_t / α_t)``."""

    def __init__(self, prior: Product, schedule: azula.noise.Schedule) -> None:
        super().__init__()
        self.prior, self.schedule = prior, schedule

    def forward(self, x_t: Tensor, t: Tensor, **_) -> azula.denoise.DiracPosterior:
        alpha, sigma = self.schedule(t)
        return azula.denoise.DiracPosterior(denoise(self.prior, x_t / alpha, sigma / alpha))


class DeepinvDenoiser(deepinv.models.Denoiser):
    """A prior of stacks as deepinv's denoiser, which knows images in [0, 1]."""

    def __init__(self, prior: Product) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, x: Tensor, sigma: float | Tensor, **_) -> Tensor:
        return denoise(self.prior, x, sigma)


def summed(m: Tensor, noise: float) -> deepinv.physics.DecomposablePhysics:
    """Return A = [1 1] with its SVD: U = 1, singular values (√2, 0), V the rotation to sum and difference over √2."""

    def turn(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]], 1) / math.sqrt(2)

    return deepinv.physics.DecomposablePhysics(
        U=lambda z: z[:, :1],
        U_adjoint=lambda y: torch.cat([y, torch.zeros_like(y)], 1),
        V=turn,
        V_adjoint=turn,
        mask=m.new_tensor([math.sqrt(2), 0.0]).reshape(1, 2, 1, 1).expand(1, 2, *m.shape[2:]).clone(),
        noise_model=deepinv.physics.GaussianNoise(noise),
        device=m.device,
    )


def halves(m: Tensor) -> Tensor:
    """Return the even split of mixtures (B, 1, H, W) into two sources, (B, 2, H, W): where all start."""
    return (m / 2).expand(-1, 2, -1, -1)


# Peers: prior of stacks, mixtures (B, 1, H, W) and evaluations → sources (B, 2, H, W).


def azula_dps(
    prior: Product,
    m: Tensor,
    evaluations: int,
    zeta: float = 1.0,
    sigma_max: float = 1.5,
    sigma_min: float = 0.002,
    rho: float = 1.0,
) -> Tensor:
    """azula's DPSSampler: DDPM steps, each less ζ ∇‖m - A(D(x_t))‖.

    Its norm is taken over the whole batch. The operator given to it is therefore that of a batch: the sum of the norms
    of the mixtures' errors, a single number to be brought to 0, whose gradient is for each mixture that of its own.
    """

    def errors(x: Tensor) -> Tensor:
        return torch.linalg.vector_norm((m - x.sum(1, keepdim=True)).flatten(1), dim=1).sum()

    denoiser = AzulaDenoiser(prior, Levels(sigma_max, sigma_min, rho))
    sampler = azula.guidance.dps.DPSSampler(
        denoiser, m.new_zeros(()), errors, zeta, steps=evaluations, silent=True, device=m.device
    )
    return sampler(sampler.init(halves(m).shape, mean=halves(m), var=0.0))


def azula_mmps(
    prior: Product,
    m: Tensor,
    evaluations: int,
    noise: float = 0.01,
    iterations: int = 5,
    solver: str = "gmres",
    eta: float = FRESH,
    sigma_max: float = 1.0,
    sigma_min: float = 0.01,
    rho: float = 1.0,
) -> Tensor:
    """azula's MMPSDenoiser under its DDIMSampler (η = 1 is DDPM); each solver iteration is a VJP, and one more."""
    denoiser = azula.guidance.mmps.MMPSDenoiser(
        AzulaDenoiser(prior, Levels(sigma_max, sigma_min, rho)),
        m.flatten(1),
        lambda x: x.sum(1).flatten(1),
        IsotropicCovariance(m.new_tensor(noise**2)),
        solver=solver,
        iterations=iterations,
    )
    sampler = azula.sample.DDIMSampler(denoiser, eta=eta, steps=evaluations, silent=True, device=m.device)
    return sampler(sampler.init(halves(m).shape, mean=halves(m), var=0.0))


def deepinv_dps(
    prior: Product,
    m: Tensor,
    evaluations: int,
    weight: float = 100.0,
    guidance: str = "norm",
    noise: float = 0.01,
    alpha: float = FRESH,
    sigma_max: float = 1.0,
    sigma_min: float = 0.005,
    rho: float = 1.0,
) -> Tensor:
    """deepinv's DPS, variance exploding, with its ancestral solver (α = 1 is DDPM); ends with a denoising."""
    low, high = 0.001, 80.0  # of its schedule, in [-1, 1]: σ = low (high / low)^t
    sigmas = 2 * karras(sigma_max, sigma_min, evaluations, rho).to(m.device)
    solver = deepinv.sampling.AncestralSolver(torch.log(sigmas / low) / math.log(high / low))
    sampler = deepinv.sampling.DPS(
        DeepinvDenoiser(prior), "ve", solver, alpha, weight=weight, guidance=guidance, device=m.device
    )
    x = 2 * halves(m).double() - 1
    return sampler(m, summed(m, noise), x_init=x + sigmas[0] * torch.randn_like(x)).float()


def deepinv_ddrm(
    prior: Product,
    m: Tensor,
    evaluations: int,
    eta: float = 1.0,
    etab: float = 1.0,
    noise: float = 0.01,
    sigma_max: float = 1.0,
    sigma_min: float = 0.01,
    rho: float = 1.0,
) -> Tensor:
    """deepinv's DDRM on levels of our choice; ends with the denoised estimate at the last."""
    sigmas = karras(sigma_max, sigma_min, evaluations, rho).tolist()
    return deepinv.sampling.DDRM(DeepinvDenoiser(prior), sigmas, eta, etab)(m, summed(m, noise))


def deepinv_diffpir(
    prior: Product, m: Tensor, evaluations: int, noise: float = 0.005, lambda_: float = 7.0, zeta: float = 1.0
) -> Tensor:
    """deepinv's DiffPIR; its noise levels are fixed (σ from 79 to 0.005). In float64, for its proximal step cancels."""
    physics = summed(m.double(), noise)
    model = deepinv.sampling.DiffPIR(
        DeepinvDenoiser(prior),
        deepinv.optim.data_fidelity.L2(),
        sigma=noise,
        max_iter=evaluations,
        zeta=zeta,
        lambda_=lambda_,
        device=m.device,
    )
    return model(m.double(), physics, x_init=halves(m.double())).float()


PEERS: dict[str, Callable[..., Tensor]] = {
    "azula DPS": azula_dps,
    "azula MMPS": azula_mmps,
    "deepinv DPS": deepinv_dps,
    "deepinv DDRM": deepinv_ddrm,
    "deepinv DiffPIR": deepinv_diffpir,
}


# Measuring.


def separate(name: str, problem: mix.Mixtures, counted: Counted, budget: int, seed: int, settings: dict) -> Tensor:
    """Return the sources that `basis` or a peer finds, (n, 2, 1, H, W); values that are not finite become 1/2."""
    if name == "basis":
        chosen = choose(*resolve(None, settings, budget))
        found = basis.separate(problem.mixture, counted, MIXING, chosen, seed=seed, batch_size=BATCH)
        return found.sources
    prior, parts = Product([counted] * MIXING.sources), []
    torch.manual_seed(seed)
    for m in problem.mixture.split(BATCH):
        parts.append(PEERS[name](prior, m, budget, **settings))
    return torch.cat(parts).unsqueeze(2).nan_to_num(0.5, 0.5, 0.5)


def unclamped(x: Tensor, truth: Tensor) -> Tensor:
    """Return the PSNR of sources as they are, (n,), under the assignment that `psnr` finds, which clamps them."""
    error = (reorder(x, align(x, truth)) - truth).double().square().flatten(2).mean(2)
    return (-10 * error.log10()).mean(1)


def measure(name: str, problem: mix.Mixtures, prior: Prior, budget: int, seed: int, settings: dict) -> dict:
    """Return what one method reaches with a budget: PSNR as it ends, clamped, and projected onto the mixture.

    ``psnr`` is the one of the latter two whose mean is higher. Evaluations and VJPs are for each source.
    """
    counted, start = Counted(prior), time.monotonic()
    x = separate(name, problem, counted, budget, seed, settings).cpu()
    seconds, truth, m = time.monotonic() - start, problem.sources.cpu(), problem.mixture.cpu()
    ways = {
        "clamped": psnr(x, truth, prior.data_range),
        "projected": psnr(MIXING.project(x, m, prior.data_range), truth, prior.data_range),
    }
    best = max(ways, key=lambda way: ways[way].mean().item())
    images = len(m) * MIXING.sources
    return {
        "method": name,
        "budget": budget,
        "evaluations": counted.forwards / images,
        "vjps": counted.vjps / images,
        "seconds": round(seconds, 1),
        "psnr_mean": ways[best].mean().item(),
        "psnr_standard_error": _error(ways[best]),
        "psnr_median": ways[best].quantile(0.5).item(),
        "end": best,
        "raw_mean": unclamped(x, truth).mean().item(),
        **{f"{way}_mean": values.mean().item() for way, values in ways.items()},
        "residual": (m - MIXING(x)).flatten(1).square().mean(1).mean().item(),
        "settings": settings,
        "psnr": ways[best].tolist(),
    }


def _error(values: Tensor) -> float:
    error = standard_error(values.numpy())
    return float("nan") if error is None else error


def compared(row: dict, reference: dict | None) -> dict:
    """Return how much better `basis` is with the same budget, mixture by mixture, with its standard error."""
    if reference is None or row is reference:
        return {}
    gains = torch.tensor(reference["psnr"]) - torch.tensor(row["psnr"])
    return {"basis_better_by": gains.mean().item(), "basis_better_by_standard_error": _error(gains)}


def line(row: dict) -> str:
    """Return a row of the table."""
    gain = ""
    if "basis_better_by" in row:
        gain = f"{row['basis_better_by']:+9.2f}{row['basis_better_by_standard_error']:7.2f}"
    return (
        f"{row['method']:16}{row['budget']:7}{row['evaluations']:8.1f}{row['vjps']:8.1f}{row['seconds']:9.1f}"
        f"{row['psnr_mean']:9.2f}{row['psnr_standard_error']:7.2f}{row['psnr_median']:8.2f} {row['end']:10}"
        f"{row['raw_mean']:8.2f}{row['clamped_mean']:9.2f}{row['projected_mean']:10.2f}{gain}"
    )


def setting(text: str) -> tuple[str, object]:
    """Return name and value of NAME=VALUE, the value read as JSON where it is."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(["basis", *PEERS]), help="names, separated by commas")
    parser.add_argument("--budgets", default="50,100,300", help="evaluations a source")
    parser.add_argument("--split", default="validation", help="validation for tuning, test for final figures")
    parser.add_argument("--n", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prior", default="mnist")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="no", help="no (float32), bf16, fp16")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="of the methods")
    parser.add_argument("--data-dir", default=None, help="folder of data sets (or set BASIS_DATA)")
    parser.add_argument("--json", type=Path, default=Path("peers.json"))
    options = parser.parse_args()
    problem = mix.draw_mixtures(DATASETS.get("mnist")(options.data_dir), options.split, n=options.n, seed=options.seed)
    problem = replace(problem, mixture=problem.mixture.to(options.device))
    prior = basis.Accelerated(basis.load_prior(options.prior, options.device), options.precision)
    facts = {
        "command": shlex.join(sys.argv),
        "setup": {key: str(value) for key, value in vars(options).items()},
        "versions": {**versions(), **{name: version(name) for name in ("azula", "deepinv")}},
        "defaults": {name: defaults(peer) for name, peer in PEERS.items()},
    }
    rows: list[dict] = []
    print(
        f"{'method':16}{'budget':>7}{'evals':>8}{'VJPs':>8}{'seconds':>9}{'mean dB':>9}{'± s.e.':>7}{'median':>8} "
        f"{'end':10}{'raw':>8}{'clamped':>9}{'projected':>10}{'basis +':>9}{'± s.e.':>7}"
    )
    for budget in map(int, options.budgets.split(",")):
        reference = None
        for name in options.methods.split(","):
            row = measure(name, problem, prior, budget, options.seed, dict(options.set))
            reference = row if name == "basis" else reference
            rows.append(row | compared(row, reference))
            print(line(rows[-1]), flush=True)
            options.json.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")  # should the rest be stopped


def defaults(peer: Callable[..., Tensor]) -> dict:
    """Return the settings of a peer that are used where none are given."""
    parameters = inspect.signature(peer).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


if __name__ == "__main__":
    main()
