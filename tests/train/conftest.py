"""What the tests of training share: a data set, a recipe to write, and the command."""

import pytest

from basis.core.dataset import DATASETS
from train.shared import RECIPE


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")
    return DATASETS.get("digits")()


@pytest.fixture
def recipe(tmp_path):
    """Write a recipe, with some of its text replaced; returns its path."""

    def write(*replacements):
        text = RECIPE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "tiny.toml").write_text(text)
        return tmp_path / "tiny.toml"

    return write


@pytest.fixture
def train(run_basis):
    """Call `basis train`; return the exit code, what was printed and the lines of errors."""

    def call(*arguments):
        code, printed, errors = run_basis("train", *arguments)
        return code, printed, errors.splitlines()

    return call
