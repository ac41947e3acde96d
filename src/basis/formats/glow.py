"""Checkpoints of Glow as its authors and the paper's publish them, read without TensorFlow."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from basis.core.errors import DataError, UsageError
from basis.core.settings import Count, NonNegative
from basis.formats._bundle import CONVERT, Bundle, is_table
from basis.io.format import Foreign, Format
from basis.io.loading import brief, build, check_finite, listed
from basis.nn.glow import GlowNetwork
from basis.priors.glow import Glow

INDEX, LATEST = ".index", "checkpoint"  # TensorFlow's: the table of variables, and a note of the newest checkpoint
SIZES = {3: 32, 4: 64}  # published: scales to the side of the images
NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")


class GlowCheckpoint(Format):
    """Checkpoint of TensorFlow's Saver with a Glow: a prefix, a folder, or a folder of folders, one a noise level.

    Scales, depth, width, channels and the kind of coupling, 1×1 convolution and top prior follow from the variables;
    optimiser slots and moving averages are left out. A folder of folders becomes one prior of several noise levels, σ
    being the last number in each name, such as `mnist_sigma_0.0167`.

    Args:
        sigma: the noise level of a single checkpoint, 0 for a model of the data themselves; for a folder of folders a
            list, in the order of their sorted names. What the folders' names say by default.
        size: side of the (square) images, which the variables do not say; by default 32 for three scales, 64 for four.
        scope: what stands before `model/` in the variables' names, where a file holds several models.
        learned_top: false to leave the learned top prior unused, as the released separation command does.

    Example:
        >>> GlowCheckpoint().accepts("model_best_loss.ckpt.index")
        False
    """

    def __init__(
        self,
        sigma: NonNegative | Sequence[NonNegative] | None = None,
        size: Count | None = None,
        scope: str | None = None,
        learned_top: bool = True,
    ) -> None:
        self.sigma, self.size, self.scope, self.learned_top = sigma, size, scope, learned_top

    def accepts(self, source: object) -> bool:
        return isinstance(source, str | Path) and str(source).endswith(INDEX) and Path(source).is_file()

    def read(self, source: str | Path) -> Foreign:
        prefixes = _find(Path(source))
        sigmas = _levels(prefixes, self.sigma)
        order = sorted(range(len(sigmas)), key=lambda i: -sigmas[i])
        levels = [sigmas[i] for i in order]
        models = [_Model(prefixes[i], self.scope) for i in order]
        arguments = _arguments(models[0], self.size, self.learned_top)
        for model in models[1:]:
            if _arguments(model, self.size, self.learned_top) != arguments:
                raise DataError(f"{model.prefix} has another size than {models[0].prefix}", fix="import it by itself")
        sizes = [math.prod(shape) for model in models for shape in model.shapes.values()]
        prior = build(models[0].prefix, lambda: Glow(**arguments, levels=levels), sizes)
        for model, network in zip(models, prior.networks, strict=True):
            state = _translate(model, network, self.learned_top)  # type: ignore[arg-type]
            check_finite(model.prefix, state)
            network.load_state_dict(state)
        kind = "affine" if arguments["affine"] else "additive"
        size_text = f"{arguments['scales']} scales, depth {arguments['depth']}, width {arguments['width']}"
        card = {"summary": f"Glow, {size_text}, {kind}", "levels": levels, "learned_top": arguments["learned_top"]}
        return Foreign(prior.eval().requires_grad_(False), {**arguments, "levels": levels}, card)


def _find(source: Path) -> list[Path]:
    """Return the prefixes of the checkpoints that a path means: itself, those in the folder, or in its folders."""
    if source.name.endswith(INDEX):
        return [source.with_name(source.name.removesuffix(INDEX))]
    if source.with_name(source.name + INDEX).is_file():
        return [source]
    if source.is_file() and is_table(source):
        raise DataError(f"{source} is a TensorFlow checkpoint in the old format V1, expected V2", fix=CONVERT)
    if not source.is_dir():
        raise UsageError(f"no checkpoint at {source}", fix="give its prefix (without .index), or its folder")
    if inside := _in_folder(source):
        return [inside]
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    found = [(path, inside) for path in folders if (inside := _in_folder(path))]
    if not found:
        for path in sorted(path for path in source.iterdir() if path.is_file()):
            if is_table(path):
                _find(path)  # says so
        raise UsageError(
            f"{source} holds no checkpoint (*{INDEX})", fix="give the folder that holds one, or its prefix"
        )
    return [inside for _, inside in found]


def _in_folder(folder: Path) -> Path | None:
    """Return the prefix of the newest checkpoint in a folder, as TensorFlow notes it there, or of the only one."""
    there = sorted(folder.glob(f"*{INDEX}"))
    if len(there) > 1 and (folder / LATEST).is_file():
        note = (folder / LATEST).read_text(errors="replace")
        noted = re.search(r'^model_checkpoint_path: "(?:.*[/\\])?([^"/\\]+)"', note, re.M)
        there = [path for path in there if noted and path.name == noted[1] + INDEX] or there
    if len(there) > 1:
        names = listed([path.name.removesuffix(INDEX) for path in there])
        raise UsageError(f"{folder} holds {len(there)} checkpoints", fix=f"give one prefix: {names}")
    return there[0].with_name(there[0].name.removesuffix(INDEX)) if there else None


def _levels(prefixes: list[Path], sigma: NonNegative | Sequence[NonNegative] | None) -> list[float]:
    """Return the noise level of each checkpoint."""
    names = [prefix.parent.name for prefix in prefixes]
    if sigma is not None:
        given = [float(s) for s in sigma] if isinstance(sigma, list | tuple) else [float(sigma)]  # type: ignore[arg-type]
        if len(given) != len(prefixes):
            raise UsageError(
                f"got {len(given)} noise levels for {len(prefixes)} checkpoints",
                fix=f"give --set sigma='[…]' in the order {', '.join(names)}",
            )
    else:
        numbers = [NUMBER.findall(name) for name in names]
        if len(prefixes) == 1 and "sigma" not in names[0]:
            raise UsageError(
                f"{prefixes[0]} does not say the noise level that it was trained at",
                fix="give --sigma, 0 for a model of the data themselves (in Python GlowCheckpoint(sigma=0).read(…))",
            )
        given = [float(found[-1]) if found else -1.0 for found in numbers]
    if not all(0 <= level < math.inf for level in given) or len(set(given)) < len(given):
        raise UsageError(
            f"the noise levels of {', '.join(names)} are not clear", fix="give them in this order: --set sigma='[…]'"
        )
    return given


class _Model:
    """The variables of a checkpoint's model, without scope, optimiser slots and moving averages.

    ``shapes`` has them by their names after ``model/``; `read` returns one.
    """

    def __init__(self, prefix: Path, scope: str | None) -> None:
        self.prefix, self.bundle = prefix, Bundle(prefix)
        pattern = re.compile(r"(?:(.*)/)?model/(.*)")
        names = {name: match for name in self.bundle.entries if (match := pattern.fullmatch(name))}
        # A slot or average of a variable is stored under its name: …/W/Adam, …/W/ExponentialMovingAverage.
        own = {name: match for name, match in names.items() if name.rpartition("/")[0] not in names}
        scopes = sorted({match[1] or "" for match in own.values()})
        if scope is None and len(scopes) > 1:
            raise UsageError(
                f"{prefix} holds several models", fix=f"choose one with --set scope={listed(scopes, ' or ')}"
            )
        wanted = scope if scope is not None else scopes[0] if scopes else ""
        self.names = {match[2]: name for name, match in own.items() if (match[1] or "") == wanted.rstrip("/")}
        self.shapes = {short: tuple(self.bundle.entries[name].shape) for short, name in self.names.items()}
        if not self.names:
            raise DataError(
                f"{prefix} holds no variables {wanted and wanted + '/'}model/…", fix="give a Glow's checkpoint"
            )

    def read(self, name: str) -> np.ndarray:
        return self.bundle.read(self.names[name])


def _arguments(model: _Model, size: Count | None, learned_top: bool) -> dict:
    """Return the arguments of `Glow` that follow from names and shapes."""
    shapes = model.shapes
    try:
        steps = {tuple(map(int, m.groups())) for name in shapes if (m := re.match(r"([0-9]+)/([0-9]+)/", name))}
        scales, depth = 1 + max(step[0] for step in steps), 1 + max(step[1] for step in steps)
        if len(steps) != scales * depth:
            raise ValueError(f"{len(steps)} steps of flow instead of {scales} times {depth}")
        channels, width = math.prod(shapes["0/0/actnorm_center/b"]), shapes["0/0/f1/l_1/W"][-1]
        affine = shapes["0/0/f1/l_last/W"][-1] == channels
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"{model.prefix} is not a Glow: {brief(error)}", fix="give a checkpoint of the Glow authors' program"
        ) from error
    size = SIZES.get(scales) if size is None else size
    if not isinstance(size, int) or size < 1:
        raise UsageError(f"expected the side of the images, got size {size}", fix="for instance --set size=32")
    return {
        "shape": [max(channels // 4, 1), size, size],
        "scales": scales,
        "depth": depth,
        "width": width,
        "affine": affine,
        "lu": "0/0/invconv/L" in shapes,
        "learned_top": learned_top and any(name.startswith("prior/") for name in shapes),
    }


def _names(network: GlowNetwork) -> dict[str, str]:
    """Return the checkpoint's name of each tensor of ours."""
    names = {}
    for key in network.state_dict():
        place, _, rest = key.partition(".")
        if place == "top":
            names[key] = "prior/p/" + rest.removeprefix("conv.").replace("weight", "W")
        elif place == "splits":
            number, _, kind = rest.partition(".")
            names[key] = f"pool{number}/conv/{kind.replace('weight', 'W')}"
        else:
            scale, step, rest = rest.split(".", 2)
            rest = rest.replace("weight", "W").replace("mix.", "invconv/").replace(".", "/")
            rest = rest.replace("norm/b", "actnorm_center/b").replace("norm/logs", "actnorm_scale/logs")
            names[key] = f"{scale}/{step}/{'f1/' if rest.startswith('l_') else ''}{rest}"
    return names


def _translate(model: _Model, network: GlowNetwork, learned_top: bool) -> dict[str, Tensor]:
    """Return our state dict; raises `DataError` with all variables that are missing, left over or misshapen."""
    names, wanted = _names(network), network.state_dict()
    unused = {name for name in model.shapes if name.startswith("prior/p/") and not learned_top}
    missing = sorted(set(names.values()) - set(model.shapes))
    extra = sorted(set(model.shapes) - set(names.values()) - unused)
    misshapen = [
        f"{name} {model.shapes[name]}"
        for key, name in names.items()
        if name in model.shapes
        and _ours(name, torch.empty(model.shapes[name], device="meta")).shape != wanted[key].shape
    ]
    if missing or extra or misshapen:
        kinds = {"missing": missing, "left over": extra, "misshapen": misshapen}
        raise DataError(
            f"{model.prefix} is not a Glow as published: "
            + "; ".join(f"{kind}: {listed(found)}" for kind, found in kinds.items() if found),
            fix="give a checkpoint of an unconditional model with 1×1 convolutions",
        )
    values = {key: model.read(name) for key, name in names.items()}
    if whole := [f"{names[key]} ({value.dtype})" for key, value in values.items() if value.dtype.kind != "f"]:
        raise DataError(f"{model.prefix} holds whole numbers as weights: {listed(whole)}", fix="copy it anew")
    return {
        key: _ours(names[key], torch.from_numpy(value.astype(np.float32))).contiguous() for key, value in values.items()
    }


def _ours(name: str, tensor: Tensor) -> Tensor:
    """Return a variable in our shape: convolutions (out, in, height, width), vectors flat."""
    if name.startswith("prior/p/W"):  # its inputs are zero but for the border channel, the last one
        tensor = tensor[:, :, -1:] if tensor.dim() == 4 else tensor
    if name.endswith("/W") and tensor.dim() == 4:
        return tensor.permute(3, 2, 0, 1)
    return tensor if "/invconv/" in name else tensor.flatten()
