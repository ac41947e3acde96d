"""Bad sets of mixtures, and figures to compare."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np

from bad_input import cases
from bad_input.case import Case
from bad_input.files import Exploit
from basis.io.mark import MARK


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
    yield from sets()
    yield from comparisons()
