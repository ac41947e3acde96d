"""PSNR against evaluations: the presets and budgets on pairs of a data set, as a table, as JSON, and as a plot."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import torch

import basis
from basis import mixtures as mix
from basis.core.dataset import DATASETS
from basis.core.prior import Prior
from basis.core.separator import Separator, choose
from basis.evaluation import evaluate
from basis.files.write import versions
from basis.presets import resolve

BATCH = 48


class Counted(Prior):
    """A prior that counts the examples that it is asked about."""

    def __init__(self, prior: Prior) -> None:
        super().__init__(prior.shape, prior.support, prior.levels)
        self.prior, self.count = prior, 0

    def score(self, x: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
        self.count += len(x)
        return self.prior.score(x, sigma)


def measure(separator: str | Separator, problem: mix.Mixtures, prior: Prior, seed: int) -> dict:
    """Return PSNR, evaluations a source, everything included, and seconds of one way to separate."""
    counted, start = Counted(prior), time.monotonic()
    found = basis.separate(
        problem.mixture, counted, basis.WeightedSum(problem.weights), separator, seed=seed, batch_size=BATCH
    )
    facts = evaluate(found, problem.sources).facts()
    spent = counted.count / problem.sources[:, :, 0, 0, 0].numel()
    return {
        "evaluations": spent,
        "evaluations_most": int(found.evaluations.max()) if found.evaluations is not None else spent,
        "seconds": round(time.monotonic() - start, 1),
        **facts,
    }


def plot(rows: list[dict], path: Path) -> None:
    """Draw PSNR against evaluations, where matplotlib is installed."""
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot as plt
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    figure, axes = plt.subplots(figsize=(6, 4))
    budgets = [row for row in rows if row["name"].startswith("budget")]
    for some, style in ((budgets, "o-"), ([row for row in rows if row not in budgets], "s")):
        x, y, error = ([row[key] for row in some] for key in ("evaluations", "psnr_mean", "psnr_standard_error"))
        if some:
            axes.errorbar(x, y, [bar or 0 for bar in error], fmt=style, capsize=3)
    for row in rows:
        if row not in budgets:
            axes.annotate(f" {row['name']}", (row["evaluations"], row["psnr_mean"]))
    axes.set(xscale="log", xlabel="evaluations of the prior, a source", ylabel="PSNR / dB (mean ± s.e.)")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budgets", default="20,50,100,300,1000", help="evaluations a source")
    parser.add_argument("--methods", default="fast,quality,paper", help="presets or methods beside them")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--split", default="validation", help="validation for tuning, test for final figures")
    parser.add_argument("--prior", default="mnist")
    parser.add_argument("--n", type=int, default=48)
    parser.add_argument("--sources", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="no", help="no (float32), bf16, fp16")
    parser.add_argument("--data-dir", default=None, help="folder of data sets (or set BASIS_DATA)")
    parser.add_argument("--json", type=Path, default=Path("budgets.json"))
    parser.add_argument("--plot", type=Path, default=Path("budgets.png"))
    options = parser.parse_args()
    data = DATASETS.get(options.data)(options.data_dir)
    problem = mix.draw_mixtures(data, options.split, "agnostic", options.sources, options.n, options.seed)
    prior = basis.Accelerated(basis.load_prior(options.prior, options.device), options.precision)
    budgets = [int(entry) for entry in options.budgets.split(",") if entry]
    ways = {name: choose(*resolve(name, {})) for name in options.methods.split(",") if name}
    ways |= {f"budget {n}": choose(*resolve(None, {}, n)) for n in budgets}
    setup = {key: str(value) for key, value in vars(options).items()}
    rows: list[dict] = []
    print(f"{'':14}{'evaluations':>12}{'at most':>9}{'mean dB':>9}{'± s.e.':>8}{'median':>8}{'seconds':>9}")
    for name, separator in ways.items():
        row = {"name": name, **measure(separator, problem, prior, options.seed)}
        rows.append(row)
        print(
            f"{name:14}{row['evaluations']:12.0f}{row['evaluations_most']:9.0f}{row['psnr_mean']:9.2f}"
            f"{row['psnr_standard_error'] or 0:8.2f}{row['psnr_median']:8.2f}{row['seconds']:9.0f}",
            flush=True,
        )
        facts = {"command": shlex.join(sys.argv), "setup": setup, "versions": versions(), "rows": rows}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")  # as it stands, should the rest be stopped
    plot(rows, options.plot)


if __name__ == "__main__":
    main()
