"""Figure 6: how the PSNR of separated digits is distributed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from basis.paper.drawing import BAR, INK, MARK, subplots
from basis.paper.experiment import Cell, Outcome, Picture, Row, RowsExperiment, measured
from basis.paper.experiments.table2 import pairs
from basis.paper.job import OUR_ENDING, RELEASED
from basis.paper.setup import Setup
from basis.paper.store import Progress, Store

PUBLISHED = {"mean": 29.5, "share above the mean": 2 / 3}  # section 5.1, "approximately 2/3"
ROW = f"BASIS, {OUR_ENDING} (compact prior)"
TASK = "agnostic"


class Figure6(RowsExperiment):
    """Histogram of the PSNR of class-agnostic MNIST pairs with its mean and the share above it."""

    title = "Figure 6: the distribution of PSNR over MNIST pairs, class agnostic"
    published_n = "5,000 pairs"

    def rows(self, setup: Setup) -> list[Row]:
        return [Row(ROW, {TASK: pairs(RELEASED)[TASK]})]

    def outcome(self, setup: Setup, store: Store, rows: list[Row]) -> Generator[Progress, None, Outcome]:
        yield from ()
        cell = measured(setup, store, rows[0], TASK, "psnr", "dB", setup.n)
        if cell.measured is None or cell.values is None:
            return Outcome([cell])
        above = sum(value > cell.measured for value in cell.values) / cell.n
        cells = [
            Cell(ROW, "mean", "dB", PUBLISHED["mean"], None, cell.measured, cell.error, cell.n, "", cell.facts),
            Cell(
                ROW,
                "share above the mean",
                "share",
                PUBLISHED["share above the mean"],
                measured=above,
                n=cell.n,
                facts=cell.facts,
            ),
        ]
        values, mean = cell.values, cell.measured
        caption = f"PSNR of {cell.n} class-agnostic MNIST pairs; {above:.0%} lie above the mean of {mean:.1f} dB."
        picture = Picture("figure6", caption, lambda: histogram(values, mean, above))
        return Outcome(cells, [picture], NOTES)


def histogram(values: Sequence[float], mean: float, above: float) -> Any:
    """Return the histogram as a matplotlib figure."""
    figure, axes = subplots(6.4, 3.6)
    top = max(40.0, 2.5 * (max(values) // 2.5 + 1))
    axes.hist(values, bins=[5 + 2.5 * i for i in range(round((top - 5) / 2.5) + 1)], color=BAR, edgecolor="white")
    axes.axvline(mean, color=MARK, linewidth=2, label=f"mean {mean:.1f} dB, {above:.0%} above")
    axes.axvline(PUBLISHED["mean"], color=INK, linewidth=1.5, linestyle="--", label=f"published {PUBLISHED['mean']} dB")
    axes.set(xlabel="PSNR (dB)", ylabel="mixtures")
    axes.legend(frameon=False, loc="upper left")
    return figure


NOTES = [
    "The paper says that approximately 2/3 of results exceed the mean of 29.5 dB, with an NCSN that costs 35 times "
    "what the compact prior does. Separations are those of Table 2.",
]
