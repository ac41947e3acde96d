"""Bad values of options, for every command."""

from __future__ import annotations

import json
from pathlib import Path

from bad_input.case import Case

COMMANDS = {
    "separate": ["separate", "{base}/good.npy", "--prior", "{base}/tiny", "--method", "fast", "--out", "out"],
    "count": ["count", "{base}/good.npy", "--prior", "{base}/tiny", "--most", "2", "--method", "fast"],
    "colorize": ["colorize", "{base}/good.png", "--prior", "{base}/rgb", "--method", "fast", "--out", "out"],
    "generate": ["generate", "{base}/tiny", "--n", "1", "--out", "samples.png"],
    "demo": ["demo", "--out", "demo", "--prior", "mnist"],
    "train": ["train", "{base}/recipe.toml", "--out", "run"],
    "finetune": ["finetune", "{base}/finetune.toml", "--out", "run"],
    "combine": ["combine", "{base}/tiny", "{base}/tiny", "--borders", "0.3", "--out", "two"],
    "fit": ["fit", "nmf", "--data", "digits", "--set", "components=2", "--set", "iterations=1", "--out", "fit"],
    "import": ["import", "ncsn", "{base}/ncsn.pth", "imported"],
    "list": ["list"],
    "info": ["info", "{base}/tiny"],
    "make-mixtures": ["make-mixtures", "digits", "--n", "2", "--out", "mixtures"],
    "evaluate": ["evaluate", "{base}/mixtures", "--n", "2", "--method", "average", "--prior", "{base}/tiny"],
    "reproduce": ["reproduce", "figure6", "--n", "1", "--out", "reproduction", "--plan"],
    "compare": ["compare", "{base}/a.json", "{base}/a.json"],
}
SEEDS = ("-1", "1.5", "x", "", "nan", "²", "1e3")
COUNTS = ("0", "-1", "1.5", "x", "", "1" + "0" * 30)
WORDS = ("", "no such thing", "\udcff", "a\nb")
MANY = "1000000000"
BAD = {  # option: commands that have it, values
    "--seed": (
        (
            "separate",
            "count",
            "colorize",
            "generate",
            "demo",
            "fit",
            "make-mixtures",
            "evaluate",
            "reproduce",
            "compare",
        ),
        SEEDS,
    ),
    "--samples": (("separate", "colorize", "evaluate"), (*COUNTS, MANY)),
    "--steps": (("separate", "colorize", "evaluate"), COUNTS),
    "--levels": (("separate", "colorize"), COUNTS),
    "--budget": (("separate", "colorize", "evaluate"), COUNTS),
    "--sources": (("separate", "make-mixtures", "fit"), (*COUNTS, "1000000", "2000000000")),
    "--most": (("count",), (*COUNTS, MANY)),
    "--n": (("generate", "make-mixtures", "reproduce"), (*COUNTS, MANY)),
    "--batch-size": (("evaluate", "reproduce"), COUNTS[:-1]),
    "--workers": (("reproduce",), COUNTS[:-1]),
    "--weights": (
        ("separate", "make-mixtures"),
        ("nan,1", "inf,1", "0,0", "", ",", "1,", "1;2", "a,b", "1e400,1", "1 2", "[1,2]", "½,½", "1,2,\udcff"),
    ),
    "--device": (
        ("separate", "count", "generate", "fit", "evaluate", "reproduce"),
        ("tpu", "cuda:99", "", "meta", "cpu:x", "\udcff", "mps"),
    ),
    "--precision": (("separate", "generate", "evaluate", "reproduce"), ("bf8", "", "BF 16", "32")),
    "--prior": (
        ("separate", "count", "colorize", "demo", "evaluate"),
        (
            *WORDS,
            ",",
            "{base}/good.npy",
            "{base}/recipe.toml",
            "{base}",
            "/dev/null",
            "/dev/zero",
            "{base}/tiny,",
            "hub:",
            "hub:a b",
            "gaussian",
        ),
    ),
    "--method": (
        ("separate", "count", "evaluate"),
        (*WORDS, "{base}/tiny", "{base}/good.npy", "{base}", "nmf", "/dev/null"),
    ),
    "--set": (
        ("separate", "count", "evaluate", "fit"),
        (
            "x",
            "=1",
            "nope=1",
            "steps=",
            "steps=0",
            "steps=-1",
            "steps=1.5",
            "steps=true",
            "steps=[1]",
            "steps={}",
            "seed=-1",
            "samples=2",
            "\udcff=1",
        ),
    ),
    "--luma": (("colorize",), ("", "rec", "1,2,3", "0.5,0.5", "nan,0,1", "-1,1,1", "1,0,0,0")),
    "--data": (("fit",), (*WORDS, "mnist:", "digits:x=1", "folder", "folder:", "folder:/dev/null", "digits & ")),
    "--task": (("fit", "make-mixtures"), ("", "both", "AGNOSTIC ")),
    "--split": (("make-mixtures",), ("", "tset", "all")),
    "--borders": (("combine",), ("", "x", "0", "-1", "nan", "inf", "0.3,0.2", "0.2,0.3", "0.3,")),
    "--from": (("train",), (*WORDS, "{base}/rgb", "{base}/flow", "{base}/good.npy")),
    "--features": (("reproduce",), (*WORDS, "{base}/good.npy", "/dev/null")),
    "--only": (("reproduce",), ("no such row",)),
    "--no-such-option": (tuple(COMMANDS), ("1",)),
}
OUTS = ("", "{base}/good.npy", "/dev/null", "/dev/null/x", "/proc/x/y", "a" * 300, "{base}/good.npy/x")
OUT = dict.fromkeys(
    ("separate", "colorize", "generate", "demo", "train", "combine", "fit", "make-mixtures", "reproduce"), "--out"
)
ODD = {  # odd rather than wrong
    ("--prior", "gaussian"),
    ("--method", "nmf"),
    ("--workers", "x"),
    ("fit", "--sources"),
    ("--budget", "1" + "0" * 30),
    ("--only", "no such row"),
}
POSITIONAL = {  # command: what stands in place of its first argument
    "generate": (*WORDS, "{base}", "{base}/good.npy", "/dev/null"),
    "train": (*WORDS, "{base}", "{base}/good.npy", "/dev/null", "/dev/zero", "recipe:nope"),
    "finetune": ("", "{base}/recipe.toml", "{base}/good.npy", "recipe:nope"),
    "combine": ("", "{base}/rgb", "{base}/flow", "{base}/levels", "{base}/gaussian", "{base}/good.npy"),
    "fit": (*WORDS, "average", "{base}/nmf", "fast", "basis"),
    "import": (*WORDS, "pytorch"),
    "info": (*WORDS, "{base}", "{base}/good.npy", "{base}/mixtures", "/dev/null", "/dev/zero", "hub:", "/"),
    "make-mixtures": (
        *WORDS,
        "mnist:x=1",
        "folder",
        "folder:",
        "folder:nowhere",
        "folder:{base}",
        "folder:{base},size=0",
        "folder:{base},size=x",
        "folder:{base},size=-3",
        "folder:{base},size=1e9",
        "folder:{base},channels=2",
        "folder:{base},crops=0",
        "folder:{base},size=true",
        "lsun",
        "lsun:x",
        "lsun:../..",
        "cifar10:dogs",
        "cifar10:size=0",
        "digits & ",
        " & digits",
        "digits & folder:{base}",
        "digits:size=3",
    ),
    "evaluate": (*WORDS, "{base}", "{base}/good.npy", "{base}/tiny", "/dev/null"),
    "reproduce": (*WORDS, "table9", "figure0", "alll"),
    "compare": (*WORDS, "{base}", "{base}/good.npy", "{base}/recipe.toml", "/dev/null", "/dev/zero"),
    "list": ("surplus",),
    "demo": ("surplus",),
}
ROWS = ("x", "x=", "=x", "Mine=nope", "Mine=bad.py", "Mine=empty.py", "Mine=exits.py", "Mine={base}/tiny")


def replaced(command: str, option: str, value: str) -> list[str]:
    """Return a good command with another value of an option."""
    arguments = list(COMMANDS[command])
    if option == "--out" and "--plan" in arguments:  # which writes nothing
        arguments.remove("--plan")
    if option == "--budget" and "--method" in arguments:
        place = arguments.index("--method")
        del arguments[place : place + 2]
    if option in arguments and option != "--set":
        arguments[arguments.index(option) + 1] = value
        return arguments
    return [*arguments, option, value]


def static():
    for option, (commands, values) in BAD.items():
        for command in commands:
            for value in values:
                harmless = (option, value) in ODD or ((command, option) in ODD and value not in COUNTS)
                yield Case(f"{command} {option} {shown(value)}", replaced(command, option, value), harmless=harmless)
    for command, option in OUT.items():
        for value in OUTS:
            if command == "generate" and value and not value.startswith("{"):
                value = f"{value}/a.png"
            yield Case(f"{command} {option} {shown(value)}", replaced(command, option, value))
    for command, values in POSITIONAL.items():
        for value in values:
            arguments = [command, value, *COMMANDS[command][2:]]
            yield Case(f"{command} {shown(value)}", arguments)
    yield Case("evaluate --json a folder", [*COMMANDS["evaluate"], "--json", "{base}"])
    yield Case("evaluate --json nowhere", [*COMMANDS["evaluate"], "--json", "nowhere/x/a.json"], harmless=True)
    for row in ROWS:
        yield Case(
            f"reproduce --method {row}",
            ["reproduce", "table2", "--n", "1", "--method", row, "--out", "r", "--only", "Mine"],
            rows,
        )
        yield Case(f"reproduce --prior {row}", [*COMMANDS["reproduce"], "--prior", row])
    for name in ("nope", "--help-me", "separate.", ""):
        yield Case(f"command {name}", [name])
    for command in COMMANDS:
        if command not in ("list", "demo"):
            yield Case(f"{command} without arguments", [command])


def rows(folder: Path) -> None:
    (folder / "bad.py").write_text("this is no python")
    (folder / "empty.py").write_text("")
    (folder / "exits.py").write_text("raise ValueError('on import')")


def shown(value: str) -> str:
    return ascii(value)[1:-1][:60]


def setting(command: str, name: str, value: object) -> Case:
    """Return a setting with a value of no type that it takes."""
    return Case(f"{command} --set {name}={value}", replaced(command, "--set", f"{name}={json.dumps(value)}"))
