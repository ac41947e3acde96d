"""Bad arguments of `basis import`."""

from __future__ import annotations

from pathlib import Path

from bad_input.case import Case
from bad_input.options import COMMANDS, shown


def glow() -> str:
    return str(Path(__file__).parents[1] / "data" / "glow" / "affine" / "model_best_loss.ckpt")


def static():
    for kind in ("ncsn", "glow", "diffusers"):
        for source in ("nowhere", "", "{base}", "{base}/good.npy", "{base}/tiny", "/dev/null", "\udcff"):
            yield Case(f"import {kind} {shown(source)}", ["import", kind, source, "imported"])
    for setting in (
        "x",
        "size=0",
        "size=-1",
        "size=1e9",
        "size=x",
        "sigmas=[]",
        "sigmas=[0.1,1.0]",
        "sigmas=[1,1]",
        "sigmas=x",
        "sigmas=[1]",
        "sigmas=[1,NaN]",
        "sigmas=[1,-0.1]",
        "ema=maybe",
        "label=1",
    ):
        yield Case(f"import ncsn --set {setting}", [*COMMANDS["import"], "--set", setting])
    yield Case("import ncsn --sigma", [*COMMANDS["import"], "--sigma", "0.1"])
    yield Case("import into a file", [*COMMANDS["import"][:3], "{base}/good.npy"])
    yield Case("import into a prior of another", [*COMMANDS["import"][:3], "{base}/mixtures"])
    for setting in (
        "sigma=-1",
        "sigma=nan",
        "sigma=x",
        "sigma=[]",
        "size=7",
        "size=0",
        "scope=nope",
        "learned_top=maybe",
    ):
        yield Case(f"import glow --set {setting}", ["import", "glow", glow(), "imported", "--set", setting])
    for setting in (
        "label=1",
        "label=-1",
        "label=x",
        "scheduler=x",
        "scheduler=[]",
        'scheduler={"_class_name":"X"}',
        "size=8",
    ):
        yield Case(
            f"import diffusers --set {setting}",
            ["import", "diffusers", "{base}/pipeline", "imported", "--set", setting],
        )
