"""Paired differences: against the t interval, on the same mixtures alone, from the files that the commands write."""

import json

import numpy as np
import pytest
from scipy.stats import t

import basis
from basis.comparison import Measured, compare, compare_all, read

ABOUT = {"data": "mnist", "split": "test", "task": "agnostic", "sources": 2, "seed": 0}


def run(name, values, **about):
    return Measured(name, np.asarray(values, float), {**ABOUT, **about})


def test_the_interval_is_that_of_students_t_where_differences_are_normal():
    rng = np.random.default_rng(0)
    hard = rng.normal(25, 6, 400)
    one, two = hard + rng.normal(0, 0.5, 400), hard + 0.3 + rng.normal(0, 0.5, 400)
    found = compare(run("one", one), run("two", two))
    gain = two - one
    low, high = t.interval(0.95, 399, gain.mean(), gain.std(ddof=1) / 20)
    assert found.difference == pytest.approx(gain.mean())
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))
    assert found.low > 0  # though the mixtures differ by far more than the methods
    assert found.better == pytest.approx(np.mean(gain > 0))
    assert found.means == (pytest.approx(one.mean()), pytest.approx(two.mean()))
    again = compare(run("one", one), run("two", two))
    assert (again.low, again.high) == (found.low, found.high)
    assert compare(run("one", one), run("two", two), seed=1).low != found.low


def test_only_mixtures_that_both_have_count():
    found = compare(run("long", [1, 2, 3, 100, 100]), run("short", [2, 3, 5]))
    assert (found.n, found.means) == (3, (2.0, pytest.approx(10 / 3)))


def test_constant_differences_have_no_spread():
    found = compare(run("a", [20, 30, 25]), run("b", [21, 31, 26]))
    assert (found.low, found.difference, found.high) == (1, 1, 1)


@pytest.mark.parametrize(("key", "value"), [("seed", 1), ("task", "split"), ("split", "validation"), ("sources", 3)])
def test_other_mixtures_are_not_compared(key, value):
    with pytest.raises(basis.UsageError, match=f"different mixtures: {key}"):
        compare(run("a", [1, 2]), run("b", [1, 2], **{key: value}))


def test_images_decide_where_they_are_known():
    a, b = run("a", [1, 2, 3], index=[[0, 1], [2, 3], [4, 5]]), run("b", [1, 2], index=[[0, 1], [2, 3]])
    assert compare(a, b).n == 2
    with pytest.raises(basis.UsageError, match="different mixtures: other images"):
        compare(a, run("c", [1, 2], index=[[0, 1], [2, 4]]))


def test_runs_are_compared_within_their_mixtures():
    runs = [run("a", [1, 2]), run("s", [5, 6], task="split"), run("b", [2, 4]), run("z", [7, 9], task="split")]
    assert [(d.first, d.second) for d in compare_all(runs)] == [("a", "b"), ("s", "z")]
    with pytest.raises(basis.UsageError, match="no two of these are of the same mixtures"):
        compare_all(runs[:2])


@pytest.fixture
def evaluated(tmp_path):
    def write(name, psnr, seed=0, weights=(1.0, 1.0)):
        info = {**{k: v for k, v in ABOUT.items() if k != "sources"}, "seed": seed}
        info |= {"index": [[i, i + 1] for i in range(len(psnr))], "labels": []}
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps({"psnr": psnr, "weights": weights, "mixtures": info}))
        return file

    return write


def test_files_of_evaluate(evaluated):
    (found,) = read(evaluated("mine", [20.0, 21.0]))
    assert (found.name, found.values.tolist(), found.mixtures["sources"]) == ("mine", [20, 21], 2)
    (weighted,) = read(evaluated("weighted", [20.0, 21.0], weights=(0.3, 0.7)))
    with pytest.raises(basis.UsageError, match="weights"):
        compare(found, weighted)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"psnr": 3}', '{"experiments": {"a": [1]}}'])
def test_other_files(tmp_path, content):
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(basis.DataError, match=r"holds no figures .*To fix: give files that `basis evaluate"):
        read(tmp_path / "f.json")
