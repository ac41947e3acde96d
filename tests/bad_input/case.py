"""What a bad input is, and what is expected of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MEMORY = 2 * 2**30  # bytes that a case may take beyond what the warm process has
SECONDS = 20  # of a core
LINES = 3  # of a message
LONGEST = 700  # characters of a line


class Outcome(NamedTuple):
    """How a run ended: exit code (minus the signal's number where one ended it), output, bytes taken, files left."""

    code: int
    out: str
    err: str
    memory: int
    left: list[str]


@dataclass(frozen=True)
class Case:
    """One bad input.

    Args:
        name: unique.
        run: arguments of `basis`, or a function that uses the Python interface. In arguments, ``{base}`` stands for the
            folder of what is good.
        make: called with the working folder, writes the bad files there.
        harmless: whether the input is odd rather than wrong: it may succeed, but not crash, hang or take the memory.
    """

    name: str
    run: Sequence[str] | Callable[[], object]
    make: Callable[[Path], object] | None = None
    harmless: bool = False


def faults(case: Case, outcome: Outcome) -> list[str]:
    """Return what is wrong with how a case ended, in words; nothing where it was refused as it should be."""
    found = []
    lines = [line for line in outcome.err.splitlines() if line.strip() and not line.startswith("Downloading file")]
    if "Traceback" in outcome.err or outcome.code not in (0, 1, 2):
        found.append(f"ended with code {outcome.code}")
    elif outcome.code == 0 and not case.harmless:
        found.append("was accepted")
    elif outcome.code:
        if not lines or not lines[0].startswith("basis: "):
            found.append("has no line that begins with 'basis: '")
        if len(lines) > LINES or any(len(line) > LONGEST for line in lines):
            found.append(f"has a message of {len(lines)} lines, {max(map(len, lines), default=0)} characters wide")
        if "To fix: " not in outcome.err:
            found.append("does not say what to do")
        if outcome.left and not case.harmless:
            found.append(f"left {', '.join(outcome.left[:5])}")
    if outcome.memory > MEMORY:
        found.append(f"took {outcome.memory / 2**30:.1f} GiB")
    return found
