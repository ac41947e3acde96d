"""Progress: a bar on a terminal, a line every few seconds elsewhere, nothing with --quiet."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from basis.cli.voice import QUIET, VOICE, remark


class Progress(Protocol):
    """What commands use of a bar."""

    n: float
    total: float | None

    def __enter__(self) -> Progress: ...
    def __exit__(self, *error: object) -> None: ...
    def update(self, n: float = 1) -> object: ...
    def reset(self, total: float | None = None) -> None: ...
    def set_description(self, desc: str) -> None: ...
    def set_postfix_str(self, s: str, refresh: bool = True) -> None: ...


def progress(desc: str = "", total: int | None = None, leave: bool = False, shown: bool = True) -> Progress:
    """Return a context that shows how far a work of ``total`` steps is, as `tqdm` does, or in lines."""
    if not sys.stderr.isatty():
        return Lines(desc, total)
    from tqdm import tqdm

    hidden = not shown or VOICE.level == QUIET
    return tqdm(desc=desc, total=total, unit="step", leave=leave, dynamic_ncols=True, smoothing=0.05, disable=hidden)


class Lines:
    """Lines on standard error in place of a bar.

    Attributes:
        every: seconds to the first line, and between two, at least.
    """

    every = 5.0

    def __init__(self, desc: str, total: float | None) -> None:
        self.desc, self.note = desc, ""
        self.reset(total)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def reset(self, total: float | None = None) -> None:
        self.n, self.total = 0.0, total
        self.start = self.said = time.monotonic()

    def set_description(self, desc: str) -> None:
        self.desc = desc

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        self.note = s

    def update(self, n: float = 1) -> None:
        """Count, and print a line where the last one is long enough ago."""
        self.n += n
        now = time.monotonic()
        if now - self.said < self.every or self.n <= 0:
            return
        self.said = now
        spent = now - self.start
        of = "" if not self.total else f" of {self.total:.0f}"
        left = "" if not self.total else f", {spent * max(self.total - self.n, 0) / self.n:.0f} s left"
        note = f", {self.note}" if self.note else ""
        remark(f"{self.desc}: step {self.n:.0f}{of}, {spent:.0f} s{left}{note}".removeprefix(": "))
