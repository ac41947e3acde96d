"""What can be chosen by name: files of a folder and entry points of other packages."""

import importlib
import inspect
import sys
from importlib.metadata import EntryPoint

import pytest

import basis
from basis.core import registry
from basis.core.dataset import DATASETS
from basis.core.metric import METRICS
from basis.core.mixing import MIXINGS
from basis.core.posterior import POSTERIORS
from basis.core.sampler import SAMPLERS
from basis.core.separator import SEPARATORS
from basis.io.checkpoint import PRIORS
from basis.paper.experiment import EXPERIMENTS

REGISTRIES = [PRIORS, MIXINGS, POSTERIORS, SAMPLERS, SEPARATORS, METRICS, DATASETS]
CHOICES = [pytest.param(r, name, id=f"{r.kind}-{name}") for r in REGISTRIES for name in r.names()]
NUMBERED = [pytest.param(EXPERIMENTS, name, id=name) for name in EXPERIMENTS.names()]  # all near to each other

NEW_FILE = '''
import math
from basis.core.sampler import Sampler
from basis.samplers.annealed_langevin import AnnealedLangevin

class _Helper(AnnealedLangevin):
    """Private: not a choice."""

class Nothing(Sampler):
    """Stays where it is."""

    def step(self, x, sigma, below, target, noise):
        return x
'''


@pytest.mark.parametrize(("choices", "name"), [*CHOICES, *NUMBERED])
def test_every_choice_is_a_documented_class(choices, name):
    cls = choices.get(name)
    assert issubclass(cls, choices.base)
    assert not inspect.isabstract(cls)
    assert choices.name_of(cls) == name
    assert cls.__doc__, "a docstring of its own, not its base's"
    line = cls.__doc__.splitlines()[0]
    assert len(line.split()) >= 3
    assert choices.describe()[name] == line


def test_the_papers_parts_are_there():
    assert {"edm", "gaussian"} <= set(PRIORS.names())
    assert {"weighted_sum", "clipped", "grayscale"} <= set(MIXINGS.names())
    assert SEPARATORS.get("basis") is basis.BASIS
    assert SAMPLERS.get("annealed_langevin") is basis.AnnealedLangevin
    assert POSTERIORS.get("annealed") is basis.AnnealedPosterior


@pytest.mark.parametrize(("choices", "name"), CHOICES)
def test_a_near_miss_names_the_match(choices, name):
    for typo in (name[:-1] + "_", name + "s", name.upper()[:1] + name[1:]):
        with pytest.raises(basis.UsageError, match=rf"unknown {choices.kind} '{typo}'.*did you mean .*\b{name}\b"):
            choices.get(typo)


@pytest.mark.parametrize("choices", REGISTRIES, ids=lambda choices: choices.kind)
def test_a_far_miss_lists_the_choices(choices):
    with pytest.raises(basis.UsageError, match=f"choose one of {', '.join(choices.names())}"):
        choices.get("qqqqq")


@pytest.mark.parametrize("name", ["__init__", "../core/sampler", "annealed_langevin.AnnealedLangevin", ""])
def test_only_files_of_the_folder_can_be_chosen(name):
    with pytest.raises(basis.UsageError, match="unknown sampler"):
        SAMPLERS.get(name)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose files count as files of basis.samplers."""
    package = importlib.import_module("basis.samplers")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(f"basis.samplers.{path.stem}", None)
        if hasattr(package, path.stem):
            delattr(package, path.stem)


def test_a_new_file_is_a_new_choice(folder):
    before = SAMPLERS.names()
    (folder / "nothing.py").write_text(NEW_FILE)
    (folder / "_shared.py").write_text("")
    assert SAMPLERS.names() == sorted([*before, "nothing"])
    cls = SAMPLERS.get("nothing")
    assert cls.__name__ == "Nothing"
    assert SAMPLERS.name_of(cls) == "nothing"
    assert SAMPLERS.describe()["nothing"] == "Stays where it is."


def test_the_choice_is_gone_with_its_file():
    assert "nothing" not in SAMPLERS.names()


def test_a_file_without_a_class_says_so(folder):
    (folder / "helpers.py").write_text("def helper(): ...\n")
    with pytest.raises(basis.UsageError, match=r"helpers\.py defines no Sampler\. To fix: derive"):
        SAMPLERS.get("helpers")


def test_entry_points_of_other_packages_are_found(monkeypatch):
    foreign = EntryPoint("theirs", "fractions:Fraction", "basis.separators")

    def entry_points(group):
        return [foreign] if group == "basis.separators" else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert "theirs" in SEPARATORS.names()
    assert SEPARATORS.get("theirs") is importlib.import_module("fractions").Fraction
    assert SEPARATORS.name_of(SEPARATORS.get("theirs")) == "theirs"
    assert "theirs" not in SAMPLERS.names()
    with pytest.raises(basis.UsageError, match="did you mean theirs"):
        SEPARATORS.get("thers")
