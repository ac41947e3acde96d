"""The command line `basis`: thin, it parses, calls the library and prints.

What is imported here is light. Commands import torch, and what needs it, when they run: help, the version and the
completions of a shell are there at once.
"""

from __future__ import annotations

import platform
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from basis.cli import (
    calibrate,
    colorize,
    compare,
    convert,
    count,
    data,
    demo,
    describe,
    fit,
    generate,
    reproduce,
    separate,
    train,
)
from basis.cli.common import QuietOption, VerboseOption, common, set_level
from basis.cli.voice import VOICE, Stopped, complain, detail, remark
from basis.core.errors import (
    BasisError,
    DataError,
    DataWarning,
    UncertainWarning,
    UnlikelyMixtureWarning,
    UsageError,
)
from basis.io.durable import SIGNALS

OURS = (DataWarning, UncertainWarning, UnlikelyMixtureWarning)
PACKAGES = {"basis": "basis-separation", "torch": "torch", "numpy": "numpy"}
INTERRUPTED = 130  # how typer ends after a KeyboardInterrupt

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would take as long to import as all else
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"basis {version(PACKAGES['basis'])}")
        raise typer.Exit


@app.callback()
def _basis(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Separate mixtures into their sources with deep generative priors."""
    set_level(quiet, verbose)


app.command()(common(separate.separate))
app.command()(common(count.count))
app.command()(common(colorize.colorize))
app.command()(common(generate.generate))
app.command()(common(demo.demo))
app.command()(common(train.train))
app.command()(common(train.finetune))
app.command()(common(train.combine))
app.command()(common(fit.fit))
app.command()(common(calibrate.calibrate))
app.command("import")(common(convert.convert))
app.command("list")(common(describe.list_choices))
app.command()(common(describe.info))
app.command()(common(data.make_mixtures))
app.command()(common(data.evaluate))
app.command()(common(reproduce.reproduce))
app.command()(common(compare.compare))


def main() -> None:
    """Run the command line.

    Exits with 0, 1 (something failed, the rest is done), 2 (usage), or 128 and the number of the signal that stopped
    it: 130 for Ctrl-C, 143 for SIGTERM.
    """
    with _signals() as caught, warnings.catch_warnings():
        _say_warnings()
        VOICE.reset()
        start = time.monotonic()
        try:
            if "" in sys.argv[1:]:
                raise UsageError("an argument is empty", fix="leave it out, or look at where its value comes from")
            code = app(standalone_mode=False) or 0
        except UsageError as error:
            complain(error)
            sys.exit(2)
        except BasisError as error:
            complain(error)
            sys.exit(1)
        except OSError as error:
            complain(DataError(str(error), fix="look at the path, its rights and the room on the disk"))
            sys.exit(1)
        except Stopped as stop:
            complain(stop)
            sys.exit(128 + (caught or [signal.SIGINT])[0])
        except Exception as error:
            if not caught:
                _refuse(error)
            code = INTERRUPTED  # what was being imported turned the signal into an error of its own
        if code == INTERRUPTED:
            complain("stopped; what was finished before is whole")
            code = 128 + (caught or [signal.SIGINT])[0]
        detail(f"{time.monotonic() - start:.1f} s; {_versions()}")
        sys.exit(code)


def _versions() -> str:
    """Return the versions that a result depends on, without importing anything."""
    found = {name: version(package) for name, package in PACKAGES.items()}
    return ", ".join(f"{name} {number}" for name, number in {**found, "python": platform.python_version()}.items())


def _refuse(error: Exception) -> NoReturn:
    """Say in one line what the parser did not understand, and exit with 2; raise any other error again."""
    if not hasattr(error, "format_message"):  # the parser's have; their class changes with typer
        raise error
    if len(sys.argv) < 2:
        error.show()  # type: ignore[attr-defined]
        sys.exit(2)
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "basis"
    values = [repr(found["input"]) for found in getattr(error.__cause__, "errors", list)()]
    said = ", got ".join([error.format_message().strip().rstrip("."), *values])
    complain(UsageError(said, fix=f"see `{command} --help`"))
    sys.exit(2)


def _say_warnings() -> None:
    """Print each warning as one line; those of other libraries begin with their class."""

    def say(message: Warning | str, category: type[Warning], *where: Any) -> None:
        remark(message if issubclass(category, OURS) else f"{category.__name__}: {' '.join(str(message).split())}")

    for ours in OURS:
        warnings.simplefilter("always", ours)
    warnings.showwarning = say  # type: ignore[assignment]


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP stop a command as Ctrl-C does; give a list that the signals are added to."""
    caught: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    # those that are ignored stay so, as under nohup
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
