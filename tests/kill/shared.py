"""What kill tests check: the user's files stay, and a rerun gives the bytes of an unbroken run."""

import io
import pickle
import re
import shutil
import signal
import zipfile

import numpy as np
import torch

# What differs between equal runs, and in a mark the hashes of files that hold such a thing.
VOLATILE = re.compile(rb'"(seconds[^"]*|hours|command)": [^\n]*|<dt>(seconds[^<]*|command)</dt><dd>.*?</dd>')
LISTED = re.compile(rb'"[^"]*\.(json|html|pt)": "[0-9a-f]{64}"')
LOG = "events.out.tfevents"  # files of TensorBoard, one a process, with the time in them


def content(folder):
    """Return the files and folders in a folder, hidden ones too, without what differs between equal runs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if LOG in name:
            found[name.partition(LOG)[0] + LOG] = b"log"
        else:
            found[name] = lasting(path) if path.is_file() else b"folder"
    return found


def lasting(path):
    """Return what of a file is the same for equal runs."""
    text = path.read_bytes()
    try:
        if path.suffix == ".pt":
            text = flat(torch.load(io.BytesIO(text), weights_only=True))
        elif path.suffix == ".npz":
            with np.load(io.BytesIO(text)) as arrays:
                text = flat({name: arrays[name] for name in arrays.files})
    except (ValueError, RuntimeError, EOFError, OSError, zipfile.BadZipFile, pickle.UnpicklingError):
        return text  # half a file
    return LISTED.sub(b"", VOLATILE.sub(b"", text)) if path.suffix in (".json", ".html") else text


def flat(value):
    """Return the content of nested dictionaries of arrays as bytes, without times."""
    if isinstance(value, dict):
        return b"".join(
            repr(key).encode() + flat(entry) for key, entry in value.items() if key not in ("seconds", "hours")
        )
    if isinstance(value, torch.Tensor | np.ndarray):
        return np.asarray(value).tobytes()
    return repr(value).encode()


def sweep(warm, folder, prepare, command, again, *, points=None, send=signal.SIGKILL, check=lambda folder: None):
    """Stop a command at its points, one run for each, and check what is left and that a rerun completes.

    Args:
        warm: a `driver.Warm`.
        folder: an empty folder to work in, the same for each run.
        prepare: called with it, makes what is there before the command; what of that the command does not replace has
            to be there after it.
        command: the arguments of the command.
        again: those of the rerun.
        points: how many points to take, spread evenly; all of them by default.
        send: the signal.
        check: called with the folder after the signal, may look at what is left.

    Returns:
        The number of points that there were.
    """

    def begin():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        prepare(folder)
        return content(folder)

    before = begin()
    whole = warm.run(command, folder)
    assert whole.code == 0, whole
    expected, total = content(folder), len(whole.points)
    theirs = [name for name, text in before.items() if expected.get(name) == text]
    step = max(total // points, 1) if points else 1
    for point in range(1, total + 1, step):
        begin()
        stopped = warm.run(command, folder, point, send)
        where = f"point {point} of {total}, {stopped.points[-1:]}"
        left = content(folder)
        assert [name for name in theirs if left.get(name) != before[name]] == [], where
        check(folder)
        if send == signal.SIGKILL:
            assert stopped.code == -send, (where, stopped)
        else:  # a signal that can be held back or come too late
            assert stopped.code in (0, 128 + send), (where, stopped)
            assert stopped.err.count("basis: stopped") == (stopped.code != 0), (where, stopped)
            assert "Traceback" not in stopped.err, (where, stopped)
            temporary = [name for name in left if "/.basis-" in f"/{name}" or name.endswith(".lock")]
            assert temporary == [], where
        rerun = warm.run(again, folder)
        assert rerun.code == 0, (where, rerun)
        found = content(folder)
        assert found.keys() == expected.keys(), where
        changed = {name: (found[name], expected[name]) for name in found if found[name] != expected[name]}
        assert not changed, (where, changed)
    return total
