"""A prior, a mixing, a sampler and a metric are one file each: those of CONTRIBUTING.md, in a package of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"
GROUPS = {"flat": "priors", "shifted": "mixings", "euler": "samplers", "largest_error": "metrics"}
CONTRACT = """
import sys
import torch
import basis
from basis.core.metric import METRICS
from basis.core.mixing import MIXINGS
from basis.core.sampler import SAMPLERS
from basis.io.checkpoint import PRIORS

prior = PRIORS.make("flat", {"shape": [1, 4, 4]})
folder = basis.save_prior(prior, {"shape": [1, 4, 4]}, sys.argv[1])
again, x = basis.load_prior(folder), torch.rand(2, 1, 4, 4)
assert torch.equal(again.denoise(x, 0.3), prior.denoise(x, 0.3))
torch.testing.assert_close(x + 0.09 * prior.score(x, 0.3), prior.denoise(x, 0.3))
levels = basis.separate(x.mean((1, 2, 3), keepdim=True).expand_as(x), prior, basis.WeightedSum([1.0]), "fast").sources
assert levels.flatten(1).std(1).max() < 0.05

shifted = MIXINGS.make("shifted", {"by": 2})
y, m = torch.rand(2, 2, 1, 4, 4), torch.rand(2, 1, 4, 4)
torch.testing.assert_close(shifted(shifted.project(y, m)), m)

found = basis.separate(x, prior, basis.WeightedSum([0.5, 0.5]), "sample", sampler="euler", stride=1.0, steps=9)
assert found.residual.max() < 1e-6
try:
    SAMPLERS.make("euler", {"stride": 0})
except basis.UsageError as error:
    assert "stride" in str(error)
else:
    raise AssertionError("a stride of 0 was taken")

torch.testing.assert_close(METRICS.make("largest_error", {})(y, y + 0.25), torch.full((2,), 0.25))
"""


def blocks():
    """Return the files that the guide shows, by name."""
    found = re.findall(r"`(\w+)\.py`[^\n]*:\n\n```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    return dict(found)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Write each file into a package of its own; return the environment in which Python finds it."""
    folder, entries = tmp_path_factory.mktemp("package"), []
    for name, text in blocks().items():
        (folder / f"mine_{name}.py").write_text(text)
        (own,) = re.findall(r"^class (\w+)", text, flags=re.MULTILINE)
        entries.append(f"[basis.{GROUPS[name]}]\n{name} = mine_{name}:{own}\n")
    about = folder / "mine-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 0\n")
    (about / "entry_points.txt").write_text("".join(entries))
    places = [str(folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def python(environment, *arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guide_shows_one_of_each():
    assert blocks().keys() == GROUPS.keys()


def test_contracts(package, tmp_path):
    python(package, "-c", CONTRACT, tmp_path / "flat")


def test_on_the_command_line(package, tmp_path):
    listed = python(package, "-m", "basis", "list")
    assert all(f"  {name} " in listed for name in GROUPS)
    folder, out = tmp_path / "flat", tmp_path / "out"
    arguments = "{'shape': [1, 28, 28]}"
    make = f"basis.save_prior(PRIORS.make('flat', {arguments}), {arguments}, sys.argv[1])"
    python(package, "-c", f"import sys, basis; from basis.io.checkpoint import PRIORS; {make}", folder)
    command = ["separate", "example:two-a", "--prior", f"mnist,{folder}", "--method", "sample", "--steps", "3"]
    python(package, "-m", "basis", *command, "--set", "sampler=euler", "--out", out)
    assert json.loads((out / "two-a" / "result.json").read_text())["settings"]["sampler"] == "euler"
