"""A prior computed faster: in lower precision, compiled, or both."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from basis.core.errors import BasisError, UsageError, unknown
from basis.core.prior import Prior, Wrapper

PRECISIONS = {"no": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
LAYERS = (_ConvNd, nn.Linear, nn.Bilinear, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.MultiheadAttention)


class Accelerated(Wrapper):
    """A prior computed faster: in lower precision, compiled, or both. The same prior but for rounding.

    The prior that is given stays as it is: this holds a copy of it, with the weights that it has now.

    Args:
        prior: any prior; its density, if it has one, is left behind.
        precision: "bf16" or "fp16": the networks' layers (convolutions, linear layers, attention, normalisation) hold
            their weights and compute in this type, on every device by the same operators; `torch.autocast` has no part
            in it. Inputs, outputs, the preconditioning by σ, other parameters and buffers are in float32. A network
            may say itself what it computes in, by a method ``compute_in(dtype)``. On CPUs, bf16 is faster where they
            have instructions for it. "no": float32. "tf32": float32 with the products' factors rounded to TF32, on
            GPUs that can; as "no" elsewhere.
        compile: whether to compile the prior's networks with `torch.compile`, which takes a minute at the first call.
            torch keeps what it compiled on disk (TORCHINDUCTOR_CACHE_DIR, by default in the folder for temporary
            files), and later processes find it there. Where a network cannot be compiled, one warning says why, and
            it computes as it is.
        graphs: whether the compiled networks are recorded as CUDA graphs (mode "reduce-overhead" of `torch.compile`),
            which spares the start of each kernel: for small batches on GPUs. Each new size of batch is recorded anew.
            Nothing elsewhere.

    Raises:
        UsageError: unknown precision; graphs without compiling; in `score` and `denoise`, a network that does not
            compute in the precision.

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
        if precision not in PRECISIONS:
            raise unknown("precision", str(precision), PRECISIONS)
        if graphs and not compile:
            raise UsageError("CUDA graphs are of compiled networks", fix="give compile=True too")
        precise = PRECISIONS[precision]
        super().__init__(copy.deepcopy(prior) if compile or precise else prior)
        self.precision, self.dtype, self.compiled, self.graphs = precision, precise, compile, graphs
        self.products = "high" if precision == "tf32" else None
        if self.dtype is not None:
            _lower(self.prior, self.dtype)
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
        with _products_in(self.products):
            try:
                found = call(x, sigma).float()
                return found.clone() if self.graphs else found  # the next call may write over what a graph returned
            except (BasisError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # compilers fail in many ways; the prior's own errors come again below
                if not self.compiled:
                    self._explain(error)
                    raise
                self._compile(disable=True)
                self._give_up(error)
            return self._run(call, x, sigma)

    def _explain(self, error: Exception) -> None:
        """Raise `UsageError` where the types of a foreign network's tensors do not go together."""
        if self.dtype is not None and "type" in str(error):
            raise UsageError(
                f"a network of this prior does not compute in {self.precision} ({_first_line(error)})",
                fix='make its tensors of the type of what it is given, or choose precision "no"',
            ) from error

    def _compile(self, **settings) -> None:
        for network in self.prior.children():
            network.compile(**settings)

    def _give_up(self, error: Exception) -> None:
        self.compiled = False
        message = f"the network is not compiled, and computes as it is: {type(error).__name__}: {_first_line(error)}"
        warnings.warn(message, RuntimeWarning, stacklevel=4)


def _lower(module: nn.Module, dtype: torch.dtype) -> None:
    """Convert the layers in a module, each of which then casts what it is given to the type of its weights."""
    if compute_in := getattr(module, "compute_in", None):
        compute_in(dtype)
        return
    if not isinstance(module, LAYERS):
        for part in module.children():
            _lower(part, dtype)
        return
    if parametrize.is_parametrized(module):
        _settle(module)
    module.to(dtype)
    module.register_forward_pre_hook(partial(_cast, dtype), with_kwargs=True)


def _settle(layer: nn.Module) -> None:
    """Make plain parameters of parametrised ones, in float32 still, so that they are rounded once.

    `parametrize.remove_parametrizations` does the same, but changes the layer's class, which a copy shares.
    """
    values = {name: getattr(layer, name).detach() for name in cast(nn.ModuleDict, layer.parametrizations)}
    layer.__class__ = type(layer).__bases__[0]
    del layer.parametrizations
    for name, value in values.items():
        layer.register_parameter(name, nn.Parameter(value, requires_grad=False))


def _cast(dtype: torch.dtype, layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Return a layer's inputs in another type, those that are floating-point numbers."""

    def converted(value: object) -> object:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    return tuple(map(converted, args)), {name: converted(value) for name, value in kwargs.items()}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")


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
