"""From pictures of any size to a tensor of small ones, once: converted pictures stay in a cache."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from basis.core.errors import DataError, UsageError
from basis.io.claim import claim
from basis.io.durable import write_atomically
from basis.signals.image import BACKGROUND, open_picture, resized, to_bytes, warn

PART = 2**27  # bytes of a file of the cache
LARGEST = 2_048  # pixels a side
READER = 2  # raised when pictures are read otherwise than before: older conversions are then done again


def square(
    source: Path | BytesIO,
    name: str,
    side: int,
    channels: int = 3,
    background: str = BACKGROUND,
    tell: Callable[[str], None] = warn,
) -> np.ndarray:
    """Return the central square of a picture, resized (Lanczos), uint8 (C, side, side).

    Raises:
        DataError: not a picture that can be read; carries its name. The rest is as in `open_picture`.
    """
    picture = open_picture(source, name, "RGB" if channels == 3 else "L", background, tell)
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    return to_bytes(resized(picture.crop((left, top, left + edge, top + edge)), (side, side)), channels)


def tell_together(said: Sequence[str], count: int) -> None:
    """Give the warnings about single pictures of a set, "NAME has …", as one for each kind."""
    kinds: dict[str, list[str]] = {}
    for message in said:
        name, _, rest = message.rpartition(" has ")
        kinds.setdefault(rest, []).append(name)
    for rest, names in kinds.items():
        some = f"{len(names)} of {count} pictures have {rest} ({names[0]}, …)"
        warn(some if names[1:] else f"{names[0]} has {rest}")


def middle(picture: np.ndarray, size: int) -> np.ndarray:
    """Return the middle of a square picture, (C, size, size)."""
    edge = (picture.shape[1] - size) // 2
    return picture[:, edge : edge + size, edge : edge + size]


def check_size(size: int, short: int, channels: int = 3) -> None:
    """Raise `UsageError` for sizes that are not whole pixels in order, or another number of channels than 1 or 3."""
    if not (1 <= size <= short <= LARGEST and channels in (1, 3)):
        raise UsageError(
            f"expected whole 1 <= size <= short <= {LARGEST:,} pixels and 1 or 3 channels, got size {size}, "
            f"short {short} and channels {channels}",
            fix="for instance size=64",
        )


def halves(count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the labels 0 … count-1 in two groups, the first the smaller where they are odd.

    Example:
        >>> halves(5)
        ((0, 1), (2, 3, 4))
    """
    return tuple(range(count // 2)), tuple(range(count // 2, count))


def cached(name: str, facts: object, items: Sequence, convert: Callable, shape: tuple[int, ...]) -> Tensor:
    """Return converted items, uint8 (N, *shape), from the user's cache, after converting those that are not there yet.

    They lie in files of PART bytes, each written whole or not at all: a conversion that is stopped goes on there.

    Args:
        name: the data set's.
        facts: what the result depends on besides ``items``, JSON values; other facts are another entry of the cache.
        items: N of them, JSON values.
        convert: called with an item, returns uint8 (*shape).
    """
    import pooch

    entry = hashlib.sha256(json.dumps([READER, facts, items]).encode()).hexdigest()[:16]
    own = Path(pooch.os_cache("basis")) / name / entry
    per = max(PART // math.prod(shape), 1)
    parts = {own / f"{start // per:05d}.npy": items[start : start + per] for start in range(0, len(items), per)}
    if not all(path.exists() for path in parts):
        with _converting(own):
            for path, some in parts.items():
                if not path.exists():
                    content = BytesIO()
                    np.save(content, np.stack([convert(item) for item in some]))
                    _write(path, content.getvalue())
    found = [torch.from_numpy(np.load(path, allow_pickle=False)) for path in parts]
    return torch.cat(found) if len(found) != 1 else found[0]


@contextmanager
def _converting(own: Path) -> Iterator[None]:
    """Claim an entry of the cache: of several processes one converts, and removes what a killed one left."""
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(own, error) from error
    with claim(own, wait=-1):
        yield


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise _cannot_write(path.parent, error) from error


def _cannot_write(own: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write converted pictures to {own} ({error.strerror})",
        fix="make room there, or set XDG_CACHE_HOME to another folder",
    )
