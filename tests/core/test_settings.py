"""Settings have types and ranges: what is not of them is refused, by every way in, with what it takes."""

import inspect
import json
import math

import numpy as np
import pytest
import torch

import basis
from basis.core.dataset import open_dataset
from basis.core.posterior import POSTERIORS
from basis.core.sampler import SAMPLERS
from basis.core.separator import SEPARATORS
from basis.core.settings import kinds
from basis.io.checkpoint import PRIORS
from basis.io.format import FORMATS

SUM = basis.WeightedSum([1.0, 1.0])
MADE = {
    f"{registry.kind} {name}": registry.get(name)
    for registry in (SEPARATORS, SAMPLERS, POSTERIORS, FORMATS, PRIORS)
    for name in registry.names()
}
GIVEN = ("self", "prior", "mixing", "mixture", "unet")


def settings_of(cls, *wanted):
    """The settings of a class whose annotation is one of some types, or one of them or none."""
    found = kinds(cls)
    named = [name for name in inspect.signature(cls).parameters if name not in GIVEN and name in found]
    return [name for name in named if found[name] in (*wanted, *(kind | None for kind in wanted))]


def refused(cls, name, value):
    """Whether a class refuses the value of a setting, by its name and with what it takes."""
    parameters = inspect.signature(cls).parameters.values()
    needed = {p.name: None for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    with pytest.raises(basis.UsageError, match=r"setting '.*' of .* takes .*, got .*To fix") as caught:
        cls(**{**needed, name: value})
    return str(caught.value)


@pytest.mark.parametrize("what", MADE)
def test_a_bool_is_true_or_false(what):
    for name in settings_of(MADE[what], bool):
        for value in ("False", "no", 0, 1, 0.0, "maybe"):
            message = refused(MADE[what], name, value)
            if f"'{name}'" in message:  # another setting, such as a prior's mean, may be refused before
                assert "takes true or false" in message
                assert message.count(repr(value))


@pytest.mark.parametrize("value", [True, 2.5, "ten", None, -1, 0, math.nan])
@pytest.mark.parametrize("name", ["steps", "levels"])
def test_a_whole_number(name, value):
    with pytest.raises(basis.UsageError, match=rf"'{name}' of .* takes a whole number \(at least 1\), got .*To fix"):
        basis.BASIS(**{name: value})
    with pytest.raises(basis.UsageError, match=f"'{name}' of method 'basis' takes a whole number"):
        basis.separate(torch.ones(1, 1), unit(), SUM, "basis", **{name: value})


@pytest.mark.parametrize("name", ["delta", "temperature", "ratio", "stability"])
@pytest.mark.parametrize("value", [math.nan, -1e-9, "1", False, [1.0], -math.inf])
def test_a_number_in_its_range(name, value):
    with pytest.raises(basis.UsageError, match=rf"'{name}' of BASIS takes a number"):
        basis.BASIS(**{name: value})


@pytest.mark.parametrize(
    ("method", "settings", "name"),
    [
        ("quality", {"project": "no"}, "project"),
        ("search", {"steps": 0}, "steps"),
        ("search", {"refine_steps": True}, "refine_steps"),
        ("search", {"bounded": "False"}, "bounded"),
        ("fast", {"noise_correlation": 2}, "noise_correlation"),
        ("sample", {"posterior": "mmps", "iterations": "2"}, "iterations"),
        ("sample", {"sampler": "annealed_langevin", "sequential": "maybe"}, "sequential"),
        ("sample", {"sampler": "heun", "churn": True}, "churn"),
        ("best_of", {"steps": 2.5}, "steps"),
        ("best_of", {"mean": 1}, "mean"),
    ],
)
def test_a_setting_that_goes_through_several_constructors(method, settings, name):
    prior = basis.GaussianMixture([1.0], [[0.5]], [[[0.01]]])
    with pytest.raises(basis.UsageError, match=f"setting '{name}' of .* takes"):
        basis.separate(torch.ones(1, 1), prior, SUM, method, **settings)


def test_what_is_of_the_type_is_taken():
    for steps in (2, np.int64(2), np.uint8(2)):
        assert basis.BASIS(steps=steps, project=np.bool_(False), delta=np.float32(1e-3)).sampler.total == 20
    assert basis.Sample(rho=7, project=None, parts={"eta": math.inf}).chain.eta == math.inf
    assert basis.AnnealedLangevin(delta=None).delta > 0
    assert basis.NCSN(shape=(1, 28, 28), width=4, sigmas=np.array([1.0, 0.5])).levels == (1.0, 0.5)
    assert basis.Search(rank=None, temperature=1).rank is None


@pytest.mark.parametrize("arguments", [{"samples": True}, {"seed": False}, {"batch_size": 1.0}, {"budget": True}])
def test_arguments_of_separate(arguments):
    with pytest.raises(basis.UsageError, match=r"whole number|budget of at least 1"):
        basis.separate(torch.ones(1, 1), unit(), SUM, None if "budget" in arguments else "average", **arguments)


def test_of_a_class_of_ones_own():
    class Mine(basis.Separator):
        def __init__(self, strength: float = 1.0, kind: "unknown | here" = None, free=None):  # noqa: F821
            self.strength = strength

        def stream(self, problem, noise): ...

    class Yours(basis.Separator):
        def __init__(self, loud: bool, sizes: tuple[int, ...] = (1,), free=None):
            self.loud = loud

        def stream(self, problem, noise): ...

    assert Mine("an annotation that cannot be read is not checked").strength
    assert Yours(True, [1, 2], "anything").loud
    for wrong in ({"loud": "no"}, {"loud": True, "sizes": [1, "2"]}):
        with pytest.raises(basis.UsageError, match="of Yours takes"):
            Yours(**wrong)
    with pytest.raises(TypeError):
        Yours()


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("project=no", ["'project' of method 'basis' takes true or false", "got 'no'"]),
        ("denoise=0", ["'denoise' of method 'basis' takes true or false, got 0"]),
        ("bounded=yes", ["takes true or false, got 'yes'"]),
        ("sequential=maybe", ["takes true or false, got 'maybe'"]),
        ("steps=true", ["'steps' of method 'basis' takes a whole number (at least 1), got True"]),
        ("steps=ten", ["takes a whole number (at least 1), got 'ten'"]),
        ("levels=0", ["takes a whole number (at least 1), got 0"]),
        ("temperature=NaN", ["takes a number (at least 0, finite), got nan"]),
        ("delta=-1", ["takes a number (above 0, finite), got -1"]),
        ("sigma_max=text", ["'sigma_max' of method 'basis' takes a number, got 'text'"]),
    ],
)
def test_the_command_line_refuses(run_basis, tmp_path, setting, parts):
    np.save(tmp_path / "m.npy", np.ones((1, 28, 28), np.float32))
    command = ["separate", tmp_path / "m.npy", "--method", "basis", "--out", tmp_path / "out"]
    code, _, error = run_basis(*command, "--levels", 1, "--steps", 1, "--set", setting)
    assert code == 2
    assert error.startswith("basis: setting '")
    assert error.count("\n") == 1
    for part in [*parts, "To fix: "]:
        assert part in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ["False", "false", "FALSE"])
def test_false_is_false_in_any_case(run_basis, tmp_path, value):
    """Without its projection the result does not mix to the mixture."""
    np.save(tmp_path / "m.npy", np.ones((1, 28, 28), np.float32))
    command = ["separate", tmp_path / "m.npy", "--method", "basis", "--out", tmp_path / "out"]
    code, *_ = run_basis(*command, "--levels", 1, "--steps", 1, "--set", f"project={value}")
    result = json.loads((tmp_path / "out" / "m" / "result.json").read_text())
    assert code == 0
    assert result["settings"]["project"] is False
    assert result["residual"] > 1e-3


def test_a_recipe_and_a_data_set():
    for arguments in ({"widths": [8, "16"]}, {"std": "wide"}, {"std": 0.0}, {"patch": True}, {"widths": 8}):
        whole = {"shape": [1, 8, 8], "mean": 0.1, "std": 0.3, "widths": [8], "blocks": [1], "attention": [False]}
        with pytest.raises(basis.UsageError, match=f"'{next(iter(arguments))}' of kind of prior 'edm' takes"):
            PRIORS.make("edm", {**whole, **arguments})
    with pytest.raises(basis.UsageError, match=r"kind of prior 'edm' needs .*: std, widths, blocks, attention"):
        PRIORS.make("edm", {"shape": [1, 8, 8], "mean": 0.1})
    with pytest.raises(basis.UsageError, match=r"unknown setting of kind of prior 'edm': 'width'.*did you mean widths"):
        PRIORS.make("edm", {"width": [8]})
    with pytest.raises(basis.UsageError, match="'crops' of Folder takes a whole number"):
        open_dataset("folder:photos,crops=many")
    assert open_dataset("folder:path=2020,size=32").path == "2020"


def unit():
    return basis.GaussianMixture([1.0], [[0.5]], [[[0.01]]])
