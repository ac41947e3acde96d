"""What a command says, and how loudly: errors always, reports and warnings unless --quiet, details with --verbose."""

from __future__ import annotations

import sys

import typer

QUIET, NORMAL, VERBOSE = 0, 1, 2


class Stopped(Exception):
    """The user or the system stopped a command; says what is finished and how to go on."""


class Voice:
    """How loud the running command is, and what it calls files that have no name of their own, by their paths."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.level, self.names = NORMAL, dict[str, str]()

    def words(self, message: object) -> str:
        """Return a message with each file called by its name."""
        text = str(message)
        for path, name in self.names.items():
            text = text.replace(path, name)
        return text


VOICE = Voice()


def complain(message: object) -> None:
    """Print an error, one line, to standard error."""
    print(f"basis: {VOICE.words(message)}", file=sys.stderr)


def remark(message: object) -> None:
    """Print a warning or a note, one line, to standard error, unless --quiet."""
    if VOICE.level > QUIET:
        complain(message)


def detail(message: object) -> None:
    """Print what only --verbose asks for, one line, to standard error."""
    if VOICE.level == VERBOSE:
        complain(message)


def tell(message: object) -> None:
    """Print what was done to standard output, unless --quiet. (A command's answer is printed by `typer.echo`.)"""
    if VOICE.level > QUIET:
        typer.echo(VOICE.words(message))
