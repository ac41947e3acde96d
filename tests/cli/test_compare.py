"""`basis compare` on what `basis evaluate` and `basis reproduce` wrote."""

import re

import pytest

from cli.shared import fails

digits = pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn") and "digits"


@pytest.fixture
def evaluated(cli, prior, tmp_path):
    """Evaluate two methods on the same mixtures and one on others."""
    files = {}
    for name, method, seed in (("average", "average", 0), ("rough", "basis", 0), ("other", "average", 1)):
        files[name] = tmp_path / f"{name}.json"
        quick = ("--steps", 1, "--levels", 2) if method == "basis" else ()
        options = ("--n", 6, "--seed", seed, "--prior", prior, "--method", method, *quick)
        assert cli("evaluate", digits, "--json", files[name], *options).code == 0
    return files


def test_compare(cli, evaluated):
    result = cli("compare", evaluated["average"], evaluated["rough"])
    assert result.code == 0
    assert result.out.splitlines()[0] == "against average:"
    numbers = re.findall(r"[-+]?\d+\.\d+|\d+", result.out.splitlines()[-1])
    n, its, mean, gain, low, high = map(float, numbers[:6])
    assert n == 6
    assert low <= gain <= high
    assert mean - its == pytest.approx(gain, abs=0.011)


def test_other_mixtures(cli, evaluated):
    error = fails(
        cli("compare", evaluated["average"], evaluated["other"]), 2, "no two of these are of the same mixtures"
    )
    assert "seed 0" in error
    assert "seed 1" in error
    fails(
        cli("compare", evaluated["average"], evaluated["average"].parent / "none.json"), 1, "none.json does not exist"
    )
