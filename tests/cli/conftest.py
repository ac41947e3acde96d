"""Calling the command line in this process, on small files and a small prior."""

import numpy as np
import pytest
from PIL import Image

import basis
from cli.shared import MIXTURE, PAPER, PIXELS, QUICK, SUM, Result, make_prior


@pytest.fixture(scope="session")
def prior(tmp_path_factory):
    return make_prior(tmp_path_factory.mktemp("priors") / "tiny", seed=0, mean=0.3)


@pytest.fixture
def cli(run_basis):
    """Call `basis` in this process."""

    def call(*arguments):
        code, out, errors = run_basis(*arguments)
        return Result(code, out, errors.splitlines())

    return call


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def separate(cli, prior, out):
    """Call `basis separate` with few steps; what is passed comes last, and wins."""
    return lambda *arguments: cli("separate", "--prior", prior, *PAPER, "--out", out, *arguments)


@pytest.fixture
def expected(prior):
    """Separate with the library itself, under the same few steps."""
    loaded = basis.load_prior(prior)

    def call(mixture, mixing=SUM, prior=loaded, **settings):
        return basis.separate(mixture, prior, mixing, **QUICK | settings)

    return call


@pytest.fixture
def image(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.fixture
def array(tmp_path):
    np.save(tmp_path / "array.npy", MIXTURE)
    return tmp_path / "array.npy"
