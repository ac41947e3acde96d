"""TensorFlow's checkpoints (V2) written by hand, so that tests can put anything into them under valid checksums."""

import struct

import numpy as np

from basis.formats._bundle import MAGIC
from basis.formats._crc32c import masked_crc32c

KINDS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bool": 10, "float16": 19}


def varint(value):
    groups = []
    while True:
        groups.append(value & 127 | (128 if value > 127 else 0))
        value >>= 7
        if not value:
            return bytes(groups)


def field(number, value):
    """A field of a protocol buffer: a whole number or bytes."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(array, place, /, **changes):
    """A BundleEntryProto; changes replace its facts: kind, shape, shard, offset, size, checksum, extra."""
    facts = {"kind": KINDS[array.dtype.name], "shape": array.shape, "shard": 0, "offset": place, "size": array.nbytes}
    facts |= {"checksum": masked_crc32c(array.tobytes()), "extra": b""} | changes
    shape = b"".join(field(2, field(1, side)) for side in facts["shape"])
    fixed = varint(6 << 3 | 5) + struct.pack("<I", facts["checksum"])
    numbers = field(3, facts["shard"]) + field(4, facts["offset"]) + field(5, facts["size"])
    return field(1, facts["kind"]) + field(2, shape) + numbers + fixed + facts["extra"]


def block(pairs):
    """A block of a LevelDB table without shared prefixes, with its trailer."""
    content = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs)
    content += struct.pack("<II", 0, 1)
    return content + b"\0" + struct.pack("<I", masked_crc32c(content + b"\0"))


def table(pairs):
    """A LevelDB table of one data block."""
    data, meta = block(pairs), block([])
    handle = varint(0) + varint(len(data) - 5)
    index = block([(pairs[-1][0] + b"~", handle)])
    footer = varint(len(data)) + varint(len(meta) - 5) + varint(len(data) + len(meta)) + varint(len(index) - 5)
    return data + meta + index + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def write(prefix, arrays, header=None, change=None):
    """Write arrays by name; ``change`` gives what replaces an entry's facts, by name. Returns the index's path."""
    offset, entries = 0, []
    for name, array in sorted(arrays.items()):
        entries.append((name.encode(), entry(array, offset, **(change or {}).get(name, {}))))
        offset += array.nbytes
    index = prefix.with_name(f"{prefix.name}.index")
    index.write_bytes(table([(b"", field(1, 1) if header is None else header), *entries]))
    content = b"".join(array.tobytes() for _, array in sorted(arrays.items()))
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(content)
    return index


def glow(dtype=np.float32, scales=1, width=2, seed=0):
    """The variables of the smallest Glow: scales of one step, one channel."""
    rng = np.random.default_rng(seed)
    found, channels = {}, 2
    for scale in range(scales):
        channels *= 2
        shapes = {
            "actnorm_center/b": (1, 1, 1, channels), "actnorm_scale/logs": (1, 1, 1, channels),
            "invconv/W": (channels, channels), "f1/l_1/W": (3, 3, channels // 2 + 1, width),
            "f1/l_1/actnorm_center/b": (1, 1, 1, width), "f1/l_1/actnorm_scale/logs": (1, 1, 1, width),
            "f1/l_2/W": (1, 1, width, width), "f1/l_2/actnorm_center/b": (1, 1, 1, width),
            "f1/l_2/actnorm_scale/logs": (1, 1, 1, width), "f1/l_last/W": (3, 3, width + 1, channels),
            "f1/l_last/b": (1, 1, 1, channels), "f1/l_last/logs": (1, 1, 1, channels),
        }  # fmt: skip
        found |= {f"model/{scale}/0/{name}": 0.1 * rng.standard_normal(shape) for name, shape in shapes.items()}
    return {name: value.astype(dtype) for name, value in found.items()}
