"""`import basis` and the first words of the command line are light: what is heavy is imported when it is used."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import basis

HEAVY = {"torch", "scipy", "numpy", "PIL", "safetensors", "tqdm", "matplotlib", "diffusers", "sklearn", "accelerate"}
COMMANDS = [
    "separate",
    "count",
    "colorize",
    "generate",
    "demo",
    "train",
    "finetune",
    "combine",
    "fit",
    "calibrate",
    "import",
    "list",
    "info",
    "make-mixtures",
    "evaluate",
    "reproduce",
    "compare",
]

REPORT = """
import atexit, sys
atexit.register(lambda: print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr))
"""


def imported(code, **environment):
    """Run code in a process of its own; return what it printed and the packages that it imported."""
    run = subprocess.run(
        [sys.executable, "-c", REPORT + code], capture_output=True, text=True, env=os.environ | environment, check=False
    )
    return run.stdout, set(run.stderr.splitlines()[-1].split())


def called(*arguments, **environment):
    return imported(f"sys.argv = {['basis', *arguments]}; from basis.__main__ import main; main()", **environment)


def test_import_is_light():
    _, modules = imported("import basis; dir(basis); basis.__version__")
    assert "basis" in modules
    assert not modules & (HEAVY | {"typer"})


@pytest.mark.parametrize("arguments", [(), ("--help",), ("--version",)])
def test_the_first_words_of_the_command_line_are_light(arguments):
    out, modules = called(*arguments)
    assert "basis" in out or not arguments
    assert "typer" in modules
    assert not modules & HEAVY


def test_help_of_every_command_is_light():
    """All in one process: what one of them imports stays imported."""
    code = f"""
import contextlib
from basis.cli import main
for command in {COMMANDS}:
    sys.argv = ["basis", command, "--help"]
    with contextlib.suppress(SystemExit):
        main()
"""
    out, modules = imported(code)
    assert all(f"basis {command} [OPTIONS]" in out for command in COMMANDS)
    assert not modules & HEAVY


def test_the_shell_completes_commands_and_options_without_what_is_heavy():
    words = {"_BASIS_COMPLETE": "complete_bash", "COMP_WORDS": "basis sep", "COMP_CWORD": "1"}
    out, modules = called(**words)
    assert out.split() == ["separate"]
    assert not modules & HEAVY
    words |= {"COMP_WORDS": "basis separate --ov", "COMP_CWORD": "2"}
    assert called(**words)[0].split() == ["--overwrite"]


def test_version():
    assert called("--version")[0] == f"basis {basis.__version__}\n"


@pytest.mark.parametrize("name", basis.__all__)
def test_public_names_are_there(name):
    assert getattr(basis, name).__name__ == name
    assert name in dir(basis)


def test_unknown_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'sperate'"):
        basis.sperate  # noqa: B018


def test_type_checkers_see_what_python_finds():
    """The imports for type checkers and the table for Python say the same, and both say `__all__`."""
    tree = ast.parse(Path(basis.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    shown = {entry.name: node.module for node in block.body for entry in node.names}
    assert shown == basis._MODULES
    assert sorted(shown) == sorted([*basis.__all__, "VERSION"])


def test_ctrl_c_while_the_command_line_is_imported_leaves_no_traceback():
    code = """
import signal, sys
class Stops:
    def find_spec(self, name, *_):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Stops())
from basis.__main__ import main
main()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (128 + signal.SIGINT, "")


def test_ctrl_c_while_a_command_imports_torch_leaves_no_traceback():
    code = """
import signal, sys
class Stops:
    def find_spec(self, name, *_):
        if name == "torch":
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as stop:
                raise SystemError("initialization failed") from stop  # as extension modules do
sys.meta_path.insert(0, Stops())
sys.argv = ["basis", "list"]
from basis.__main__ import main
main()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (130, "basis: stopped; what was finished before is whole\n")
