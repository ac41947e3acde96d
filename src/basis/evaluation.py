"""What a set of separations is worth: PSNR against the truth and reconstruction error, mixture by mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from basis.core.separator import Separation
from basis.metrics.psnr import psnr

QUANTISATION = (1 / 255) ** 2  # of 8-bit images, squared


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures of n separated mixtures.

    Attributes:
        psnr: PSNR of each mixture in dB, best assignment, (n,).
        residual: ‖m - g(x)‖² per pixel of each mixture, (n,).
        candidates: PSNR of each sample that the choice was made from, (n, samples).
    """

    psnr: Tensor
    residual: Tensor
    candidates: Tensor

    def table(self) -> str:
        """Return the figures as two lines of text."""
        low, median, high = self.psnr.quantile(self.psnr.new_tensor([0.1, 0.5, 0.9])).tolist()
        numbers = (self.psnr.mean().item(), self.standard_error, median, low, high)
        head = f"{'n':>6}" + "".join(f"{name:>9}" for name in ("mean dB", "± s.e.", "median", "10 %", "90 %"))
        row = f"{len(self.psnr):>6}" + "".join(f"{number:9.2f}" for number in numbers)
        error = f"{self.residual.mean():.1e} (at most {self.residual.max():.1e}; (1/255)² is {QUANTISATION:.1e})"
        return f"{head}   residual per pixel\n{row}   {error}{self._of_samples()}"

    def facts(self) -> dict:
        """Return the figures as JSON values."""
        error = self.standard_error
        return {
            "n": len(self.psnr),
            "psnr_mean": self.psnr.mean().item(),
            "psnr_median": self.psnr.quantile(0.5).item(),
            "psnr_standard_error": None if math.isnan(error) else error,
            "psnr": self.psnr.tolist(),
            "residual": self.residual.tolist(),
            "candidates": self.candidates.tolist(),
        }

    def _of_samples(self) -> str:
        """Say, of several samples a mixture, what one of them and the best by the truth would have given."""
        n = self.candidates.shape[1]
        if n == 1:
            return ""
        first, best, chosen = (x.mean().item() for x in (self.candidates[:, 0], self.candidates.amax(1), self.psnr))
        share = f", {(chosen - first) / (best - first):.0%} of that gain" if best > first else ""
        return f"\nof {n} samples: the first {first:.2f} dB, chosen {chosen:.2f}, best by the truth {best:.2f}{share}"

    @property
    def standard_error(self) -> float:
        """Standard error of the mean PSNR, NaN for a single mixture."""
        n = len(self.psnr)
        return self.psnr.std().item() / math.sqrt(n) if n > 1 else math.nan


def evaluate(separation: Separation, truth: Tensor) -> Evaluation:
    """Compare a separation with the true sources, (B, K, *S) in [0, 1]: the protocol of Table 2."""
    samples = separation.samples.cpu()
    candidates = torch.stack([psnr(sample, truth) for sample in samples.unbind(1)], 1)
    return Evaluation(psnr(separation.sources.cpu(), truth), separation.residual.cpu(), candidates)
