"""Bad recipes, data sets, sets of mixtures and figures to compare."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import struct
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from bad_input import cases, files, goods
from bad_input.case import Case
from bad_input.files import Exploit
from basis.core.mark import MARK

TRAIN = ["train", "recipe.toml", "--out", "run"]
RECIPES = {  # what replaces a line of the good one
    "broken": ("steps = 2", "steps ="),
    "twice": ("steps = 2", "steps = 2\nsteps = 3"),
    "unknown": ("steps", "stepps"),
    "no prior": ('prior = "edm"', ""),
    "no arguments": ("[arguments]", "[noise2]"),
    "prior": ('"edm"', '"nope"'),
    "data": ('"digits"', '"nope"'),
    "data of other size": ("[1, 8, 8]", "[1, 9, 9]"),
    "prior of no recipe": ('"edm"', '"diffusion"'),
    "large batch": ("batch = 4", "batch = 1000000000000"),
    "large widths": ("[8, 16]", "[100000000, 16]"),
    "many blocks": ("[1, 1]", "[1000000, 1]"),
    "more blocks": ("blocks = [1, 1]", "blocks = [1]"),
    "nan": ("0.3059", "nan"),
    "std 0": ("0.3754", "0.0"),
    "text": ("0.3754", '"x"'),
    "noise": ("[noise]", "[nois]"),
    "noise is a number": ("[noise]\nstd = 1.2", ""),
    "noise entry": ("std = 1.2", "sdt = 1.2"),
    "noise std": ("std = 1.2", "std = 0"),
    "noise negative": ("std = 1.2", "std = -1.0"),
    "noise nan": ("std = 1.2", "std = nan"),
    "noise min": ("std = 1.2", "min = -1.0"),
    "noise ends": ("std = 1.2", "min = 2.0\nmax = 1.0"),
    "noise max": ("std = 1.2", "max = inf"),
    "noise text": ("std = 1.2", 'std = "x"'),
    "clip": ("steps", "clip = nan\nsteps"),
    "clip negative": ("steps", "clip = -1.0\nsteps"),
    "rate": ("steps", "learning_rate = nan\nsteps"),
    "rate inf": ("steps", "learning_rate = inf\nsteps"),
    "rate huge": ("steps", "learning_rate = 1e30\nsteps"),
    "decay": ("steps", "decay = -1.0\nsteps"),
    "decay nan": ("steps", "decay = nan\nsteps"),
    "beta2": ("steps", "beta2 = 1.5\nsteps"),
    "beta2 negative": ("steps", "beta2 = -1.0\nsteps"),
    "ema": ("steps", "ema = -1.0\nsteps"),
    "ema nan": ("steps", "ema = nan\nsteps"),
    "seed": ("steps", "seed = -1\nsteps"),
    "seed huge": ("steps", f"seed = {2**63 - 1}\nsteps"),
    "known": ("steps", "known = 2.0\nsteps"),
    "known nan": ("steps", "known = nan\nsteps"),
    "labels": ("steps", "labels = 0.1\nsteps"),
    "labels negative": ("steps", "labels = -1.0\nsteps"),
    "shift": ("steps", "shift = -1\nsteps"),
    "shift huge": ("steps", "shift = 100\nsteps"),
    "precision": ("steps", 'precision = "bf8"\nsteps'),
    "stored": ("steps", 'stored = "x"\nsteps'),
    "objective": ("steps", 'objective = "x"\nsteps'),
    "likelihood": ("steps", 'objective = "likelihood"\nsteps'),
    "levels": ("[noise]", "[levels]\nmin = 0.1\n[noise]"),
    "power": ("steps", 'objective = "score_matching"\nanneal_power = nan\nsteps'),
    "warmup huge": ("warmup = 1", "warmup = 1000000000000000000000"),
    "finetune": ("[noise]", "[finetune]\nsteps = 1\n[noise]"),
    "borders": ("[noise]", "borders = [0.1, 0.2]\n[noise]"),
    "more arguments": ("[noise]", "nope = 1\n[noise]"),
    "arguments are a list": ("[arguments]", "[[arguments]]"),
    "sigmas": ('"edm"', '"ncsn"'),
}
ODD = {"seed huge", "noise is a number", "clip inf", "warmup huge", "noise max", "rate huge"}
FIELDS = (  # of a recipe, each with values that it cannot have
    "prior",
    "data",
    "steps",
    "batch",
    "learning_rate",
    "warmup",
    "decay",
    "beta2",
    "ema",
    "clip",
    "unit_weights",
    "objective",
    "anneal_power",
    "dequantize",
    "flip",
    "known",
    "labels",
    "shift",
    "precision",
    "stored",
    "compile",
    "every",
    "seed",
)
FINETUNE = {
    "count": ("count = 2", "count = 0"),
    "count negative": ("count = 2", "count = -1"),
    "count one": ("count = 2", "count = 1.5"),
    "max": ("count = 2", "max = -1.0"),
    "min": ("count = 2", "min = 0.0"),
    "ends": ("count = 2", "max = 0.01\nmin = 1.0"),
    "nan": ("count = 2", "max = nan"),
    "steps": ("steps = 1\nlearning", "steps = 0\nlearning"),
    "rate": ("learning_rate = 0.001", "learning_rate = -1.0"),
    "entry": ("count", "cuont"),
    "no rate": ("learning_rate = 0.001", ""),
    "prior": ('"glow"', '"edm"'),
    "huge": ("count = 2", "count = 1000000000"),
    "missing": ("[finetune]", "[noise]\nstd = 1.0\n[x]"),
}


def recipe(text: str, folder: Path, name: str = "recipe.toml") -> None:
    (folder / name).write_text(text)


def recipes():
    for kind, (old, new) in RECIPES.items():
        assert old in goods.RECIPE, kind
        yield Case(f"recipe {kind}", TRAIN, partial(recipe, goods.RECIPE.replace(old, new, 1)), kind in ODD)
    for kind, (old, new) in FINETUNE.items():
        assert old in goods.FINETUNE, kind
        command = ["finetune", "recipe.toml", "--out", "run"]
        yield Case(
            f"finetune {kind}",
            command,
            partial(recipe, goods.FINETUNE.replace(old, new, 1)),
            kind == "count one" and False,
        )
    for kind, content in {
        "empty": b"",
        "bytes": b"\xff\xfe\x00",
        "json": b'{"prior": "edm"}',
        "nul": b"prior = '\x00'",
        "deep": b"a = " + b"[" * 99_999,
    }.items():
        yield Case(
            f"recipe {kind}", TRAIN, lambda folder, content=content: (folder / "recipe.toml").write_bytes(content)
        )
    yield Case("recipe folder", TRAIN, lambda folder: (folder / "recipe.toml").mkdir())
    yield Case("train beside another's checkpoint", TRAIN, partial(checkpoint, b"no checkpoint"))
    yield Case("train beside an empty checkpoint", TRAIN, partial(checkpoint, b""))
    yield Case(
        "train into a file's place",
        TRAIN,
        lambda folder: (recipe(goods.RECIPE, folder), (folder / "run").write_text("x")),
    )


def checkpoint(content: bytes, folder: Path) -> None:
    recipe(goods.RECIPE, folder)
    (folder / "run").mkdir()
    (folder / "run" / "checkpoint.pt").write_bytes(content)


def entry(key: str, value: str) -> Case:
    """Return a recipe in which a field has a value of TOML of another type."""
    lines = [line for line in goods.RECIPE.splitlines() if not line.startswith(f"{key} =")]
    return Case(f"recipe {key} = {value}", TRAIN, partial(recipe, "\n".join([f"{key} = {value}", *lines])))


def idx(folder: Path, name: str, content: bytes) -> None:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / name).write_bytes(content)


IDX = {
    "empty": b"",
    "text": b"no images",
    "magic": struct.pack(">IIII", 7, 1, 28, 28) + bytes(784),
    "short": struct.pack(">IIII", 2051, 60_000, 28, 28) + bytes(99),
    "huge": struct.pack(">IIII", 2051, 2**31, 2**31, 2**31),
    "zeros": bytes(10_000),
}
CIFAR = {
    "empty": b"",
    "text": b"no batch",
    "short": bytes(3073 * 9),
    "exploit": pickle.dumps(Exploit()),
    "list": pickle.dumps([]),
    "keys": pickle.dumps({b"data": 3, b"labels": []}),
    "strings": pickle.dumps({"data": "x", "labels": "y"}),
    "array": pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}),
    "memory": b"\x80\x04B\xff\xff\xff\xff\x7f\x00\x00\x00.",
}


def bomb(folder: Path) -> None:
    """Write a gigabyte of zeros in a megabyte, behind MNIST's name."""
    (folder / "data").mkdir()
    part = gzip.compress(bytes(2**26), 1)
    with (folder / "data" / "t10k-images-idx3-ubyte.gz").open("wb") as file:
        for _ in range(40):
            file.write(part)


def cifar(content: bytes, binary: bool, folder: Path) -> None:
    place = folder / "data" / ("cifar-10-batches-bin" if binary else "cifar-10-batches-py")
    place.mkdir(parents=True)
    for name in ("test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        (place / f"{name}{'.bin' if binary else ''}").write_bytes(content)


def lsun(content: bytes | float, folder: Path) -> None:
    """Write a database of three pictures, cut to a share, or other bytes in its place."""
    import lmdb

    place = folder / "data" / "church_outdoor_val_lmdb"
    place.mkdir(parents=True)
    if isinstance(content, bytes):
        (place / "data.mdb").write_bytes(content)
        return
    with lmdb.open(str(place), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for i in range(3):
            transaction.put(
                b"%d" % i, (cases.BASE[0] / "colour.png").read_bytes() * (1 if content else 0) or b"no picture"
            )
    (place / "lock.mdb").unlink()
    path = place / "data.mdb"
    if content:
        path.write_bytes(path.read_bytes()[: int(content * path.stat().st_size)])


def pictures(kind: str, folder: Path) -> None:
    place = folder / "photos" / "a"
    place.mkdir(parents=True)
    if kind == "text":
        (place / "x.png").write_text("no picture")
    elif kind == "cut":
        Image.fromarray(goods.PIXELS).save(place / "x.png")
        (place / "x.png").write_bytes((place / "x.png").read_bytes()[:-30])
    elif kind == "loop":
        (place / "again").symlink_to(place)
    elif kind == "dangling":
        (place / "x.png").symlink_to("nowhere")
    elif kind == "large":
        files.large(60_000, place / "x.png")


def datasets():
    def mixed(data: str, *more: str) -> list[str]:
        return ["make-mixtures", data, "--n", "2", "--out", "mixtures", "--data-dir", "data", *more]

    for kind, content in IDX.items():
        for name in ("t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz"):
            yield Case(f"{name} {kind}", mixed("mnist"), partial(idx, name=name, content=content))
    yield Case("mnist gzip of zeros", mixed("mnist"), bomb)
    yield Case(
        "mnist gzip cut",
        mixed("mnist"),
        partial(idx, name="t10k-images-idx3-ubyte.gz", content=gzip.compress(bytes(99))[:-9]),
    )
    for kind, content in CIFAR.items():
        for binary in (True, False):
            yield Case(f"cifar10 {kind} {binary}", mixed("cifar10"), partial(cifar, content, binary))
    for share in (0.0, 0.05, 0.2, 0.4, 0.6, 0.8):
        yield Case(f"lsun cut {share}", mixed("lsun:church_outdoor,size=8"), partial(lsun, share))
    for kind, content in {"empty": b"", "text": b"no database", "zeros": bytes(9999)}.items():
        yield Case(f"lsun {kind}", mixed("lsun:church_outdoor,size=8"), partial(lsun, content))
    for kind in ("empty", "text", "cut", "loop", "dangling", "large"):
        yield Case(
            f"folder {kind}",
            ["make-mixtures", "folder:photos,size=8", "--n", "2", "--out", "mixtures"],
            partial(pictures, kind),
        )
    for data in ("mnist", "cifar10", "lsun"):
        yield Case(
            f"{data} in no folder", ["make-mixtures", data, "--data-dir", "{base}/good.npy", "--out", "mixtures"]
        )


def mixtures(change, folder: Path) -> None:
    """Copy a set of mixtures, and change it; its mark is taken away, so that the change is met and not the mark."""
    shutil.copytree(cases.BASE[0] / "mixtures", folder / "m")
    (folder / "m" / MARK).unlink()
    change(folder / "m")


def facts(**values):
    def change(folder: Path) -> None:
        content = json.loads((folder / "mixtures.json").read_text())
        content.update(values)
        (folder / "mixtures.json").write_text(json.dumps({k: v for k, v in content.items() if v != "gone"}))

    return change


def arrays(**values):
    return lambda folder: np.savez(folder / "00000.npz", **values)


GOOD = {"mixture": np.zeros((1, 8, 8), np.float32), "sources": np.zeros((2, 1, 8, 8), np.float32)}
SETS = {
    "no json": lambda folder: (folder / "mixtures.json").write_text("{"),
    "list": lambda folder: (folder / "mixtures.json").write_text("[]"),
    "none": lambda folder: (folder / "mixtures.json").unlink(),
    "deep": lambda folder: (folder / "mixtures.json").write_text("[" * 99_999),
    "n": facts(n="gone"),
    "n text": facts(n="x"),
    "n 0": facts(n=0),
    "n negative": facts(n=-1),
    "n more": facts(n=9),
    "n huge": facts(n=10**12),
    "weights": facts(weights="gone"),
    "weights text": facts(weights="x"),
    "weights one": facts(weights=[1.0]),
    "weights 0": facts(weights=[0, 0]),
    "weights nan": facts(weights=[float("nan"), 1.0]),
    "weights words": facts(weights=["a", "b"]),
    "split": facts(split="gone"),
    "task": facts(task="gone"),
    "missing": lambda folder: (folder / "00000.npz").unlink(),
    "text": lambda folder: (folder / "00000.npz").write_text("x"),
    "empty": lambda folder: (folder / "00000.npz").write_text(""),
    "no arrays": arrays(),
    "no sources": arrays(mixture=GOOD["mixture"]),
    "shape": arrays(mixture=np.zeros((1, 9, 9)), sources=np.zeros((2, 1, 9, 9))),
    "more sources": arrays(**{**GOOD, "sources": np.zeros((3, 1, 8, 8))}),
    "nan": arrays(**{**GOOD, "mixture": np.full((1, 8, 8), np.nan, np.float32)}),
    "nan sources": arrays(**{**GOOD, "sources": np.full((2, 1, 8, 8), np.nan, np.float32)}),
    "words": arrays(mixture=np.full((1, 8, 8), "a"), sources=GOOD["sources"]),
    "bomb": lambda folder: shutil.copy(cases.BASE[0] / "bomb.npz", folder / "00000.npz"),
    "complex": arrays(**{**GOOD, "mixture": np.zeros((1, 8, 8), complex)}),
    "objects": arrays(mixture=np.array([Exploit()]), sources=GOOD["sources"]),
}


def sets():
    for kind, change in SETS.items():
        yield Case(
            f"mixtures {kind}",
            ["evaluate", "m", "--method", "average", "--prior", "{base}/tiny"],
            partial(mixtures, change),
        )


def figures(change, folder: Path) -> None:
    content = json.loads((cases.BASE[0] / "a.json").read_text())
    found = change(content)
    (folder / "b.json").write_text(found if isinstance(found, str) else json.dumps(content))


def put(**values):
    return lambda content: content.update(values)


def about(**values):
    return lambda content: content["mixtures"].update(values)


FIGURES = {
    "empty": lambda _: "",
    "no json": lambda _: "{",
    "list": lambda _: "[]",
    "number": lambda _: "3",
    "null": lambda _: "null",
    "object": lambda _: "{}",
    "deep": lambda _: "[" * 99_999,
    "no psnr": lambda content: content.pop("psnr") and None,
    "no mixtures": lambda content: content.pop("mixtures") and None,
    "no weights": lambda content: content.pop("weights") and None,
    "psnr text": put(psnr="x"),
    "psnr number": put(psnr=3),
    "psnr empty": put(psnr=[]),
    "psnr null": put(psnr=[None] * 6),
    "psnr words": put(psnr=["a"] * 6),
    "psnr nan": put(psnr=[float("nan")] * 6),
    "psnr one nan": put(psnr=[1.0, float("nan"), 1, 1, 1, 1]),
    "psnr inf": put(psnr=[float("inf")] * 6),
    "psnr nested": put(psnr=[[1.0, 2.0]] * 6),
    "psnr one": put(psnr=[1.0]),
    "psnr four": put(psnr=[1.0] * 4),
    "weights text": put(weights="x"),
    "weights null": put(weights=None),
    "weights others": put(weights=[0.3, 0.7]),
    "mixtures text": put(mixtures="x"),
    "mixtures list": put(mixtures=[1]),
    "another seed": about(seed=7),
    "another data set": about(data="mnist"),
    "another task": about(task="split"),
    "another split": about(split="train"),
    "other images": about(index=[[0, 1]] * 6),
    "index text": about(index="x"),
    "index numbers": about(index=[1, 2]),
    "experiments text": put(experiments="x"),
    "experiments null": put(experiments=None),
    "experiments list": put(experiments=[1]),
    "experiments empty": put(experiments={}),
    "cells": put(experiments={"a": [3]}),
    "cells text": put(experiments={"a": "x"}),
    "cells empty": put(experiments={"a": [{}]}),
}


def comparisons():
    for kind, change in FIGURES.items():
        yield Case(f"compare {kind}", ["compare", "{base}/a.json", "b.json"], partial(figures, change))
    yield Case("compare one", ["compare", "{base}/a.json"])
    yield Case("compare folder", ["compare", "{base}/a.json", "r"], lambda folder: (folder / "r").mkdir())


def document(kind: str, value: object) -> Case:
    """Return a file of JSON that holds anything but what it should."""
    content = json.dumps(value)
    if kind == "figures":
        return Case(
            f"compare {content}",
            ["compare", "{base}/a.json", "b.json"],
            lambda folder: (folder / "b.json").write_text(content),
        )
    if kind == "mixtures":
        change = lambda folder: (folder / "mixtures.json").write_text(content)  # noqa: E731
        return Case(
            f"mixtures {content}",
            ["evaluate", "m", "--method", "average", "--prior", "{base}/tiny"],
            partial(mixtures, change),
        )
    from bad_input import models

    return Case(f"header {content}", ["info", "prior"], partial(models.headed, content))


def static():
    yield from recipes()
    yield from datasets()
    yield from sets()
    yield from comparisons()
