"""Paired differences: against the t interval, on the same mixtures alone, from the files that the commands write."""

import json
import math
import warnings

import numpy as np
import pytest
from scipy.stats import norm, t

import basis
from basis.core.errors import UncertainWarning
from basis.evaluate.comparison import Measured, compare, compare_all, read
from basis.evaluate.statistics import mean_interval, share_interval, standard_error

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


@pytest.mark.parametrize(
    ("draw", "mean", "n", "least", "most"),
    [
        ("normal", 0.0, 5, 0.90, 0.99),
        ("normal", 0.0, 30, 0.92, 0.98),
        ("lognormal", math.exp(0.5), 5, 0.85, 0.99),
        ("lognormal", math.exp(0.5), 10, 0.86, 0.97),
    ],
)
def test_the_interval_holds_its_level(draw, mean, n, least, most, monkeypatch):
    """Of 400 samples. (BCa covers 83 % of five normal values, 74 and 82 % of five and ten skewed ones.)"""
    monkeypatch.setattr("basis.evaluate.statistics.RESAMPLES", 499)
    rng = np.random.default_rng(0)
    ends = [mean_interval(getattr(rng, draw)(size=n), seed) for seed in range(400)]
    assert least < np.mean([low <= mean <= high for low, high in ends]) < most
    assert np.isfinite(ends).all()


def test_ties_give_finite_intervals():
    low, high = mean_interval(np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    assert -math.inf < low < 0.2 < high < math.inf


@pytest.mark.parametrize("n", [1, 2, 4])
def test_too_few_are_refused(n):
    with pytest.raises(basis.UsageError, match=rf"have {n} mixtures in common, an interval takes at least 5.*To fix"):
        compare(run("a", np.arange(n)), run("b", np.arange(n) ** 2))


def test_few_are_warned_of():
    values = np.random.default_rng(0).normal(size=(2, 30))
    with pytest.warns(UncertainWarning, match="29 mixtures in common.*fewer than 30"):
        compare(run("a", values[0, :29]), run("b", values[1, :29]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(run("a", values[0]), run("b", values[1]))


def test_shares_have_the_interval_of_wilson():
    for share, n in ((1.0, 24), (0.0, 7), (0.25, 40), (0.5, 1)):
        k, z = round(share * n), norm.ppf(0.975)
        p = k / n
        centre, half = (p + z**2 / 2 / n), z * math.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)
        expected = [(centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)]
        np.testing.assert_allclose(share_interval(share, n), expected, atol=1e-9)
    found = compare(run("a", np.arange(40.0)), run("b", np.arange(40.0) + np.linspace(0.1, 1, 40)))
    assert (found.better, found.better_interval) == (1.0, share_interval(1.0, 40))
    assert found.better_interval[0] < 0.95


def test_a_standard_error_takes_five():
    assert standard_error(np.arange(4.0)) is None
    assert standard_error(np.arange(5.0)) == pytest.approx(np.std(range(5), ddof=1) / math.sqrt(5))


def test_only_mixtures_that_both_have_count():
    with pytest.warns(UncertainWarning):
        found = compare(run("long", [1, 2, 3, 4, 5, 100, 100]), run("short", [2, 3, 5, 6, 8]))
    assert (found.n, found.means) == (5, (3.0, pytest.approx(24 / 5)))


def test_constant_differences_have_no_spread():
    found = compare(run("a", [20, 30] * 20), run("b", [21, 31] * 20))
    assert (found.low, found.difference, found.high) == (1, 1, 1)


@pytest.mark.parametrize(("key", "value"), [("seed", 1), ("task", "split"), ("split", "validation"), ("sources", 3)])
def test_other_mixtures_are_not_compared(key, value):
    with pytest.raises(basis.UsageError, match=f"different mixtures: {key}"):
        compare(run("a", [1, 2]), run("b", [1, 2], **{key: value}))


def test_images_decide_where_they_are_known():
    pairs = [[i, i + 1] for i in range(40)]
    a, b = run("a", range(40), index=pairs), run("b", range(30), index=pairs[:30])
    assert compare(a, b).n == 30
    with pytest.raises(basis.UsageError, match="different mixtures: other images"):
        compare(a, run("c", range(30), index=[*pairs[:29], [29, 31]]))


def test_runs_are_compared_within_their_mixtures():
    values = np.arange(30)
    runs = [run("a", values), run("s", values, task="split"), run("b", values), run("z", values, task="split")]
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
