"""Bad checkpoints of our own format."""

from __future__ import annotations

import gzip
import json
import shutil
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bad_input import cases, goods
from bad_input.case import Case

WEIGHTS, CARD = "model.safetensors", "card.json"


LARGE = 10**9


SIZES = ("x", None, 0, -1, 1.5, True, [], {}, LARGE)


NUMBERS = ("x", None, [], {}, True)


LISTS = ("x", None, 3, {}, [0], [-1, 8], ["x", "y"], [1.5, 2], [LARGE, LARGE])


ARGUMENTS = {  # of kinds of prior: values that no such argument can have
    "tiny": {
        "shape": (*LISTS, [1, 8], [1, 8, 0], [1, 8, 8, 8], [LARGE, 8, 8], [1, LARGE, LARGE]),
        "mean": (*NUMBERS, float("nan"), float("inf")),
        "std": (*NUMBERS, float("nan"), float("inf"), 0, -1),
        "widths": (*LISTS, []),
        "blocks": (*LISTS, [10**6, 1], [1]),
        "attention": ("x", None, [], {}, [True], ["x", "y"], [2, 3]),
        "patch": (*SIZES, 3),
        "borders": ("x", None, 3, {}, [0], [-1], [0.1, 0.2], ["x"], [float("nan")]),
        "known": ("x", None, 3, [1], [[1, 2]], [["x"]], [[float("nan")]]),
        "classes": ("x", None, -1, 1.5, []),
        "reads": ("x", 3, [1], [8, 16]),
        "nope": (1,),
    },
    "flow": {
        "shape": (*LISTS, [1, 8], [1, 6, 6], [LARGE, 8, 8], [1, 2**40, 2**40]),
        "scales": (*SIZES, 9),
        "depth": (*SIZES, 10**6),
        "width": SIZES,
        "levels": ("x", 3, [], [0.1, 1.0], [-1], [float("nan")], ["x"], [1.0, 1.0]),
        "std": ("x", [], 0, -1, float("nan")),
        "mean": (*NUMBERS, float("nan")),
        "sigma_max": ("x", None, 0, -1, float("nan")),
        "embedding": ("x", None, -1, 1.5, []),
    },
    "levels": {
        "shape": (*LISTS, [1, 8], [1, LARGE, LARGE], [1, 8, 0]),
        "width": SIZES,
        "sigmas": ("x", 3, {}, [], [0.1, 1.0], [1.0, 0.0], [1.0, -0.1], [1.0, float("nan")], ["x", "y"], [1.0, 1.0]),
        "version": ("x", None, 0, 3, 1.5),
    },
    "gaussian": {
        "weights": ("x", None, 3, [], [-1.0], [0.0], [float("nan")], [0.5, 0.5]),
        "means": ("x", None, 3, [], [float("nan")], [[0.5]]),
        "covariances": ("x", None, 3, [], [[[float("nan")] * 4] * 4], [[[-1.0, 0, 0, 0]] * 4], [[[1.0]]]),
    },
}


def prior(name: str, folder: Path) -> Path:
    """Copy a good prior into the folder, without the card that holds its hash."""
    shutil.copytree(cases.BASE[0] / name, folder / "prior")
    (folder / "prior" / CARD).unlink(missing_ok=True)
    return folder / "prior"


def argued(name: str, argument: str, value: object, folder: Path) -> None:
    """Write a prior with another argument in its header."""
    path = prior(name, folder) / WEIGHTS
    kind = {"tiny": "edm", "flow": "glow", "levels": "ncsn", "gaussian": "gaussian"}[name]
    header = {"prior": kind, "arguments": {**goods.PRIORS[name][1], argument: value}}
    save_file(load_file(path), path, {"basis": json.dumps(header)})


def headed(header: object, folder: Path) -> None:
    """Write a prior with another header."""
    path = prior("tiny", folder) / WEIGHTS
    save_file(load_file(path), path, None if header is None else {"basis": header})


def tensors(name: str, change, folder: Path) -> None:
    """Write a prior with other tensors."""
    path = prior(name, folder) / WEIGHTS
    kind = {"tiny": "edm", "flow": "glow", "levels": "ncsn"}[name]
    found = load_file(path)
    first = next(key for key, value in found.items() if value.dim() > 1)
    change(found, first)
    save_file(found, path, {"basis": json.dumps({"prior": kind, "arguments": goods.PRIORS[name][1]})})


def every(value: float):
    return lambda found, _: found.update({k: v * value if v.is_floating_point() else v for k, v in found.items()})


def first(value):
    return lambda found, key: found.update({key: value(found[key])})


TENSORS = {
    "nan": every(float("nan")),
    "inf": every(float("inf")),
    "one nan": first(lambda v: v * float("nan")),
    "missing": lambda found, key: found.pop(key),
    "left over": lambda found, _: found.update(more=torch.zeros(1)),
    "shape": first(lambda v: v[:-1].contiguous()),
    "empty": lambda found, _: found.clear(),
    "flat": first(torch.flatten),
}


def header_of(length: int, rest: bytes) -> bytes:
    return length.to_bytes(8, "little") + rest


RAW = {
    "empty": b"",
    "text": b"no weights",
    "zeros": bytes(999),
    "short": header_of(2**60, b"{}"),
    "no json": header_of(4, b"abcd"),
    "list": header_of(2, b"[]"),
    "offsets": header_of(len(b := b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,39999999996]}}'), b),
    "gzip": gzip.compress(bytes(99)),
}


HEADERS = {
    "none": None,
    "empty": "",
    "no json": "{",
    "list": "[]",
    "number": "3",
    "null": "null",
    "no prior": '{"arguments": {}}',
    "no arguments": '{"prior": "edm"}',
    "unknown": '{"prior": "nope", "arguments": {}}',
    "list for arguments": '{"prior": "edm", "arguments": []}',
    "text for arguments": '{"prior": "edm", "arguments": "x"}',
    "number for prior": '{"prior": 3, "arguments": {}}',
    "module": '{"prior": "os:system", "arguments": {}}',
    "separator": '{"separator": "nmf", "arguments": {}}',
    "deep": "[" * 100_000,
}


CARDS = {
    "no json": "{",
    "list": "[1]",
    "text": '"x"',
    "number": "3",
    "null": "null",
    "deep": "[" * 100_000,
    "bytes": b"\xff\xfe",
    "hash": '{"sha256": "0"}',
    "number for hash": '{"sha256": 3}',
    "list for hash": '{"sha256": [1]}',
}


def carded(content: str | bytes, folder: Path) -> None:
    path = prior("tiny", folder) / CARD
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def raw(content: bytes, folder: Path) -> None:
    (prior("tiny", folder) / WEIGHTS).write_bytes(content)


def static():
    info, separate = ["info", "prior"], ["separate", "{base}/good.npy", "--prior", "prior", "--out", "out"]
    for name, arguments in ARGUMENTS.items():
        for argument, values in arguments.items():
            for i, value in enumerate(values):
                command = info if i % 2 else separate
                yield Case(f"{name} {argument}={value}"[:70] + f" {i}", command, partial(argued, name, argument, value))
    for name in ("tiny", "flow", "levels"):
        for kind, change in TENSORS.items():
            yield Case(f"{name} tensors {kind}", info, partial(tensors, name, change))
    for kind, content in RAW.items():
        yield Case(f"weights {kind}", info, partial(raw, content))
        yield Case(f"weights {kind} by file", ["info", f"prior/{WEIGHTS}"], partial(raw, content))
    for kind, header in HEADERS.items():
        yield Case(f"header {kind}", info, partial(headed, header))
    for kind, card in CARDS.items():
        yield Case(f"card {kind}", info, partial(carded, card))
    yield Case("weights are a folder", info, lambda folder: (folder / "prior" / WEIGHTS).mkdir(parents=True))
    yield Case("folder of no prior", info, lambda folder: (folder / "prior").mkdir())


def safetensors_flipped(places: list[float], byte: int) -> Case:
    """Return our own weights with other bytes in the first kilobyte: harmless where they are weights."""

    def make(folder: Path) -> None:
        path = prior("tiny", folder) / WEIGHTS
        content = bytearray(path.read_bytes())
        for place in places:
            content[int(place * 1024)] = byte
        path.write_bytes(content)

    return Case(f"weights flipped {places}", ["info", "prior"], make, harmless=True)
