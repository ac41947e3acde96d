"""What a set of separations is worth: PSNR against the truth and reconstruction error, mixture by mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    """

    psnr: Tensor
    residual: Tensor

    def table(self) -> str:
        """Return the figures as two lines of text."""
        low, median, high = self.psnr.quantile(self.psnr.new_tensor([0.1, 0.5, 0.9])).tolist()
        numbers = (self.psnr.mean().item(), self.standard_error, median, low, high)
        head = f"{'n':>6}" + "".join(f"{name:>9}" for name in ("mean dB", "± s.e.", "median", "10 %", "90 %"))
        row = f"{len(self.psnr):>6}" + "".join(f"{number:9.2f}" for number in numbers)
        error = f"{self.residual.mean():.1e} (at most {self.residual.max():.1e}; (1/255)² is {QUANTISATION:.1e})"
        return f"{head}   residual per pixel\n{row}   {error}"

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
        }

    @property
    def standard_error(self) -> float:
        """Standard error of the mean PSNR, NaN for a single mixture."""
        n = len(self.psnr)
        return self.psnr.std().item() / math.sqrt(n) if n > 1 else math.nan


def evaluate(separation: Separation, truth: Tensor) -> Evaluation:
    """Compare a separation with the true sources, (B, K, *S) in [0, 1]: the protocol of Table 2."""
    return Evaluation(psnr(separation.sources.cpu(), truth), separation.residual.cpu())
