"""Are posterior samples as spread as the truth? `python benchmarks/calibration.py`: coverage of their intervals.

Sources are drawn from the prior itself and mixed, so that truth and exact posterior samples of the mixture are
exchangeable: the rank of a true pixel among itself and S samples is uniform on 0 … S. The interval between the smallest
and the largest of 19 samples then covers the truth with probability 18/20 = 90 %. Ties, of background pixels that are 0
everywhere, are broken at random. Because these dominate, the same share is given of pixels in doubt: those at which
truth and samples differ among each other by more than a threshold, which keeps them exchangeable.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import torch

import basis
from basis.core.noise import Noise
from basis.core.schedule import karras
from basis.io.presets import resolve
from basis.metrics.psnr import psnr
from basis.runs.write import versions

SAMPLES = 19  # the interval from the smallest to the largest covers 18 / 20
DOUBT = 0.1  # least difference among truth and samples of a pixel in doubt
METHODS = {  # name: method and settings
    "basis, the paper's text": ("basis", {}),
    "basis, released settings, our ending": ("basis", {"ratio": 0.7071, "delta": 3e-5, "stability": 2.0}),
    "sample, projection, 100 steps": ("sample", {"steps": 100, "bounded": True}),
    "sample, mmps, 100 steps": ("sample", {"steps": 100, "posterior": "mmps"}),
    "sample, 44 steps, share 0.9 (of --budget 100)": (
        "sample",
        {"steps": 44, "bounded": True, "sigma_max": 1.0, "rho": 2.0, "noise_correlation": 0.9},
    ),
}


def draw(prior: basis.Prior, n: int, seed: int) -> torch.Tensor:
    """Return n pairs drawn from the prior, (n, 2, *S): EDM's sampler with churn, 40 levels from 10."""
    noise = Noise((2, *prior.shape), seed, range(n))
    sampler = basis.Heun(karras(10.0, 0.01, 40, 7.0), churn=20.0)
    product = basis.Product([prior, prior])
    *_, last = sampler.run(product, prior.mean + sampler.levels[0] * noise.normal(), noise.normal)
    return last.x.clamp(*prior.data_range)


def ranks(samples: torch.Tensor, truth: torch.Tensor, seed: int) -> torch.Tensor:
    """Return the rank of each true value (n, …) among S samples (n, S, …), from 0 to S, ties broken at random."""
    ties = (samples == truth[:, None]).sum(1)
    u = torch.rand(truth.shape, generator=torch.Generator().manual_seed(seed))
    return (samples < truth[:, None]).sum(1) + (u * (ties + 1)).floor().long()


def coverage(samples: torch.Tensor, truth: torch.Tensor, seed: int) -> dict:
    """Return the covered share of all pixels and of those in doubt, each with its standard error over mixtures."""
    rank = ranks(samples, truth, seed)
    inside = ((rank > 0) & (rank < samples.shape[1])).double().flatten(1)
    together = torch.cat([truth[:, None], samples], 1)
    doubt = ((together.amax(1) - together.amin(1)) > DOUBT).double().flatten(1)
    shares = {"all": inside.mean(1), "in doubt": (inside * doubt).sum(1) / doubt.sum(1).clamp(min=1)}
    found = {name: (share.mean().item(), (share.std() / len(share) ** 0.5).item()) for name, share in shares.items()}
    return found | {"share in doubt": doubt.mean().item()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", default="mnist", help="an EDM prior")
    parser.add_argument("--n", type=int, default=24, help="mixtures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="bf16", help="no (float32), bf16, fp16")
    parser.add_argument("--only", default="", help="part of the names of the methods to try")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args()
    prior = basis.load_prior(args.prior)
    truth = draw(prior, args.n, args.seed + 1)
    mixing = basis.WeightedSum([1.0, 1.0])
    fast = basis.Accelerated(prior, args.precision)
    rows = []
    print(f"{'':46}{'covered':>9}{'± s.e.':>8}{'in doubt':>10}{'± s.e.':>8}{'dB':>7}{'seconds':>9}")
    for name, (method, settings) in METHODS.items():
        if args.only not in name:
            continue
        start = time.monotonic()
        chosen, settings = resolve(method, settings)
        found = basis.separate(
            mixing(truth), fast, mixing, chosen, seed=args.seed, samples=SAMPLES, batch_size=4, **settings
        )
        samples = found.samples.clamp(*prior.data_range)
        facts = coverage(samples, truth, args.seed) | {"psnr": psnr(samples[:, 0], truth, (0, 1)).mean().item()}
        facts |= {"name": name, "seconds": round(time.monotonic() - start, 1)}
        rows.append(facts)
        (every, error), (doubt, doubt_error) = facts["all"], facts["in doubt"]
        print(
            f"{name:46}{every:9.1%}{error:8.1%}{doubt:10.1%}{doubt_error:8.1%}{facts['psnr']:7.2f}"
            f"{facts['seconds']:9.0f}",
            flush=True,
        )
    if args.json:
        facts = {"command": shlex.join(sys.argv), "n": args.n, "seed": args.seed, "samples": SAMPLES}
        args.json.write_text(json.dumps(facts | {"versions": versions(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
