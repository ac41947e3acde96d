"""Outputs: whole or not at all, marked as ours, and nobody else's file touched."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

import basis
from basis.io.claim import LOCK, claim, whole
from basis.io.durable import unbroken, write_atomically
from basis.io.mark import MARK, read_mark
from basis.io.output import NEW, READY, needed, replacing, settle

REQUEST = {"seed": 0, "weights": [1.0, 1.0]}


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def theirs(folder):
    """Return all files but the mark."""
    return {name: text for name, text in content(folder).items() if name != MARK}


def put(folder, files, request=REQUEST, **options):
    with replacing(folder, "test", request, **options) as new:
        for name, text in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(text)


# Results


def test_a_result_takes_the_place_of_the_old_and_leaves_what_is_not_ours(tmp_path):
    folder = tmp_path / "deep" / "x"
    put(folder, {"a": b"old", "b": b"old", "sub/c": b"old", "both/d": b"old"})
    (folder / "thesis.tex").write_text("precious")
    (folder / "both" / "notes").write_text("precious")
    put(folder, {"a": b"new", "new/e": b"new"})
    assert theirs(folder) == {
        "a": b"new", "new/e": b"new", "thesis.tex": b"precious", "both/notes": b"precious",
    }  # fmt: skip
    assert not (folder / "sub").exists()
    assert sorted(read_mark(folder).files) == ["a", "new/e"]


def test_keep_leaves_files_that_the_new_result_lacks_on_the_list(tmp_path):
    put(tmp_path, {"weights": b"1", "log": b"1"})
    put(tmp_path, {"weights": b"2"}, keep=True)
    assert theirs(tmp_path) == {"weights": b"2", "log": b"1"}
    put(tmp_path, {"weights": b"3"})
    assert theirs(tmp_path) == {"weights": b"3"}


@pytest.mark.parametrize("name", ["a", "sub/a", "a/sub"])
def test_a_file_that_is_not_ours_is_never_overwritten(tmp_path, name):
    put(tmp_path, {"z": b"old"})
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("precious")
    if name == "sub/a":
        (tmp_path / "sub" / "a").rename(tmp_path / "moved")
        (tmp_path / "sub").rmdir()
        (tmp_path / "moved").rename(tmp_path / "sub")  # a file where a folder is wanted
    before = content(tmp_path)
    with pytest.raises(basis.DataError, match=r"is in the way, and basis did not write it\. To fix: "):
        put(tmp_path, {"z": b"new", "a" if name == "a/sub" else name: b"new"})
    assert content(tmp_path) == before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("bug"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [True, False])
def test_an_error_while_writing_changes_nothing(tmp_path, error, old):
    if old:
        put(tmp_path / "x", {"a": b"old"})
    before = content(tmp_path)
    kind = basis.DataError if isinstance(error, OSError) else type(error)
    with pytest.raises(kind), replacing(tmp_path / "x", "test", {}) as new:  # noqa: PT012
        (new / "half").touch()
        raise error
    assert content(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["x"] if old else [])


def test_needed(tmp_path):
    folder = tmp_path / "x"
    assert needed(folder, "test", REQUEST)
    put(folder, {"a": b"1"})
    other = {**REQUEST, "seed": 1}
    with pytest.raises(basis.UsageError, match=r"is there already\. To fix: pass --overwrite .* --resume"):
        needed(folder, "test", REQUEST)
    assert not needed(folder, "test", {"seed": 0, "weights": (1.0, 1.0)}, resume=True)  # tuples are JSON's lists
    with pytest.raises(basis.UsageError, match=r"made with seed 0, not 1\. To fix: pass --overwrite as well"):
        needed(folder, "test", other, resume=True)
    assert needed(folder, "test", other, overwrite=True)
    assert needed(folder, "test", other, overwrite=True, resume=True)
    assert not needed(folder, "test", REQUEST, overwrite=True, resume=True)
    with pytest.raises(basis.UsageError, match="holds a test, not a prior"):
        needed(folder, "prior", REQUEST, overwrite=True)


def test_needed_where_files_are_missing_or_changed(tmp_path):
    put(tmp_path, {"a": b"1", "b": b"2"})
    (tmp_path / "b").unlink()
    assert needed(tmp_path, "test", REQUEST, resume=True)
    (tmp_path / "a").write_bytes(b"edited by hand")
    with pytest.raises(basis.UsageError, match=r"a was changed after basis wrote it\. To fix: move it away"):
        needed(tmp_path, "test", REQUEST, overwrite=True)


def test_needed_where_something_else_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for place in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(basis.UsageError, match=r"holds what basis did not write .*To fix: move it away"):
            needed(place, "test", REQUEST, overwrite=True, resume=True)


@pytest.mark.parametrize("name", ["../victim", "/etc/passwd", "a/../../victim"])
def test_a_mark_that_lists_files_outside_its_folder_is_refused(tmp_path, name):
    put(tmp_path / "x", {"a": b"1"})
    mark = json.loads((tmp_path / "x" / MARK).read_text())
    (tmp_path / "x" / MARK).write_text(json.dumps({**mark, "files": {name: "0" * 64}}))
    (tmp_path / "victim").write_text("precious")
    with pytest.raises(basis.DataError, match=r"is damaged \(it lists .*To fix: "):
        put(tmp_path / "x", {"b": b"2"})
    assert (tmp_path / "victim").exists()


def test_a_reader_finishes_what_a_killed_writer_had_decided(tmp_path):
    put(tmp_path, {"a": b"old", "b": b"old"})
    put(tmp_path / "other", {"a": b"new"})
    (tmp_path / "other").rename(tmp_path / READY)
    whole(tmp_path)
    assert theirs(tmp_path) == {"a": b"new"}


def test_settle_removes_what_was_not_decided(tmp_path):
    put(tmp_path, {"a": b"old"})
    (tmp_path / NEW).mkdir()
    (tmp_path / NEW / "a").write_text("half")
    settle(tmp_path)
    assert theirs(tmp_path) == {"a": b"old"}


# Claims

OTHER = """
import sys, time
from basis.io.claim import claim
with claim(sys.argv[1]):
    print("claimed", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_told_who_writes(tmp_path):
    with subprocess.Popen([sys.executable, "-c", OTHER, tmp_path / "x"], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "claimed\n"
        told = rf"x is being written by process {other.pid} on \S+ since \d{{4}}-.*To fix: wait for it"
        with pytest.raises(basis.UsageError, match=told), claim(tmp_path / "x"):
            pass
        other.kill()
    assert (tmp_path / "x" / LOCK).exists()
    with claim(tmp_path / "x"):  # a lock whose owner is dead holds nobody back
        assert json.loads((tmp_path / "x" / LOCK).read_text())["pid"] == os.getpid()
    assert list((tmp_path / "x").iterdir()) == []


def test_a_claim_removes_what_killed_processes_left(tmp_path):
    put(tmp_path / "x", {"a": b"old"})
    (tmp_path / "x" / NEW).mkdir()
    (tmp_path / "y" / NEW).mkdir(parents=True)
    (tmp_path / ".basis-out.json-abc.tmp").touch()
    with claim(tmp_path / "out.json", file=True):
        assert not (tmp_path / ".basis-out.json-abc.tmp").exists()
    (tmp_path / ".basis-out.json-abc.tmp").touch()
    with claim(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == [MARK, "a", "x"]


def test_a_claim_leaves_what_others_have_claimed(tmp_path):
    """A training in a folder of the folder, and a file beside it."""
    half = tmp_path / ".basis-figures.json-abc.tmp"
    with claim(tmp_path / "x"), claim(tmp_path / "figures.json", file=True):
        half.touch()
        with replacing(tmp_path / "x", "test", {}) as new:
            (new / "a").write_bytes(b"1")
            with claim(tmp_path), claim(tmp_path / "other.json", file=True):
                assert half.exists()
        half.unlink()
    assert theirs(tmp_path / "x") == {"a": b"1"}


# Files and signals


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def half(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, half)
    assert content(tmp_path) == {"a": b"old"}
    write_atomically(path, lambda file: file.write(b"new"))
    assert content(tmp_path) == {"a": b"new"}


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_signals_wait_for_the_end_of_what_must_not_be_broken():
    done, before = [], signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), unbroken():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append(True)
    assert done == [True]
    assert signal.getsignal(signal.SIGINT) is before
    thread = threading.Thread(target=lambda: [done.append(True) for _ in [0] if unbroken().__enter__() is None])
    thread.start()
    thread.join()
    assert done == [True, True]
