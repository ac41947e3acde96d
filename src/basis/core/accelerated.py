"""A prior computed faster: in lower precision, compiled, or both."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from basis.core.errors import BasisError, UsageError, unknown
from basis.core.prior import Prior


class Accelerated(Prior):
    """A prior computed faster: in lower precision, compiled, or both. The same prior but for rounding.

    Args:
        prior: any prior; its density, if it has one, is left behind.
        precision: "bf16", "fp16" or "no": what convolutions and matrix products are computed in (`torch.autocast`).
            On CPUs, bf16 is faster where they have instructions for it. "tf32": float32 with the products' factors
            rounded to TF32, on GPUs that can; as "no" elsewhere.
        compile: whether to compile the prior's networks with `torch.compile`, which takes a minute at the first call.
            torch keeps what it compiled on disk (TORCHINDUCTOR_CACHE_DIR, by default in the folder for temporary
            files), and later processes find it there. Where a network cannot be compiled, one warning says why, and
            it computes as it is.
        graphs: whether the compiled networks are recorded as CUDA graphs (mode "reduce-overhead" of `torch.compile`),
            which spares the start of each kernel: for small batches on GPUs. Each new size of batch is recorded anew.
            Nothing elsewhere.

    Raises:
        UsageError: unknown precision; graphs without compiling.

    Warns:
        RuntimeWarning: the networks cannot be compiled here, for instance for want of a C++ compiler.

    Example:
        >>> from basis import load_prior
        >>> prior, x = load_prior("mnist"), torch.zeros(1, 1, 28, 28)
        >>> error = Accelerated(prior, "bf16").denoise(x, 0.5) - prior.denoise(x, 0.5)
        >>> bool(error.abs().max() < 0.01)
        True
    """

    def __init__(self, prior: Prior, precision: str = "bf16", compile: bool = False, graphs: bool = False) -> None:
        kinds = {"no": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
        if precision not in kinds:
            raise unknown("precision", str(precision), kinds)
        if graphs and not compile:
            raise UsageError("CUDA graphs are of compiled networks", fix="give compile=True too")
        super().__init__(prior.shape, prior.support, prior.levels, prior.known)
        self.prior, self.dtype, self.compiled, self.graphs = prior, kinds[precision], compile, graphs
        self.products = "high" if precision == "tf32" else None
        if compile:
            try:
                self._compile(**({"mode": "reduce-overhead"} if graphs else {}))
            except RuntimeError as error:  # torch knows of no compiler for this Python or platform
                self._give_up(error)

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self._run(self.prior.score, x, sigma)

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self._run(self.prior.denoise, x, sigma)

    def _run(self, call: Callable[[Tensor, float | Tensor], Tensor], x: Tensor, sigma: float | Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype is not None), _products_in(self.products):
            try:
                found = call(x, sigma).float()
                return found.clone() if self.graphs else found  # the next call may write over what a graph returned
            except (BasisError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # compilers fail in many ways; the prior's own errors come again below
                if not self.compiled:
                    raise
                self._compile(disable=True)
                self._give_up(error)
            return call(x, sigma).float()

    def _compile(self, **settings) -> None:
        for network in self.prior.children():
            network.compile(**settings)

    def _give_up(self, error: Exception) -> None:
        self.compiled = False
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        message = f"the network is not compiled, and computes as it is: {type(error).__name__}: {reason}"
        warnings.warn(message, RuntimeWarning, stacklevel=4)


@contextlib.contextmanager
def _products_in(precision: str | None) -> Iterator[None]:
    """Round matrix products in float32 as `torch.set_float32_matmul_precision` says; convolutions are by default."""
    if precision is None:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
