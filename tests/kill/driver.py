"""Runs `basis` in child processes that end before or after their n-th change of the file system.

No code of the product knows of this. A warm process (`python driver.py MODULE…`) imports the product once and forks a
child for each run. In the child, what changes the file system is wrapped and counted: each call is two points, one
before and one after it. A file that has just been opened for writing is left with half a content. `Warm.run` tells at
which point the child gets which signal.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import functools
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

CALLS = (
    "replace",
    "rename",
    "link",
    "symlink",
    "unlink",
    "remove",
    "mkdir",
    "rmdir",
    "fsync",
    "sync",
    "chmod",
    "truncate",
)
WRITING = os.O_WRONLY | os.O_RDWR
PR_SET_CHILD_SUBREAPER = 36  # Linux: this process becomes the parent of the children that its children leave
HALF = b"half a file"
LOG = "events.out.tfevents"
PATIENCE = 2.0  # seconds in which the children of a killed process have to end


class Outcome(NamedTuple):
    """How a run ended: the exit code (minus the signal's number where one ended it), what it printed, its points."""

    code: int
    out: str
    err: str
    points: list[str]


class Warm:
    """A process that has imported the product, from which runs are forked; use it as a context."""

    def __init__(self, *modules: str) -> None:
        self.command = [sys.executable, __file__, *(modules or ("basis.cli.inputs",))]

    def __enter__(self) -> Warm:
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait()

    def run(self, arguments, cwd: Path, point: int | None = None, send: int = signal.SIGKILL) -> Outcome:
        """Run `basis` with arguments in a folder; at a point, counted from 1, it gets a signal. Fails for orphans."""
        request = {"arguments": [str(each) for each in arguments], "cwd": str(cwd), "point": point, "send": int(send)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert not answer["orphans"], f"children lived on: {answer}"
        return Outcome(answer["code"], answer["out"], answer["err"], answer["points"])


def watch(root: str, log: int, point: int | None, send: int) -> None:
    """Count the calls that change files below a folder, and send this process a signal at a point."""
    count, write, kill, busy = [0], os.write, os.kill, [False]

    def pass_point(name: str, path: object, after=lambda: None) -> None:
        count[0] += 1
        write(log, f"{name} {path}\n".encode())
        if count[0] == point:
            after()
            kill(os.getpid(), send)

    def inside(path: object, dir_fd: object = None) -> bool:
        with contextlib.suppress(TypeError, OSError):
            folder = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
            name = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fsdecode(path)
            place = os.path.abspath(os.path.join(folder, name))
            return place.startswith(root) and LOG not in place  # a thread of TensorBoard's writes its log at any time
        return False

    def wrap(module, name: str, changes) -> None:
        original = getattr(module, name)

        def wrapped(*arguments, **options):
            where = arguments[0] if arguments else root
            if busy[0] or not (changes(*arguments, **options) and inside(where, options.get("dir_fd"))):
                return original(*arguments, **options)
            pass_point(f"before {name}", where)
            busy[0] = True
            try:
                result = original(*arguments, **options)
            finally:
                busy[0] = False
            number = result if isinstance(result, int) else result.fileno() if hasattr(result, "fileno") else None
            torn = (lambda: write(number, HALF)) if "open" in name and send == signal.SIGKILL else (lambda: None)
            pass_point(f"after {name}", where, torn)
            return result

        setattr(module, name, wrapped)

    for name in CALLS:
        wrap(os, name, lambda *_, **__: True)
    wrap(os, "open", lambda path, flags, *_, **__: flags & WRITING)

    def for_writing(file, mode="r", *_, **__):
        return not isinstance(file, int) and set(mode) & set("wax+")

    for module in (io, builtins):
        wrap(module, "open", for_writing)


def child(request: dict, files: dict[str, int]) -> None:
    """Be one run; never returns."""
    code = 70
    try:
        os.setsid()
        os.dup2(files["out"], 1)
        os.dup2(files["err"], 2)
        os.chdir(request["cwd"])
        from basis.cli import main

        sys.argv = ["basis", *request["arguments"]]
        watch(os.getcwd() + os.sep, files["points"], request["point"], request["send"])
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def orphans(group: int) -> bool:
    """Whether descendants of a process that has ended are there after a while; they are killed then."""
    until = time.monotonic() + PATIENCE
    with contextlib.suppress(ChildProcessError):  # none is left
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        os.killpg(group, signal.SIGKILL)
        return True
    return False


def _warm_up() -> None:
    """Do once what would take each child half a second: late imports, and the search for other packages' choices."""
    from basis.cli import main
    from basis.core import registry

    registry.entry_points = functools.cache(registry.entry_points)
    sys.argv = ["basis", "list"]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.suppress(SystemExit):
        main()


def serve() -> None:
    """Fork a child for each request on standard input."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for name in sys.argv[1:]:
        importlib.import_module(name)
    _warm_up()
    for line in sys.stdin:
        files = {name: os.memfd_create(name) for name in ("out", "err", "points")}
        process = os.fork()
        if not process:
            child(json.loads(line), files)
        status = os.waitpid(process, 0)[1]
        answer = {"code": os.waitstatus_to_exitcode(status), "orphans": orphans(process)}
        for name, file in files.items():
            with os.fdopen(file, "rb") as opened:
                opened.seek(0)
                answer[name] = opened.read().decode(errors="replace")
        answer["points"] = answer["points"].splitlines()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
