"""A warm process that runs each bad input in a child of its own, with limits of time and memory.

`python worker.py FOLDER` imports the product, makes what is good in FOLDER and forks a child for each request on
standard input: a line of JSON, ``[maker, argument…]``, see `bad_input.cases.MAKERS`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bad_input.case import MEMORY, SECONDS, Case, Outcome, faults

NOWHERE = "http://127.0.0.1:9"  # in place of the internet
PATIENCE = 6 * SECONDS  # seconds of the clock after which a child that only waits is ended


class Warm:
    """The warm process, as a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Warm:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **dict.fromkeys(("http_proxy", "https_proxy"), NOWHERE)}
        environment.pop("BASIS_DATA", None)
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait()

    def names(self) -> list[str]:
        """Return the names of the cases that are written down."""
        return self._ask(["names"])

    def faults(self, maker: str, *arguments: object) -> list[str]:
        """Run the case that a maker makes of the arguments; return what is wrong with how it ended."""
        return self._ask([maker, *arguments])

    def _ask(self, request: list) -> list:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def child(case: Case, base: Path, out: int, err: int) -> None:
    """Be one run; never returns."""
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        signal.alarm(PATIENCE)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        code = command(case.run, base) if isinstance(case.run, list | tuple) else call(case.run)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def command(arguments: list[str], base: Path) -> int:
    """Return the exit code of `basis`."""
    from basis.cli import main

    sys.argv = ["basis", *(each.replace("{base}", str(base)) for each in arguments)]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0


def call(function) -> int:
    """Return 1 where a call fails as it should, 0 where it does not fail."""
    from basis import BasisError

    try:
        function()
    except BasisError as error:
        print(f"basis: {error}", file=sys.stderr)
        return 1
    return 0


def serve(base: Path) -> None:
    """Fork a child for each request."""
    from bad_input import cases, goods

    goods.make(base)
    cases.BASE.append(base)
    for line in sys.stdin:
        maker, *arguments = json.loads(line)
        if maker == "names":
            print(json.dumps(list(cases.static())), flush=True)
            continue
        case = cases.MAKERS[maker](*arguments)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryDirectory() as folder:
            outcome = run(case, base, Path(folder), out, err)
        said = " | ".join(outcome.err.splitlines()[-3:])[-300:]
        print(json.dumps([f"{case.name}: {fault} ({said})" for fault in faults(case, outcome)]), flush=True)


def run(case: Case, base: Path, folder: Path, out, err) -> Outcome:
    """Return the outcome of a case in an empty folder."""
    os.chdir(folder)
    if case.make:
        try:
            case.make(folder)
        except Exception:
            return Outcome(70, "", f"the input cannot be made: {traceback.format_exc()}", 0, [])
    before = content(folder)
    own = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    process = os.fork()
    if not process:
        os.setpgid(0, 0)
        child(case, base, out.fileno(), err.fileno())
    _, status, usage = os.wait4(process, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.chdir("/")
    texts = []
    for file in (out, err):
        file.seek(0)
        texts.append(file.read().decode(errors="replace"))
    code = os.waitstatus_to_exitcode(status)
    return Outcome(code, *texts, usage.ru_maxrss * 1024 - own, sorted(content(folder) - before))


def content(folder: Path) -> set[str]:
    """Return the files in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
