"""Recipes: a training run as a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Le, Lt

from basis.assets.recipes import recipe as bundled_recipe
from basis.core.errors import DataError, UsageError, unknown
from basis.core.settings import Above0, Count, Finite, NonNegative, Positive, Share, Whole, takes, words
from basis.io.limits import read_file
from basis.io.loading import brief

MOST_LEVELS = 1_000  # each with a network of its own
CHOICES = {
    "precision": ("no", "bf16", "fp16"),
    "stored": ("fp32", "bf16"),
    "objective": ("denoising", "score_matching", "likelihood"),
}


@dataclass(frozen=True)
class Noise:
    """Noise levels seen in training: ln σ ~ N(mean, std²) cut off at min and max, σ in units of the data."""

    mean: Finite = -1.1
    std: Positive = 1.4
    min: NonNegative = 0.005
    max: Above0 = 10.0

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise UsageError(f"noise.min is {self.min:g}, above noise.max, {self.max:g}", fix="exchange them")


@dataclass(frozen=True)
class Levels:
    """Discrete noise levels for a prior that takes ``sigmas``, geometric from max to min.

    Args:
        max: highest level, or "data": the largest distance between two training examples (NCSNv2, technique 1).
        min: lowest level.
        count: number of levels, or "overlap": as many as make neighbours overlap (NCSNv2, technique 2).
    """

    max: Positive | Literal["data"] = "data"
    min: Positive = 0.01
    count: Count | Literal["overlap"] = "overlap"


@dataclass(frozen=True)
class Finetune:
    """How a prior with a network for each noise level is made (section 3.5 of the paper): `basis finetune`.

    Each level starts from the weights of the next smaller one, the smallest from those of the data themselves.

    Args:
        steps: optimiser steps at each level; the recipe's own steps train the data's prior.
        learning_rate: peak learning rate at each level.
        max, min, count: the levels, geometric.
    """

    steps: Count
    learning_rate: Positive
    max: Positive = 1.0
    min: Positive = 0.01
    count: Annotated[int, Ge(1), Le(MOST_LEVELS)] = 10


@dataclass(frozen=True)
class Recipe:
    """Everything that a training run depends on.

    Args:
        prior: name of the kind of prior, see `basis list`.
        arguments: arguments of its class.
        data: name of the data set, with settings where it has some, for instance "folder:photos,size=32".
        steps: optimiser steps in all.
        batch: examples a step, over all processes.
        learning_rate: Adam's peak learning rate.
        warmup: steps of linear warm-up.
        decay: last share of the steps over which the learning rate falls linearly to zero.
        beta2: Adam's memory of squared gradients.
        ema: half-life of the exponential moving average of the weights, in examples; 0 for none.
        clip: largest norm of a step's gradient; inf for none.
        unit_weights: hold the norm of the weights while training (`basis.nn.magnitude`). A step then changes the
            weights of a layer with n inputs by about ``learning_rate · √n`` of their size: wide networks need less.
        objective: "denoising" (Karras et al. 2022), "score_matching" (Song & Ermon 2019) or "likelihood".
        anneal_power: power of σ that weights score matching.
        dequantize: whether to spread values that are stored in 8 bits uniformly over their quantisation steps.
        flip: whether to mirror half of the examples, along their last dimension.
        known: share of the examples of which a sum of the channels is without noise, one of those in the prior's
            argument ``known``, so that the prior learns what goes with it. Noise and loss are then those of what the
            sum does not see. (Noise levels of its own for a part of the data, as in UniDiffuser, Bao et al. 2023.)
        labels: weight, beside the denoising loss, of the cross-entropy of naming each example's class, for a prior with
            an argument ``classes``: what tells objects apart is learned sooner from their names (for colours, Iizuka
            et al. 2016, "Let there be Color!").
        shift: places by which examples are moved at random along each dimension but the channels, with their borders
            mirrored.
        precision: "no", "bf16" or "fp16" (mixed precision).
        stored: "fp32", or "bf16" for a prior of half the size; checkpoints are whole.
        compile: whether to compile the network with torch.compile.
        every: steps between checkpoints, with the held-out loss measured at each.
        calibrate: mixtures of each kind by which `basis train` calibrates the prior at its end; 0 leaves it out.
        seed: fixes initial weights, order of the data and noise.
        noise: the noise levels seen in training, for a prior that takes any.
        finetune: how `basis finetune` goes on, for a prior with a network for each noise level.
        levels: the noise levels to build a prior of discrete ones with; by default those that its arguments say.
        presets: table of presets that suits the prior, for its card, see src/basis/assets/presets.
    """

    prior: str
    arguments: dict
    data: str
    steps: Count
    batch: Count = 128
    learning_rate: Positive = 5e-3
    warmup: Count = 500
    decay: Share = 0.4
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.99
    ema: NonNegative = 50_000
    clip: Above0 = 10.0
    unit_weights: bool = False
    objective: str = "denoising"
    anneal_power: Finite = 2.0
    dequantize: bool = False
    flip: bool = False
    known: Share = 0.0
    labels: NonNegative = 0.0
    shift: Whole = 0
    precision: str = "no"
    stored: str = "fp32"
    compile: bool = False
    every: Count = 1_000
    calibrate: Whole = 50
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    noise: Noise = field(default_factory=Noise)
    levels: Levels | None = None
    presets: str | None = None
    finetune: Finetune | None = None


TABLES = {"noise": Noise, "levels": Levels, "finetune": Finetune}


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe; raises `DataError` for a file that is not one, `UsageError` for what it does not know."""
    if not Path(path).exists():
        raise UsageError(f"no recipe at {path}", fix="check the path, or give recipe:NAME (`basis list` has the names)")
    try:
        values = tomllib.loads(read_file(Path(path)).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"{path} is not TOML ({brief(error)})", fix=f"see {bundled_recipe('mnist')} for an example"
        ) from error
    fields = {entry.name: entry for entry in dataclasses.fields(Recipe)}
    kinds = {**get_type_hints(Recipe, include_extras=True), **dict.fromkeys(TABLES, dict)}
    for key, value in values.items():
        if key not in fields:
            raise unknown(f"entry in {path}:", key, fields)
        _check(path, key, value, kinds[key])
    needed = [name for name, entry in fields.items() if entry.default is entry.default_factory is dataclasses.MISSING]
    if absent := [name for name in needed if name not in values]:
        raise UsageError(f"{path} lacks {', '.join(absent)}", fix=f"see {bundled_recipe('mnist')} for an example")
    for name, cls in TABLES.items():
        if name in values:
            values[name] = _table(path, name, values[name], cls)
    return Recipe(**values)


def _table(path: str | Path, name: str, values: dict, cls: type):
    """Return the dataclass that a table of the recipe describes."""
    fields = get_type_hints(cls, include_extras=True)
    for key, value in values.items():
        if key not in fields:
            raise unknown(f"entry in {path}: {name}.", key, fields)
        _check(path, f"{name}.{key}", value, fields[key])
    try:
        return cls(**values)
    except TypeError as error:
        raise UsageError(
            f"{path}: the table [{name}] is not whole ({error})", fix=f"see {bundled_recipe('glow-mnist')}"
        ) from error


def _check(path: str | Path, key: str, value: object, kind: Any) -> None:
    if not takes(kind, value):
        raise UsageError(f"{path}: {key} takes {words(kind)}, got {value!r:.60}", fix=f"see {bundled_recipe('mnist')}")
    if key in CHOICES and value not in CHOICES[key]:
        raise unknown(f"{key} in {path}:", str(value), CHOICES[key])
