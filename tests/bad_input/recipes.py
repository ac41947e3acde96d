"""Bad recipes, for `basis train` and `basis finetune`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bad_input import goods
from bad_input.case import Case

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


def static():
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
