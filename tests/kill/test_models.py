"""Training, importing and fitting, killed at every change of the file system: see `kill.shared.sweep`."""

import shutil
import signal

import pytest
import torch

import basis
from basis.priors.edm import EDM
from basis.priors.ncsn import NCSN
from kill.driver import Warm
from kill.shared import sweep

pytest.importorskip("accelerate", reason="training needs the extra 'train'")
pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")

EDM_SIZE = {"shape": [1, 8, 8], "mean": 0.3, "std": 0.4, "widths": [4], "blocks": [1], "attention": [False]}
RECIPE = """
prior = "edm"
data = "digits"
steps = 2
batch = {batch}
warmup = 1
every = 1
calibrate = 0

[arguments]
shape = [1, 8, 8]
mean = 0.3
std = 0.4
widths = [4]
blocks = [1]
attention = [false]
"""
GLOW = """
prior = "glow"
data = "digits"
objective = "likelihood"
dequantize = true
steps = 2
batch = 4
warmup = 1
calibrate = 0

[arguments]
shape = [1, 8, 8]
scales = 1
depth = 1
width = 4

[finetune]
steps = 2
learning_rate = 1e-3
max = 0.2
min = 0.1
count = 2
"""
MODULES = (
    "basis.cli.given", "basis.train.finetune", "basis.train.loop", "basis.datasets.digits", "basis.priors.edm",
    "basis.formats.ncsn", "torch._dynamo", "torch.utils.tensorboard", "sklearn.datasets", "getpass",
)  # fmt: skip


@pytest.fixture(scope="module")
def trainer():
    with Warm(*MODULES) as process:
        yield process


def write_recipe(folder, batch=4):
    (folder / "tiny.toml").write_text(RECIPE.format(batch=batch))
    (folder / "thesis.tex").write_text("precious")


def write_glow(folder):
    (folder / "tiny.toml").write_text(GLOW)


def write_ncsn(folder, seed=0):
    torch.manual_seed(seed)
    network = NCSN(shape=(1, 8, 8), sigmas=[1.0, 0.1], width=4).network
    torch.save([{f"module.{key}": value for key, value in network.state_dict().items()}, {}], folder / "checkpoint.pth")
    (folder / "thesis.tex").write_text("precious")


def write_halves(folder):
    for seed, name in enumerate(("high", "low")):
        torch.manual_seed(seed)
        basis.save_prior(EDM(**EDM_SIZE), EDM_SIZE, folder / name)


def write_nothing(folder):
    (folder / "thesis.tex").write_text("precious")


COMMANDS = {  # what is there before, the command, and what its rerun has besides
    "train": (write_recipe, ["train", "tiny.toml", "--out", "out"], []),
    "finetune": (write_glow, ["finetune", "tiny.toml", "--out", "out"], []),
    "import": (
        write_ncsn,
        ["import", "ncsn", "checkpoint.pth", "out", "--set", "size=8", "--set", "sigmas=[1.0, 0.1]"],
        ["--resume"],
    ),
    "combine": (write_halves, ["combine", "high", "low", "--borders", "0.3", "--out", "out"], ["--resume"]),
    "fit": (
        write_nothing,
        ["fit", "nmf", "--data", "digits", "--set", "components=2", "--set", "iterations=2", "--out", "out"],
        ["--resume"],
    ),
}
FEW = {"train": 3, "import": 3, "fit": 3}  # points of the fast tests, spread evenly


@pytest.mark.parametrize("name", FEW)
def test_some_points(trainer, tmp_path, name):
    prepare, command, more = COMMANDS[name]
    total = sweep(trainer, tmp_path / "work", prepare, command, [*command, *more], points=FEW[name])
    assert total >= 20


@pytest.mark.slow
@pytest.mark.parametrize("send", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", COMMANDS)
def test_all_points(trainer, tmp_path, name, send):
    prepare, command, more = COMMANDS[name]
    points = None if send == signal.SIGKILL and name != "finetune" else 30
    sweep(trainer, tmp_path / "work", prepare, command, [*command, *more], points=points, send=send)


@pytest.fixture(scope="module")
def old(trainer, tmp_path_factory):
    """A folder of each command's, made from something else, with a file of the user's in it."""
    made = {}

    def make(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            prepare, command, _ = COMMANDS[name]
            other = {"train": [16], "import": [1]}.get(name, [])
            prepare(folder, *other)
            command = [*command, "--seed", "5"] if name == "fit" else command
            assert trainer.run(command, folder).code == 0
            (folder / "out" / "notes.txt").write_text("precious")
            made[name] = folder / "out"
        return made[name]

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "import", "fit"])
def test_all_points_of_overwriting(trainer, tmp_path, old, name):
    """At each of them the model that is there loads: the old one or the new one."""
    prepare, command, _ = COMMANDS[name]

    def begin(folder):
        prepare(folder)
        shutil.copytree(old(name), folder / "out")

    def check(folder):
        load = basis.load_separator if name == "fit" else basis.load_prior
        assert load(folder / "out").shape == (1, 8, 8)

    command = [*command, "--overwrite"]
    sweep(trainer, tmp_path / "work", begin, command, [*command, "--resume"], check=check)
