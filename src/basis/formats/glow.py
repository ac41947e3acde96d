"""Checkpoints of Glow as its authors and the paper's publish them, read without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from basis.core.errors import DataError, UsageError
from basis.core.format import Foreign, Format
from basis.core.settings import Count, NonNegative
from basis.formats._bundle import Bundle
from basis.networks.glow import GlowNetwork
from basis.priors.glow import Glow

INDEX, LATEST = ".index", "checkpoint"  # TensorFlow's: the table of variables, and a note of the newest checkpoint
SIZES = {3: 32, 4: 64}  # published: scales to the side of the images
NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
SHOWN = 8


class GlowCheckpoint(Format):
    """Checkpoint of TensorFlow's Saver with a Glow: a prefix, a folder, or a folder of folders, one a noise level.

    Scales, depth, width, channels and the kind of coupling, 1×1 convolution and top prior follow from the variables;
    optimiser slots and moving averages are left out. A folder of folders becomes one prior of several noise levels, σ
    being the last number in each name, such as `mnist_sigma_0.0167`.

    Args:
        sigma: the noise level of a single checkpoint (0 by default); for a folder of folders a list, in the order of
            their sorted names, where the names do not say.
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
        first = prefixes[order[0]]
        arguments = _arguments(first, _variables(first, self.scope), self.size, self.learned_top)
        prior = Glow(**arguments, levels=levels)
        for i, network in zip(order, prior.networks, strict=True):
            variables = _variables(prefixes[i], self.scope)
            if _arguments(prefixes[i], variables, self.size, self.learned_top) != arguments:
                raise DataError(f"{prefixes[i]} has another size than {first}", fix="import it by itself")
            network.load_state_dict(_translate(prefixes[i], variables, network, self.learned_top))  # type: ignore[arg-type]
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
    if not source.is_dir():
        raise UsageError(f"no checkpoint at {source}", fix="give its prefix (without .index), or its folder")
    if inside := _in_folder(source):
        return [inside]
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    found = [(path, inside) for path in folders if (inside := _in_folder(path))]
    if not found:
        raise UsageError(
            f"{source} holds no checkpoint (*{INDEX})", fix="give the folder that holds one, or its prefix"
        )
    return [inside for _, inside in found]


def _in_folder(folder: Path) -> Path | None:
    """Return the prefix of the newest checkpoint in a folder, as TensorFlow notes it there, or of the only one."""
    there = sorted(folder.glob(f"*{INDEX}"))
    if len(there) > 1 and (folder / LATEST).is_file():
        noted = re.search(r'^model_checkpoint_path: "(?:.*[/\\])?([^"/\\]+)"', (folder / LATEST).read_text(), re.M)
        there = [path for path in there if noted and path.name == noted[1] + INDEX] or there
    if len(there) > 1:
        names = ", ".join(path.name.removesuffix(INDEX) for path in there[:SHOWN])
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
    elif len(prefixes) == 1:
        given = [0.0]
    else:
        numbers = [NUMBER.findall(name) for name in names]
        given = [float(found[-1]) if found else -1.0 for found in numbers]
    if min(given) < 0 or len(set(given)) < len(given):
        raise UsageError(
            f"the noise levels of {', '.join(names)} are not clear", fix="give them in this order: --set sigma='[…]'"
        )
    return given


def _variables(prefix: Path, scope: str | None) -> dict[str, np.ndarray]:
    """Return the model's variables without scope, optimiser slots and moving averages."""
    bundle = Bundle(prefix)
    pattern = re.compile(r"(?:(.*)/)?model/(.*)")
    names = {name: match for name in bundle.entries if (match := pattern.fullmatch(name))}
    # A slot or average of a variable is stored under its name: …/W/Adam, …/W/ExponentialMovingAverage.
    own = {name: match for name, match in names.items() if name.rpartition("/")[0] not in names}
    scopes = sorted({match[1] or "" for match in own.values()})
    if scope is None and len(scopes) > 1:
        raise UsageError(f"{prefix} holds several models", fix=f"choose one with --set scope={' or '.join(scopes)}")
    wanted = scope if scope is not None else scopes[0] if scopes else ""
    found = {match[2]: bundle.read(name) for name, match in own.items() if (match[1] or "") == wanted.rstrip("/")}
    if not found:
        raise DataError(f"{prefix} holds no variables {wanted and wanted + '/'}model/…", fix="give a Glow's checkpoint")
    return found


def _arguments(prefix: Path, variables: dict[str, np.ndarray], size: Count | None, learned_top: bool) -> dict:
    """Return the arguments of `Glow` that follow from names and shapes."""
    steps = [tuple(map(int, m.groups())) for name in variables if (m := re.match(r"(\d+)/(\d+)/", name))]
    try:
        scales, depth = 1 + max(step[0] for step in steps), 1 + max(step[1] for step in steps)
        channels, width = variables["0/0/actnorm_center/b"].size, variables["0/0/f1/l_1/W"].shape[-1]
        affine = variables["0/0/f1/l_last/W"].shape[-1] == channels
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"{prefix} is not a Glow: {error}", fix="give a checkpoint of the Glow authors' program"
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
        "lu": "0/0/invconv/L" in variables,
        "learned_top": learned_top and any(name.startswith("prior/") for name in variables),
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


def _translate(prefix: Path, variables: dict[str, np.ndarray], network: GlowNetwork, learned_top: bool) -> dict:
    """Return our state dict; raises `DataError` with all variables that are missing, left over or misshapen."""
    names, wanted, found = _names(network), network.state_dict(), {}
    unused = {name for name in variables if name.startswith("prior/p/") and not learned_top}
    missing = sorted(set(names.values()) - set(variables))
    extra = sorted(set(variables) - set(names.values()) - unused)
    misshapen = []
    for key, name in names.items():
        if name in variables:
            found[key] = _tensor(name, variables[name])
            if found[key].shape != wanted[key].shape:
                misshapen.append(f"{name} {variables[name].shape}")
    if missing or extra or misshapen:
        raise DataError(
            f"{prefix} is not a Glow as published: {_listed('missing', missing)}{_listed('left over', extra)}"
            f"{_listed('misshapen', misshapen)}".rstrip("; "),
            fix="give a checkpoint of an unconditional model with 1×1 convolutions",
        )
    return found


def _tensor(name: str, value: np.ndarray) -> Tensor:
    """Return a variable in our shape: convolutions (out, in, height, width), vectors flat."""
    tensor = torch.from_numpy(value.astype(np.float32))
    if name.startswith("prior/p/W"):  # its inputs are zero but for the border channel, the last one
        tensor = tensor[:, :, -1:] if tensor.dim() == 4 else tensor
    if name.endswith("/W") and tensor.dim() == 4:
        return tensor.permute(3, 2, 0, 1).contiguous()
    return tensor if "/invconv/" in name else tensor.flatten()


def _listed(kind: str, names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{kind}: {', '.join(names[:SHOWN])}{more}; " if names else ""
