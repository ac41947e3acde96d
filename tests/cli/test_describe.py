"""`basis list` and `basis info`: for programs, and of single choices."""

import json

import basis
from basis.core.separator import SEPARATORS
from basis.io.presets import names, resolve
from cli.shared import fails


def test_list_as_json(cli):
    found = json.loads(cli("list", "--json").out)
    assert found["methods"] == SEPARATORS.describe()
    assert set(found["presets"]) == set(names())
    assert {"priors", "bundled recipes", "bundled examples"} <= found.keys()


def test_settings_of_a_method(cli):
    out = cli("list", "nmf").out.splitlines()
    assert out[0] == f"method nmf: {SEPARATORS.describe()['nmf']}"
    (found,) = json.loads(cli("list", "nmf", "--json").out)
    assert (found["kind"], found["name"]) == ("method", "nmf")
    components = next(one for one in found["settings"] if one["name"] == "components")
    default = basis.NMF().components
    assert (components["type"], components["default"]) == ("a whole number (at least 1)", default)
    assert any(line.split() == f"components {components['type']}; default {default}".split() for line in out)


def test_a_setting_that_is_needed(cli):
    (found,) = json.loads(cli("list", "weighted_sum", "--json").out)
    assert [(one["name"], one["required"]) for one in found["settings"]] == [("alphas", True)]
    assert "  alphas  a list, each a number; needed" in cli("list", "weighted_sum").out


def test_a_preset_shows_its_own_settings(cli):
    method, own = resolve("fast", {})
    for command in ("list", "info"):
        (found,) = json.loads(cli(command, "fast", "--json").out)
        assert (found["kind"], method in found["summary"]) == ("preset", True)
        assert {one["name"]: one["default"] for one in found["settings"]}.items() >= own.items()
    assert f"default {own['steps']}" in cli("info", "fast").out


def test_a_name_of_two_things_shows_both(cli):
    kinds = [found["kind"] for found in json.loads(cli("list", "glow", "--json").out)]
    assert len(kinds) == len(set(kinds)) == 2


def test_unknown_choices(cli):
    fails(cli("list", "serch"), 2, "unknown choice 'serch'", "did you mean search?")


def test_info_as_json(cli, prior):
    found = json.loads(cli("info", prior, "--json").out)
    loaded = basis.load_prior(prior)
    assert (found["class"], tuple(found["shape"]), found["calibrated"]) == ("EDM", loaded.shape, False)
    assert found["parameters"] == sum(value.numel() for value in loaded.parameters())
    assert found["card"]["summary"] == "a prior for tests"
