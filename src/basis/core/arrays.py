"""Arrays at the door: what a caller has, as a tensor to compute with, or an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor

from basis.core.errors import DataError, UsageError

NUMBERS = "biuf"  # numpy's kinds of real numbers: bool, signed, unsigned, floating


def as_tensor(
    value: object,
    what: str = "the mixture",
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return an array of real numbers as a float32 tensor that carries no gradient.

    Args:
        value: a torch tensor, a numpy array or scalar, or an object with ``__array__``: of any real type, byte order
            and strides. Integers and booleans keep their values: 255 stays 255.
        what: names the array in errors.
        device: where the tensor is needed; by default where it is, the CPU for numpy arrays.
        dtype: torch.float64 where that is wanted in place of float32.

    Returns:
        A tensor of the same shape. It may share memory with a float32 value. Values beyond the range of float32 become
        infinite.

    Raises:
        UsageError: the value is no array.
        DataError: an array without one real number in each place: complex, sparse, masked, quantised, nested, without
            data ("meta"), or of objects, dates or text.

    Example:
        >>> as_tensor(np.arange(3, dtype=">i2")[::-1])
        tensor([2., 1., 0.])
        >>> as_tensor(np.array([1j]))
        Traceback (most recent call last):
        basis.core.errors.DataError: the mixture is an array of complex128, expected real numbers. To fix: ...
    """
    if hasattr(value, "getbands"):
        raise UsageError(
            f"expected {what} as a torch or numpy array, got a picture of PIL",
            fix="read it with basis.signals.image.read, which gives (channels, height, width) in [0, 1]",
        )
    if isinstance(value, Tensor):
        return _from_torch(value, what, device, dtype)
    if isinstance(value, np.ndarray) or hasattr(value, "__array__"):
        return _from_numpy(value, what, dtype).to(device or "cpu")
    raise UsageError(
        f"expected {what} as a torch or numpy array, got {type(value).__name__}",
        fix="turn numbers into an array with np.array(…); the command line reads files",
    )


def _from_torch(tensor: Tensor, what: str, device: torch.device | str | None, dtype: torch.dtype) -> Tensor:
    checks = {
        "a nested tensor": (tensor.is_nested, "torch.stack its parts"),
        "a meta tensor, which has no values": (tensor.is_meta, "give the tensor itself"),
        "complex": (tensor.is_complex(), "take its real part or its magnitude: .real or .abs()"),
        "a quantised tensor": (tensor.is_quantized, "call its .dequantize()"),
        f"of layout {str(tensor.layout)[6:]}": (tensor.layout is not torch.strided, "call its .to_dense()"),
    }
    for kind, (found, fix) in checks.items():
        if found:
            raise DataError(f"{what} is {kind}, expected a dense tensor of real numbers", fix=fix)
    try:
        with plain_torch():
            own = tensor.clone() if tensor.is_inference() else tensor  # gradients of others may pass through it
            return own.detach().resolve_neg().to(device or own.device, dtype)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{what} cannot be taken as float32 ({reason})", fix="give a float32 tensor") from error


def _from_numpy(value: object, what: str, dtype: torch.dtype) -> Tensor:
    if np.ma.is_masked(value):
        raise DataError(f"{what} is an array with masked values", fix="fill them first, with .filled(0) for instance")
    array = np.asarray(value)
    if array.dtype.kind not in NUMBERS:
        raise DataError(
            f"{what} is an array of {array.dtype}, expected real numbers",
            fix="take the real part"
            if array.dtype.kind == "c"
            else "convert it, for instance with .astype(np.float32)",
        )
    with np.errstate(over="ignore"):
        return torch.from_numpy(
            np.require(array, np.float64 if dtype is torch.float64 else np.float32, ["C", "A", "W"])
        )


@contextmanager
def plain_torch() -> Iterator[None]:
    """Compute as torch does at its start, whatever the caller has set: float32 by default, gradients possible.

    `torch.inference_mode` and `torch.set_default_dtype` of the caller are left aside within, and come back after.

    Example:
        >>> with torch.inference_mode(), plain_torch():
        ...     torch.is_inference_mode_enabled()
        False
    """
    before = torch.get_default_dtype()
    inference = torch.is_inference_mode_enabled()
    with torch.inference_mode(False) if inference else nullcontext():  # it would end `torch.no_grad` too
        if before != torch.float32:
            torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            if before != torch.float32:
                torch.set_default_dtype(before)
