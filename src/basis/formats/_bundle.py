"""TensorFlow's checkpoint files (Saver's format V2) read without TensorFlow.

`PREFIX.index` is a table in LevelDB's format, sorted by variable name: blocks of entries with shared prefixes, each
followed by its compression (none, here) and checksum, and a footer that says where the block of blocks is. Its values
are protocol buffers that say where in `PREFIX.data-00000-of-00001`, … a variable's raw bytes lie.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from basis.core.errors import DataError

MAGIC, FOOTER, TRAILER = 0xDB4775248B80FB57, 48, 5
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 10: "?"}  # DataType of tensorflow/core/framework/types.proto
POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed
AGAIN = "copy or download the checkpoint anew"


@dataclass(frozen=True)
class Entry:
    """Where a variable is, and what it is (BundleEntryProto)."""

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


class Bundle:
    """The variables of one checkpoint.

    Args:
        prefix: path of the checkpoint without `.index`.

    Raises:
        DataError: the index is not such a table, or damaged.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.index = prefix.with_name(f"{prefix.name}.index")
        try:
            pairs = dict(_table(self.index.read_bytes()))
            self.shards = next((value for number, value in _fields(pairs.pop(b"")) if number == 1), 1)
            self.entries = {key.decode(): _entry(value) for key, value in pairs.items()}
        except (ValueError, IndexError, KeyError, struct.error) as error:
            raise DataError(f"{self.index} is not the index of a TensorFlow checkpoint ({error})", fix=AGAIN) from error

    def read(self, name: str) -> np.ndarray:
        """Return a variable; raises `DataError` where its bytes are missing or damaged."""
        entry = self.entries[name]
        path = self.prefix.with_name(f"{self.prefix.name}.data-{entry.shard:05d}-of-{self.shards:05d}")
        if entry.kind not in TYPES or entry.sliced:
            raise DataError(f"{self.index}: variable {name} is partitioned or not of numbers", fix="save it whole")
        try:
            with path.open("rb") as file:
                file.seek(entry.offset)
                content = file.read(entry.size)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})", fix=AGAIN) from error
        if len(content) < entry.size or masked_crc32c(content) != entry.checksum:
            raise DataError(f"{path} is damaged at variable {name}: its checksum is another", fix=AGAIN)
        return np.frombuffer(content, TYPES[entry.kind]).reshape(entry.shape)


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a LevelDB table."""
    if len(content) < FOOTER or struct.unpack("<Q", content[-8:])[0] != MAGIC:
        raise ValueError("it does not end as one")
    _, position = _handle(content, len(content) - FOOTER)  # of the block of meta data
    start, _ = _handle(content, position)
    for _, value in _block(content, *start):
        yield from _block(content, *_handle(value, 0)[0])


def _block(content: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block: pairs of which each key repeats the beginning of the one before."""
    block, trailer = content[start : start + size], content[start + size : start + size + TRAILER]
    compression, checksum = struct.unpack("<BI", trailer)
    if masked_crc32c(block + trailer[:1]) != checksum:
        raise ValueError("a checksum is another")
    if compression:
        raise ValueError("it is compressed")
    end = size - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        own, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + own]
        yield key, block[position + own : position + own + length]
        position += own + length


def _handle(content: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Return a block's start and size, and where reading goes on."""
    start, position = _varint(content, position)
    size, position = _varint(content, position)
    return (start, size), position


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Return a number stored in groups of seven bits, the lowest first, and where reading goes on."""
    value = shift = 0
    while True:
        byte = content[position]
        value, shift, position = value | (byte & 127) << shift, shift + 7, position + 1
        if byte < 128:
            return value, position


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field of a protocol buffer."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        if tag & 7 == 0:
            value, position = _varint(content, position)
            yield tag >> 3, value
            continue
        length = {1: 8, 5: 4}.get(tag & 7)
        if length is None:
            length, position = _varint(content, position)
        value_bytes, position = content[position : position + length], position + length
        yield tag >> 3, int.from_bytes(value_bytes, "little") if tag & 7 in (1, 5) else value_bytes


def _entry(content: bytes) -> Entry:
    """Read a BundleEntryProto: 1 type, 2 shape, 3 shard, 4 offset, 5 size, 6 checksum, 7 slices."""
    fields = dict(_fields(content))
    sizes = [dict(_fields(dim)).get(1, 0) for number, dim in _fields(fields.get(2, b"")) if number == 2]
    kind, shard, offset, size, checksum = (fields.get(number, 0) for number in (1, 3, 4, 5, 6))
    return Entry(kind, tuple(sizes), shard, offset, size, checksum, 7 in fields)


def masked_crc32c(content: bytes) -> int:
    """Return the CRC-32C as LevelDB stores it: rotated by 15 bits, plus a constant."""
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: bytes) -> int:
    """Return the CRC-32C of some bytes, computed on many stretches side by side: some 50 MB a second.

    The CRC register is linear in what went in, so stretches A and B can be joined: ``crc(AB) = Z^|B| crc(A) + crc(B)``,
    Z the passing of one zero byte.
    """
    if len(content) < 4:  # too short for what follows
        state = 0xFFFFFFFF
        for byte in content:
            state = int(TABLE[(state ^ byte) & 255]) ^ state >> 8
        return state ^ 0xFFFFFFFF
    bits = len(content).bit_length()
    length, count = 1 << bits // 2, 1 << bits - bits // 2
    stretches = np.zeros(count * length, np.uint8)  # leading zeros do not move a register of zero
    stretches[-len(content) :] = np.frombuffer(content, np.uint8)
    stretches[stretches.size - len(content) :][:4] ^= 255  # as if the register began with ones
    register = np.zeros(count, np.uint32)
    for column in np.ascontiguousarray(stretches.reshape(count, length).T):
        register = TABLE[(register ^ column) & 255] ^ register >> 8
    Z = np.uint32(1) << np.arange(32, dtype=np.uint32)
    Z = TABLE[Z & 255] ^ Z >> 8
    for _ in range(bits // 2):
        Z = _apply(Z, Z)
    while len(register) > 1:
        register = _apply(Z, register[::2]) ^ register[1::2]
        Z = _apply(Z, Z)
    return int(register[0]) ^ 0xFFFFFFFF


def _apply(columns: np.ndarray, register: np.ndarray) -> np.ndarray:
    """Return the product of a 32×32 matrix over two elements, given by its columns, with each register."""
    result = np.zeros_like(register)
    for bit, column in enumerate(columns):
        result ^= np.where(register >> np.uint32(bit) & 1, column, np.uint32(0))
    return result


def _make_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, np.uint32(POLYNOMIAL) ^ table >> 1, table >> 1)
    return table


TABLE = _make_table()
