"""The folder of a reproduction: nothing of the user's is touched, and one process writes at a time."""

import pytest

import basis
from basis.io.output import MARK
from basis.paper.run import reproduce
from basis.paper.setup import Setup
from paper.shared import finish


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(folder, tiny, **settings):
    return finish(reproduce([tiny], Setup(n=2, **settings), folder))


def test_a_folder_of_something_else(tiny, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("precious")
    with pytest.raises(basis.UsageError, match=r"holds what basis did not write \(report\.html\)"):
        run(tmp_path / "out", tiny)
    assert content(tmp_path / "out") == {"report.html": b"precious"}


def test_files_of_the_user_stay(tiny, tmp_path):
    run(tmp_path / "out", tiny)
    for name in ("notes.txt", "figures/mine.png", "parts/notes.txt"):
        (tmp_path / "out" / name).write_text("precious")
    before = content(tmp_path / "out")
    run(tmp_path / "out", tiny, seed=1)
    after = content(tmp_path / "out")
    assert all(after[name] == b"precious" for name in ("notes.txt", "figures/mine.png", "parts/notes.txt"))
    assert before.keys() < after.keys()
    assert after["report.html"] != before["report.html"]


def test_a_report_that_was_edited_stays(tiny, tmp_path):
    run(tmp_path / "out", tiny)
    (tmp_path / "out" / "report.html").write_text("with my notes")
    before = content(tmp_path / "out")
    with pytest.raises(basis.UsageError, match=r"report\.html was changed after basis wrote it"):
        run(tmp_path / "out", tiny)
    assert content(tmp_path / "out") == before


def test_a_second_process_is_told_of_the_first(tiny, tmp_path):
    first = reproduce([tiny], Setup(n=2), tmp_path / "out")
    next(first)
    with pytest.raises(basis.UsageError, match=r"is being written by process \d+ on "):
        run(tmp_path / "out", tiny)
    finish(first)
    assert MARK in content(tmp_path / "out")


def test_half_files_of_workers_that_were_killed_are_removed(tiny, tmp_path):
    run(tmp_path / "out", tiny)
    (place,) = (path for path in (tmp_path / "out" / "parts").iterdir() if path.name.startswith("average"))
    (place / ".basis-00000-00001.npz-x.tmp").write_bytes(b"half")
    before = content(tmp_path / "out").keys()
    run(tmp_path / "out", tiny)
    assert before - content(tmp_path / "out").keys() == {f"parts/{place.name}/.basis-00000-00001.npz-x.tmp"}


def test_a_damaged_figure_of_the_store_is_named(tmp_path):
    from basis.paper.store import Store

    store = Store(tmp_path, Setup())
    store.keep({"figure": "answer"}, 42)
    (path,) = (tmp_path / "values").iterdir()
    path.write_text("{")
    with pytest.raises(basis.DataError, match=rf"{path.name} cannot be read .*delete it and run again"):
        store.recall({"figure": "answer"})
