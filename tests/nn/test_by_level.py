"""Networks for ranges of the noise levels: each answers in its own, alone or in one batch; trained apart and joined."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import basis
from basis.cli import app
from basis.io.checkpoint import read_card, save_prior
from basis.nn.by_level import ByLevel
from basis.priors.edm import EDM
from basis.train.combine import combine

SIZE = {"shape": [1, 8, 8], "mean": 0.3, "std": 0.4, "widths": [8], "blocks": [1], "attention": [False]}


class Answer(nn.Module):
    """Says which one it is, and refuses levels outside its range."""

    def __init__(self, number: float, low: float, high: float) -> None:
        super().__init__()
        self.number, self.low, self.high = number, low, high

    def forward(self, x, level):
        assert ((level >= self.low) & (level < self.high)).all()
        return x * 0 + self.number


def test_each_network_answers_in_its_range():
    network = ByLevel([Answer(0, 1.0, math.inf), Answer(1, -1.0, 1.0), Answer(2, -math.inf, -1.0)], [1.0, -1.0])
    levels = torch.tensor([2.0, 1.0, 0.9, -1.0, -3.0]).repeat(4)
    x = torch.zeros(len(levels), 1, 2, 2)
    assert network(x, levels)[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2] * 4
    for level, expected in zip(levels[:5], [0, 0, 1, 1, 2], strict=True):
        assert (network(x, level[None]) == expected).all()


@pytest.fixture
def halves(tmp_path):
    folders = []
    for seed in range(2):
        torch.manual_seed(seed)
        prior = EDM(**SIZE)
        nn.init.normal_(prior.network.gain)
        folders.append(save_prior(prior, SIZE, tmp_path / f"half-{seed}", {"steps": 5 + seed, "hours": 0.25}))
    return folders


def test_combined_priors_are_their_parts(halves, tmp_path):
    app(["combine", *map(str, halves), "--borders", "0.3", "--out", str(tmp_path / "whole")], standalone_mode=False)
    whole = basis.load_prior(tmp_path / "whole")
    high, low = map(basis.load_prior, halves)
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(whole.score(x, 0.31), high.score(x, 0.31))
    assert torch.equal(whole.score(x, 0.29), low.score(x, 0.29))
    sigma = torch.tensor([2.0, 0.1, 0.3])
    each = torch.cat([(high, low, high)[i].score(x[i : i + 1], sigma[i]) for i in range(3)])
    torch.testing.assert_close(whole.score(x, sigma), each)
    card = read_card(tmp_path / "whole" / "model.safetensors")
    assert (card["steps"], card["hours"]) == (11, 0.5)
    assert [part["steps"] for part in card["parts"]] == [5, 6]


def test_priors_stored_in_half_stay_so(halves, tmp_path):
    for folder in halves:
        save_prior(basis.load_prior(folder), SIZE, folder, dtype=torch.bfloat16, overwrite=True)
    combine(halves, [0.3], tmp_path / "whole")
    stored = load_file(tmp_path / "whole" / "model.safetensors")
    assert stored["network.networks.0.enter.weight"].dtype == torch.bfloat16
    assert stored["network.networks.0.gain"].dtype == torch.float32
    x, low = torch.rand(3, 1, 8, 8), basis.load_prior(halves[1])
    assert torch.equal(basis.load_prior(tmp_path / "whole").score(x, 0.1), low.score(x, 0.1))
    save_prior(low, SIZE, halves[1], overwrite=True)
    combine(halves, [0.3], tmp_path / "mixed")
    assert load_file(tmp_path / "mixed" / "model.safetensors")["network.networks.0.enter.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("borders", "message"),
    [
        ("0.3,0.1", "expected a border between each two"),
        ("0.3,x", "expected noise levels"),
        ("-1", "falling positive noise levels"),
    ],
)
def test_borders_have_to_fit(halves, tmp_path, borders, message):
    with pytest.raises(basis.UsageError, match=message):
        app(["combine", *map(str, halves), "--borders", borders, "--out", str(tmp_path / "no")], standalone_mode=False)
    assert not (tmp_path / "no" / "model.safetensors").exists()


def test_parts_have_to_be_of_one_kind(halves, tmp_path):
    with pytest.raises(basis.UsageError, match="another kind or size"):
        combine([halves[0], "mnist"], [0.3], tmp_path / "no")
    with pytest.raises(basis.UsageError, match="have no borders"):
        combine(["ncsn-mnist", "ncsn-mnist"], [0.3], tmp_path / "no")
