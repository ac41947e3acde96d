"""PSNR against evaluations: every method at several budgets on pairs of a data set, as table, JSON and plot."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import basis
from basis.core.dataset import DATASETS
from basis.core.prior import Prior, ScorePrior
from basis.core.separator import Separator, choose
from basis.evaluate import mixtures as mix
from basis.evaluate.evaluation import evaluate
from basis.io.learned import load_separator
from basis.io.presets import resolve
from basis.runs.write import versions

BATCH = 48
FAMILIES: dict[str, Callable[[int], tuple]] = {  # method and settings for a number of evaluations a source
    "budget": lambda n: resolve(None, {}, n),
    "basis": lambda n: ("basis", {"steps": n // 10}),  # the paper's ten levels
    "sample": lambda n: ("sample", {"steps": n}),
    "mmps": lambda n: ("sample", {"posterior": "mmps", "steps": n // 4}),  # with three VJPs each
}
LABELS = {
    "budget": "--budget N",
    "basis": "basis, the paper's dynamics",
    "sample": "sample, projection",
    "mmps": "sample, moment matching",
}  # in the plot


class Counted(ScorePrior):
    """A prior that counts the examples that it is asked about, and those that gradients go back through."""

    def __init__(self, prior: Prior) -> None:
        super().__init__(prior.shape, prior.data_range, prior.levels)
        self.prior, self.count = prior, 0

    def score(self, x: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
        self._add(len(x))
        score = self.prior.score(x, sigma)
        if score.requires_grad:
            score.register_hook(lambda gradient: self._add(len(gradient)))
        return score

    def _add(self, examples: int) -> None:
        self.count += examples


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


def way(family: str, evaluations: int) -> Separator | None:
    """Return a method that spends so many evaluations a source, None where it cannot spend as few."""
    method, settings = FAMILIES[family](evaluations)
    return choose(method, settings) if settings["steps"] else None


def single(name: str) -> Separator:
    """Return the method of a preset's name, or the one in a folder that `basis fit` wrote."""
    return load_separator(name) if Path(name).is_dir() else choose(*resolve(name, {}))


def plot(rows: list[dict], path: Path) -> None:
    """Draw PSNR against evaluations, where matplotlib is installed: a line a family; dashed, what asks no prior."""
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot as plt
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for family in dict.fromkeys(row["family"] for row in rows):
        some = [row for row in rows if row["family"] == family]
        x, y, error = ([row[key] for row in some] for key in ("evaluations", "psnr_mean", "psnr_standard_error"))
        if not any(x):
            axes.axhline(y[0], linestyle="--", color="grey", linewidth=1)
            axes.annotate(Path(family).name, (1, y[0]), xycoords=("axes fraction", "data"), ha="right", va="bottom")
        else:
            look = {"fmt": "o-" if len(x) > 1 else "s", "capsize": 3, "label": LABELS.get(family, family)}
            axes.errorbar(x, y, [bar or 0 for bar in error], **look)
    axes.set(xscale="log", xlabel="evaluations of the prior, a source", ylabel="PSNR / dB (mean ± s.e.)")
    budgets = sorted({int(row["name"].split()[-1]) for row in rows if row["name"] != row["family"]})
    if budgets:
        axes.set_xticks(budgets, [f"{n:,}" for n in budgets])
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budgets", default="20,50,100,300,1000", help="evaluations a source")
    parser.add_argument("--families", default=",".join(FAMILIES), help="methods that are given each of these budgets")
    parser.add_argument("--methods", default="fast,quality", help="presets, methods or fitted folders beside them")
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
    ways = [(name, name, single(name)) for name in options.methods.split(",") if name]
    families = [name for name in options.families.split(",") if name]
    ways += [(name, f"{name} {n}", found) for name in families for n in budgets if (found := way(name, n))]
    setup = {key: str(value) for key, value in vars(options).items()}
    rows: list[dict] = []
    print(f"{'':28}{'evaluations':>12}{'at most':>9}{'mean dB':>9}{'± s.e.':>8}{'median':>8}{'seconds':>9}")
    for family, name, separator in ways:
        row = {"family": family, "name": name, **measure(separator, problem, prior, options.seed)}
        rows.append(row)
        print(
            f"{name[-27:]:28}{row['evaluations']:12.0f}{row['evaluations_most']:9.0f}{row['psnr_mean']:9.2f}"
            f"{row['psnr_standard_error'] or 0:8.2f}{row['psnr_median']:8.2f}{row['seconds']:9.0f}",
            flush=True,
        )
        facts = {"command": shlex.join(sys.argv), "setup": setup, "versions": versions(), "rows": rows}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")  # as it stands, should the rest be stopped
    plot(rows, options.plot)


if __name__ == "__main__":
    main()
