"""What a set of separations is worth, mixture by mixture: likeness to the truth, digits read, reconstruction error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.metric import DataRange
from basis.core.separator import Separation
from basis.core.signal import signal_of
from basis.evaluate.statistics import share_interval, standard_error
from basis.metrics.digits_right import DigitsRight
from basis.metrics.psnr import psnr
from basis.metrics.ssim import defined, ssim

DIGITS, DIGIT = ("mnist",), (1, 28, 28)  # data sets whose sources the bundled classifier reads, and their shape
Labels = Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures of n separated mixtures.

    Attributes:
        psnr: PSNR of each mixture in dB, best assignment, (n,).
        residual: ‖m - g(x)‖² per value of each mixture, (n,), in squared units of the data.
        candidates: PSNR of each sample that the choice was made from, (n, samples).
        ssim: SSIM of each mixture, best assignment, (n,); None where it is not defined or torchmetrics is lacking.
        right: whether the digits of each mixture are read right, 1 or 0, (n,); None where there are none to read.
        note: what a figure that is left out takes, empty where nothing is lacking.
    """

    psnr: Tensor
    residual: Tensor
    candidates: Tensor
    ssim: Tensor | None = None
    right: Tensor | None = None
    note: str = ""

    def table(self) -> str:
        """Return the figures as text: a table of two lines, then a line for what else is known."""
        low, median, high = self.psnr.quantile(self.psnr.new_tensor([0.1, 0.5, 0.9])).tolist()
        numbers = (self.psnr.mean().item(), standard_error(self.psnr.numpy()), median, low, high)
        head = f"{'n':>6}" + "".join(f"{name:>9}" for name in ("mean dB", "± s.e.", "median", "10 %", "90 %"))
        row = f"{len(self.psnr):>6}" + "".join(
            f"{'–':>9}" if number is None else f"{number:9.2f}" for number in numbers
        )
        error = f"{self.residual.mean():.1e} (at most {self.residual.max():.1e})"
        return f"{head}   residual per value\n{row}   {error}{self._likeness()}{self._of_samples()}"

    def facts(self) -> dict:
        """Return the figures as JSON values; those that were not measured are left out.

        Standard errors are None where there are fewer than five mixtures; shares have Wilson's 95 % interval.
        """
        facts: dict[str, object] = {"n": len(self.psnr), "psnr_median": self.psnr.quantile(0.5).item()}
        for name, values in (("psnr", self.psnr), ("ssim", self.ssim), ("digits_right", self.right)):
            if values is not None:
                mean = facts[f"{name}_mean"] = values.mean().item()
                if values is self.right:
                    facts[f"{name}_interval"] = share_interval(mean, len(values))
                else:
                    facts[f"{name}_standard_error"] = standard_error(values.numpy())
                facts[name] = values.tolist()
        return {**facts, "residual": self.residual.tolist(), "candidates": self.candidates.tolist()}

    def _likeness(self) -> str:
        """Say the mean SSIM, and how many of the mixtures have their digits read right."""
        parts = []
        if self.ssim is not None:
            error = standard_error(self.ssim.numpy())
            parts.append(f"SSIM {self.ssim.mean():.3f}" + (f" ± {error:.3f}" if error is not None else ""))
        if self.right is not None:
            low, high = share_interval(self.right.mean().item(), len(self.right))
            parts.append(f"digits right in {self.right.mean():.1%} of the mixtures (95 %: {low:.1%} to {high:.1%})")
        return "\n" + ", ".join(parts) if parts else ""

    def _of_samples(self) -> str:
        """Say, of several samples a mixture, what one of them and the best by the truth would have given."""
        n = self.candidates.shape[1]
        if n == 1:
            return ""
        first, best, chosen = (x.mean().item() for x in (self.candidates[:, 0], self.candidates.amax(1), self.psnr))
        share = f", {(chosen - first) / (best - first):.0%} of that gain" if best > first else ""
        return f"\nof {n} samples: the first {first:.2f} dB, chosen {chosen:.2f}, best by the truth {best:.2f}{share}"


def evaluate(
    separation: Separation, truth: Tensor, labels: Labels | None = None, data_range: DataRange | None = None
) -> Evaluation:
    """Compare a separation with the true sources, (B, K, *S): the protocol of Table 2.

    Sources are compared under the best assignment among those that can change places (`Separation.kinds`): all of one
    prior and equal weights. With other weights the order is known, and a separation in another order is wrong.

    Args:
        separation: what was found.
        truth: the true sources.
        labels: of the digits in each mixture, see `digit_labels`.
        data_range: smallest and largest value of the data, see `basis.psnr`; by default that of the separation's prior.
    """
    samples, kinds = separation.samples.cpu(), separation.kinds
    own = separation.data_range if data_range is None else data_range
    candidates = torch.stack([psnr(sample, truth, own, kinds) for sample in samples.unbind(1)], 1)
    found, note = figures(separation.sources.cpu(), truth, own, labels, kinds)
    return Evaluation(**found, residual=separation.residual.cpu(), candidates=candidates, note=note)


def figures(
    estimate: Tensor,
    truth: Tensor,
    data_range: DataRange | None,
    labels: Labels | None = None,
    kinds: Sequence[int] | None = None,
) -> tuple[dict[str, Tensor], str]:
    """Return how separated sources compare with the true ones, under the best assignment.

    Args:
        estimate, truth: sources, (B, K, *S).
        data_range: smallest and largest value of the data, see `basis.psnr`.
        labels: of the digits in each mixture, see `digit_labels`.
        kinds: which sources may change places, see `basis.align`; all by default.

    Returns:
        Figures of each mixture, (B,): "psnr" in dB; "ssim" of images that are large enough; "right", whether the digits
        are read right, where they have labels. And a note on what SSIM takes where it is not at hand.
    """
    found, note = {"psnr": psnr(estimate, truth, data_range, kinds)}, ""
    if "ssim" in signal_of(truth.shape[2:]).metrics and defined(truth):
        try:
            found["ssim"] = ssim(estimate, truth, data_range, kinds)
        except UsageError as error:  # no torchmetrics: the other figures are worth having without
            note = str(error)
    if labels is not None and truth.shape[2:] == DIGIT:
        found["right"] = DigitsRight(labels, kinds=kinds)(estimate, truth)
    return found, note


def digit_labels(info: dict) -> Labels | None:
    """Return the labels of mixtures (`Mixtures.info`) that the bundled classifier reads, None for those of other data.

    Example:
        >>> digit_labels({"data": "mnist", "labels": [[7, 2]]}), digit_labels({"data": "cifar10", "labels": [[7, 2]]})
        ([[7, 2]], None)
    """
    return info.get("labels") if info.get("data") in DIGITS else None
