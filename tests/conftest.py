"""What the tests share: one thread, and small priors whose every property is known in closed form."""

import math
import sys

import pytest
import torch

import basis
from basis.cli import main
from basis.cli.progress import Lines
from basis.core.prior import ScorePrior
from basis.priors.edm import EDM

torch.set_num_threads(1)

TINY = {
    "shape": [1, 8, 8],
    "mean": 0.3,
    "std": 0.25,
    "widths": [8, 16],
    "blocks": [1, 1],
    "attention": [False, True],
}


class Tiled(ScorePrior):
    """Independent copies of a prior side by side: many samples from few random streams, which are the slow part."""

    def __init__(self, prior, copies):
        super().__init__((copies, *prior.shape))
        self.prior = prior

    def score(self, x, sigma):
        return self.prior.score(x.flatten(0, 1), sigma).unflatten(0, x.shape[:2])


@pytest.fixture(scope="session")
def tiled():
    return Tiled


@pytest.fixture(scope="session")
def as_sampled():
    """Settings under which BASIS ends with the sample of the annealed posterior itself."""
    return {"denoise": False, "project": False}


@pytest.fixture
def run_basis(monkeypatch, capsys):
    """Call `basis` in this process; return the exit code, and what went to standard output and to standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["basis", *map(str, arguments)])
        monkeypatch.setattr(Lines, "every", math.inf)  # lines of progress would depend on how busy the machine is
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return caught.value.code or 0, captured.out, captured.err

    return call


@pytest.fixture
def gaussian():
    """Four correlated pixels around 1/2 with standard deviation near 0.2."""
    factor = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    covariance = 0.03 * torch.eye(4) + 0.005 * factor @ factor.T
    means = torch.tensor([[[[0.4, 0.5], [0.6, 0.7]]]])
    return basis.GaussianMixture([1.0], means, covariance[None])


@pytest.fixture
def arguments():
    """Arguments of the smallest network prior."""
    return dict(TINY)


@pytest.fixture
def edm(arguments):
    """The smallest network prior, with weights that do something."""
    torch.manual_seed(0)
    prior = EDM(**arguments)
    for name, parameter in prior.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.5)
    return prior.eval().requires_grad_(False)
