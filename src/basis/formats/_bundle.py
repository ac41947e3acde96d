"""TensorFlow's checkpoint files (Saver's format V2) read without TensorFlow.

`PREFIX.index` is a table in LevelDB's format, sorted by variable name: blocks of entries with shared prefixes, each
followed by its compression (none, here) and checksum, and a footer that says where the block of blocks is. Its values
are protocol buffers that say where in `PREFIX.data-00000-of-00001`, … a variable's raw bytes lie.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from basis.core.errors import DataError
from basis.formats._crc32c import masked_crc32c
from basis.io.loading import brief, refuse_pointer

MAGIC, FOOTER, TRAILER = 0xDB4775248B80FB57, 48, 5
TYPES = {  # DataType of tensorflow/core/framework/types.proto; bfloat16 is read as the upper half of a float32
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 14: "<u2", 19: "<f2",
}  # fmt: skip
BFLOAT16 = 14
LARGEST_INDEX = 2**26  # bytes; that of a Glow for 64×64 pixels has 0.2 MB
LARGEST_VARINT = 10  # bytes of a number of 64 bits
AGAIN = "copy or download the checkpoint anew"
CONVERT = "in TensorFlow, read it with tf.train.load_checkpoint and save its tensors with tf.compat.v1.train.Saver"
HEADER = {1: int, 2: int, 3: bytes}  # of BundleHeaderProto: shards, byte order, version
ENTRY = {1: int, 2: bytes, 3: int, 4: int, 5: int, 6: int, 7: bytes}  # of BundleEntryProto, see Entry


@dataclass(frozen=True)
class Entry:
    """Where a variable is, and what it is (BundleEntryProto)."""

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


class Bundle:
    """The variables of one checkpoint.

    Args:
        prefix: path of the checkpoint without `.index`.

    Raises:
        DataError: the index is not such a table, or damaged; or it is of partitioned variables.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.index = prefix.with_name(f"{prefix.name}.index")
        refuse_pointer(self.index)
        try:
            if (size := self.index.stat().st_size) > LARGEST_INDEX:
                raise ValueError(f"it has {size:,} bytes, more than {LARGEST_INDEX:,}")
            pairs = dict(_table(self.index.read_bytes()))
            self.shards = _shards(pairs)
            if any(7 in _message(value, ENTRY) for value in pairs.values()):
                raise DataError(
                    f"{self.index} is a checkpoint of partitioned variables, expected whole ones",
                    fix=CONVERT,
                )
            self.entries = {key.decode(): _entry(value) for key, value in pairs.items()}
        except (ValueError, IndexError, KeyError, struct.error) as error:
            raise DataError(
                f"{self.index} is not the index of a TensorFlow checkpoint ({brief(error)})", fix=AGAIN
            ) from error
        self._check_sizes()

    def _check_sizes(self) -> None:
        """Compare what the index says of sizes with itself and with the data files, before memory is taken."""
        lengths: dict[Path, int] = {}
        for name, entry in self.entries.items():
            expected = math.prod(entry.shape) * np.dtype(TYPES.get(entry.kind, "u1")).itemsize
            if entry.kind in TYPES and expected != entry.size:
                raise DataError(
                    f"{self.index}: variable {name} of shape {entry.shape} has {entry.size} bytes, expected {expected}",
                    fix=AGAIN,
                )
            path = self._data(entry)
            try:
                if path not in lengths:
                    refuse_pointer(path)
                    lengths[path] = path.stat().st_size
            except OSError as error:
                raise DataError(f"{path} cannot be read ({error.strerror})", fix=AGAIN) from error
            if lengths[path] < entry.offset + entry.size:
                raise DataError(f"{path} is damaged at variable {name}: it ends before", fix=AGAIN)

    def _data(self, entry: Entry) -> Path:
        return self.prefix.with_name(f"{self.prefix.name}.data-{entry.shard:05d}-of-{self.shards:05d}")

    def read(self, name: str) -> np.ndarray:
        """Return a variable; raises `DataError` where its bytes are missing or damaged, or not of numbers."""
        entry = self.entries[name]
        if entry.kind not in TYPES:
            raise DataError(f"{self.index}: variable {name} is not of numbers (type {entry.kind})", fix="leave it out")
        path = self._data(entry)
        with path.open("rb") as file:
            file.seek(entry.offset)
            content = file.read(entry.size)
        if masked_crc32c(content) != entry.checksum:
            raise DataError(f"{path} is damaged at variable {name}: its checksum is another", fix=AGAIN)
        values = np.frombuffer(content, TYPES[entry.kind]).reshape(entry.shape)
        return (values.astype(np.uint32) << 16).view(np.float32) if entry.kind == BFLOAT16 else values


def is_table(path: Path) -> bool:
    """Whether a file ends as a table of LevelDB does; where it is no index, it is a checkpoint in the format V1."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(file.tell() - 8, 0))
        return file.read() == struct.pack("<Q", MAGIC)


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a LevelDB table; raises `ValueError` where it is none."""
    if len(content) < FOOTER or struct.unpack("<Q", content[-8:])[0] != MAGIC:
        raise ValueError("it does not end as one")
    _, position = _handle(content, len(content) - FOOTER)  # of the block of meta data
    start, _ = _handle(content, position)
    last = None
    for _, value in _block(content, *start):
        for key, entry in _block(content, *_handle(value, 0)[0]):
            if last is not None and key <= last:
                raise ValueError("its names are not in order")
            last = key
            yield key, entry


def _block(content: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block: pairs of which each key repeats the beginning of the one before."""
    block, trailer = _part(content, start, size), _part(content, start + size, TRAILER)
    compression, checksum = struct.unpack("<BI", trailer)
    if masked_crc32c(block + trailer[:1]) != checksum:
        raise ValueError("a checksum is another")
    if compression:
        raise ValueError("it is compressed")
    end = size - 4 - 4 * struct.unpack("<I", _part(block, size - 4, 4))[0]
    if end < 0:
        raise ValueError("a block is shorter than it says")
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        own, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + own + length > end:
            raise ValueError("an entry is longer than its block")
        key = key[:shared] + block[position : position + own]
        yield key, block[position + own : position + own + length]
        position += own + length


def _handle(content: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Return a block's start and size, and where reading goes on."""
    start, position = _varint(content, position)
    size, position = _varint(content, position)
    return (start, size), position


def _part(content: bytes, start: int, size: int) -> bytes:
    """Return a stretch of bytes; raises `ValueError` where there are fewer."""
    if start < 0 or start + size > len(content):
        raise ValueError("it ends before what it points to")
    return content[start : start + size]


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Return a number stored in groups of seven bits, the lowest first, and where reading goes on."""
    value = 0
    for group in range(LARGEST_VARINT):
        byte = content[position + group]
        value |= (byte & 127) << 7 * group
        if byte < 128:
            return value, position + group + 1
    raise ValueError("a number has more than 64 bits")


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a protocol buffer."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        if tag & 7 == 0:
            value, position = _varint(content, position)
            yield tag >> 3, value
            continue
        if tag & 7 not in (1, 2, 5):
            raise ValueError(f"a field is of an unknown kind ({tag & 7})")
        length = {1: 8, 5: 4}.get(tag & 7)
        if length is None:
            length, position = _varint(content, position)
        value_bytes, position = _part(content, position, length), position + length
        yield tag >> 3, int.from_bytes(value_bytes, "little") if tag & 7 in (1, 5) else value_bytes


def _message(content: bytes, kinds: dict[int, type]) -> dict[int, Any]:
    """Return the known fields of a protocol buffer; raises `ValueError` where one is of another kind."""
    found = dict(_fields(content))
    for number in found.keys() & kinds.keys():
        if not isinstance(found[number], kinds[number]):
            raise ValueError(f"field {number} is of the wrong kind")
    return {number: found[number] for number in found.keys() & kinds.keys()}


def _shards(pairs: dict[bytes, bytes]) -> int:
    """Take out the BundleHeaderProto (1 shards, 2 byte order, 0: little endian); return the number of data files."""
    if b"" not in pairs:
        raise ValueError("it has no header")
    fields = _message(pairs.pop(b""), HEADER)
    if fields.get(2, 0):
        raise ValueError("its numbers are big-endian")
    if not 1 <= fields.get(1, 1) < 10**5:
        raise ValueError(f"it names {fields[1]} data files")
    return fields.get(1, 1)


def _entry(content: bytes) -> Entry:
    """Read a BundleEntryProto: 1 type, 2 shape, 3 shard, 4 offset, 5 size, 6 checksum, 7 slices."""
    fields = _message(content, ENTRY)
    dims = [dim for number, dim in _fields(fields.get(2, b"")) if number == 2]
    if not all(isinstance(dim, bytes) for dim in dims):
        raise ValueError("a shape is of the wrong kind")
    sizes = [_message(dim, {1: int}).get(1, 0) for dim in dims if isinstance(dim, bytes)]
    return Entry(fields.get(1, 0), tuple(sizes), *(fields.get(number, 0) for number in (3, 4, 5, 6)))
