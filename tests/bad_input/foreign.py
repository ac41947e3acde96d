"""Bad checkpoints of NCSN, Glow and diffusers, and of fitted methods."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bad_input import cases
from bad_input.case import Case
from bad_input.files import Exploit
from bad_input.models import CARD, LARGE, RAW, WEIGHTS, every


def ncsn(change, folder: Path) -> None:
    state = torch.load(cases.BASE[0] / "ncsn.pth", weights_only=True)
    content = change(state)
    if isinstance(content, bytes):
        (folder / "x.pth").write_bytes(content)
    else:
        torch.save(content, folder / "x.pth")


def changed(key: str, change):
    return lambda state: [{**state[0], key: change(state[0][key])}]


NCSN = {
    "empty file": lambda _: b"",
    "text": lambda _: b"no checkpoint",
    "zeros": lambda _: bytes(9999),
    "pointer": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n",
    "yaml": lambda _: b"model:\n  ngf: 4\n",
    "exploit": lambda _: [Exploit()],
    "number": lambda _: 3,
    "list": lambda _: [],
    "dictionary": lambda _: {},
    "none": lambda _: None,
    "numbers": lambda state: [dict.fromkeys(state[0], 3)],
    "keys": lambda state: [dict(enumerate(state[0].values()))],
    "other keys": lambda _: [{"a": torch.zeros(1)}],
    "nan": lambda state: [{key: value * float("nan") for key, value in state[0].items()}],
    "one nan": changed("begin_conv.weight", lambda v: v * float("inf")),
    "without one": lambda state: [dict(list(state[0].items())[:-1])],
    "with more": lambda state: [{**state[0], "more": torch.zeros(1)}],
    "flat": changed("begin_conv.weight", torch.flatten),
    "no width": changed("begin_conv.weight", lambda v: v[:0]),
    "whole numbers": changed("begin_conv.weight", lambda v: v.long()),
    "complex": changed("begin_conv.weight", lambda v: v.to(torch.complex64)),
    "sparse": changed("begin_conv.weight", lambda v: v.to_sparse()),
    "meta": changed("begin_conv.weight", lambda v: v.to("meta")),
    "expanded": changed("begin_conv.weight", lambda v: v[:1].expand(10**6, -1, -1, -1)),
    "four dimensions": changed("end_conv.bias", lambda v: v[None, None]),
}


def glow_copy(folder: Path) -> Path:
    from bad_input.imports import glow

    source = Path(glow())
    for name in ("index", "data-00000-of-00001"):
        shutil.copy(f"{source}.{name}", folder / f"m.ckpt.{name}")
    return folder / "m.ckpt"


def glow_without(name: str, folder: Path) -> None:
    glow_copy(folder)
    (folder / f"m.ckpt.{name}").unlink()


def glow_cut(name: str, share: float) -> Case:
    def make(folder: Path) -> None:
        path = Path(f"{glow_copy(folder)}.{name}")
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return Case(f"glow cut {name} {share}", ["import", "glow", "m.ckpt", "imported"], make)


def glow_flipped(name: str, places: list[float], byte: int) -> Case:
    """Return a checkpoint of Glow with other bytes: harmless where they are padding."""

    def make(folder: Path) -> None:
        path = Path(f"{glow_copy(folder)}.{name}")
        content = bytearray(path.read_bytes())
        for place in places:
            content[int(place * len(content))] = byte
        path.write_bytes(content)

    return Case(f"glow flipped {name} {places}", ["import", "glow", "m.ckpt", "imported"], make, harmless=True)


def pipeline(name: str, change, folder: Path) -> None:
    """Copy a pipeline, with a change to the JSON of one of its files, or to its bytes."""
    shutil.copytree(cases.BASE[0] / "pipeline", folder / "pipeline")
    path = folder / "pipeline" / name
    if callable(change):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    elif change is None:
        path.unlink()
    else:
        path.write_bytes(change)


UNET, PLAN, UNET_WEIGHTS = (
    "unet/config.json",
    "scheduler/scheduler_config.json",
    "unet/diffusion_pytorch_model.safetensors",
)


ODD = {("model_index.json", "none")}


def pipelines():
    command = ["import", "diffusers", "pipeline", "imported"]
    for name in ("model_index.json", UNET, PLAN):
        for kind, content in {
            "none": None,
            "empty": b"",
            "no json": b"{",
            "list": b"[]",
            "bytes": b"\xff",
            "null": b"null",
            "deep": b"[" * 99_999,
        }.items():
            yield Case(
                f"pipeline {name} {kind}", command, partial(pipeline, name, content), harmless=(name, kind) in ODD
            )
    for kind, content in {"none": None, **RAW}.items():
        yield Case(f"pipeline weights {kind}", command, partial(pipeline, UNET_WEIGHTS, content))
    for key, values in {
        "sample_size": ("x", 0, -1, 1.5, [8], LARGE, [8, 8, 8], None, 7),
        "in_channels": ("x", 0, -1, LARGE, 2),
        "_class_name": ("X", 3, None, "UNet2DConditionModel"),
        "block_out_channels": ("x", [], [0, 0], [8], [LARGE, 8], [7, 7]),
        "norm_num_groups": (0, 3, "x", -1),
        "down_block_types": ([], ["X", "Y"], "x", ["DownBlock2D"]),
        "layers_per_block": (0, -1, "x", LARGE),
        "out_channels": (0, 3, "x"),
        "time_embedding_type": ("x", "fourier", 3),
        "class_embed_type": ("x", "timestep"),
        "num_class_embeds": (-1, "x", 3),
        "act_fn": ("x", 3),
    }.items():
        for value in values:
            yield Case(
                f"pipeline unet {key}={value}",
                command,
                partial(pipeline, UNET, lambda c, key=key, value=value: c.update({key: value})),
            )
    for key, values in {
        "_class_name": ("X", 3, None, "UNet2DModel", "os"),
        "num_train_timesteps": (0, -1, "x", 1, LARGE),
        "beta_start": ("x", -1, float("nan"), 2),
        "beta_end": ("x", -1, 2, float("nan")),
        "beta_schedule": ("x", 3),
        "prediction_type": ("x", 3),
        "trained_betas": ("x", [], [0.0], [0.1, 2.0], [float("nan")] * 9, [[0.1]]),
    }.items():
        for value in values:
            yield Case(
                f"pipeline scheduler {key}={str(value)[:20]}",
                command,
                partial(pipeline, PLAN, lambda c, key=key, value=value: c.update({key: value})),
            )


def fit(change, folder: Path) -> None:
    shutil.copytree(cases.BASE[0] / "nmf", folder / "fit")
    (folder / "fit" / CARD).unlink()
    path = folder / "fit" / WEIGHTS
    if isinstance(change, bytes):
        path.write_bytes(change)
        return
    header = {
        "separator": "nmf",
        "arguments": {"shape": [1, 8, 8], "kinds": [0, 0], "seed": 0, "components": 2, "iterations": 1},
    }
    found = load_file(path)
    change(header, found)
    save_file(found, path, {"basis": json.dumps(header)})


def fits():
    command = ["separate", "{base}/good.npy", "--prior", "{base}/tiny", "--method", "fit", "--out", "out"]
    changes = {kind: content for kind, content in RAW.items() if kind in ("empty", "text", "zeros", "offsets")}
    for key, value in {"separator": "nope", "arguments": [], "prior": "edm"}.items():
        changes[key] = lambda header, found, key=key, value=value: header.update({key: value})
    del changes["prior"]
    for key, value in {"shape": [1, 9, 9], "components": 3, "kinds": [0, 2], "nope": 1, "seed": "x"}.items():
        changes[f"argument {key}"] = lambda header, found, key=key, value=value: header["arguments"].update(
            {key: value}
        )
    changes["nan"] = lambda header, found: every(float("nan"))(found, None)
    changes["missing"] = lambda header, found: found.pop(next(iter(found)))
    changes["nothing learned"] = lambda header, found: found.update(learned=torch.zeros((), dtype=torch.int64))
    for kind, change in changes.items():
        yield Case(f"fit {kind}", command, partial(fit, change))
    yield Case("fit --set", [*command, "--set", "components=x"], partial(shutil_copy))


def shutil_copy(folder: Path) -> None:
    shutil.copytree(cases.BASE[0] / "nmf", folder / "fit")


def static():
    settings = ["--set", "size=8", "--set", "sigmas=[1.0,0.1]"]
    for kind, change in NCSN.items():
        yield Case(f"ncsn {kind}", ["import", "ncsn", "x.pth", "imported", *settings], partial(ncsn, change))
    for kind in ("text", "exploit", "keys", "zeros"):
        yield Case(f"ncsn {kind} read as it is", ["info", "x.pth"], partial(ncsn, NCSN[kind]))
    yield from pipelines()
    yield from fits()
    for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
        for name in ("index", "data-00000-of-00001"):
            yield glow_cut(name, share)
    yield Case(
        "glow without data", ["import", "glow", "m.ckpt", "imported"], partial(glow_without, "data-00000-of-00001")
    )
    yield Case("glow without index", ["import", "glow", "m.ckpt", "imported"], partial(glow_without, "index"))
