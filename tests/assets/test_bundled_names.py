"""Examples and recipes of the wheel are reachable by name, from anywhere."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from basis import UsageError
from basis.assets.examples import describe, example, find_example
from basis.assets.recipes import find_recipe, recipe
from basis.cli import app
from basis.runs.read import find
from basis.train.recipe import read_recipe


def test_an_example_is_the_mean_of_its_truth():
    for name in describe():
        if name == "cat":
            continue
        mean = np.load(example(name))["sources"].mean(0).round()[0]
        assert (np.asarray(Image.open(find_example(Path(f"example:{name}")))) == mean).all()


def test_files_named_on_the_command_line(tmp_path):
    own = tmp_path / "two-a.png"
    own.touch()
    assert find([own, Path("example:two-b")]) == [own, example("two-b").parents[1] / "two-b.png"]
    with pytest.raises(UsageError, match=r"unknown example 'two-x'.*two-"):
        find([Path("example:two-x")])


def test_every_bundled_recipe_is_found_by_name():
    listed = CliRunner().invoke(app, ["list"]).output
    assert read_recipe(find_recipe(Path("recipe:mnist"))).data == "mnist"
    for path in recipe("mnist").parent.glob("*.toml"):
        assert f"\n  {path.stem} " in listed
        assert recipe(path.stem) == path
    assert find_recipe(Path("own.toml")) == Path("own.toml")
    with pytest.raises(UsageError, match=r"unknown recipe 'mnits'.*mnist"):
        find_recipe(Path("recipe:mnits"))


def test_a_recipe_error_points_to_a_file_that_exists(tmp_path):
    (tmp_path / "own.toml").write_text('prior = "edm"\n')
    with pytest.raises(UsageError, match="lacks") as caught:
        read_recipe(tmp_path / "own.toml")
    path = str(caught.value).split("see ")[1].split(" for")[0]
    assert Path(path).is_file()
