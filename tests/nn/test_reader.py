"""The reader of grey pictures: it looks at the sum that is known, stays as it was trained, and tells the prior."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import basis
from basis.io.checkpoint import save_prior
from basis.nn.magnitude import hold_weights
from basis.nn.reader import Reader
from basis.priors.edm import EDM

SIZE = {
    "shape": [3, 16, 16], "mean": 0.5, "std": 0.25, "widths": [8, 16], "blocks": [1, 1], "attention": [False, False],
    "known": [[1 / 3, 1 / 3, 1 / 3], [0.3, 0.6, 0.1]],
}  # fmt: skip
READS = [4, 6]


def disturbed(reader):
    """Give batch normalisation averages as after training."""
    for module in reader.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=torch.Generator().manual_seed(1))
    return reader


@pytest.fixture
def reader():
    torch.manual_seed(0)
    return disturbed(Reader(READS).freeze())


def test_it_reads_the_sum_without_noise(reader):
    smooth = torch.linspace(-1, 1, 16).expand(2, 1, 16, 16)
    noise = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    alone = reader(smooth)
    assert [tuple(part.shape) for part in alone] == [(2, 4, 8, 8), (2, 6, 4, 4)]
    for sums in ([smooth, smooth + noise], [smooth + noise, smooth]):
        assert all(torch.equal(a, b) for a, b in zip(reader(torch.cat(sums, 1)), alone, strict=True))
    mixed = torch.cat([torch.cat([smooth[:1], noise[:1]], 1), torch.cat([noise[1:], smooth[1:]], 1)])
    torch.testing.assert_close(reader(mixed)[-1], alone[-1])
    assert reader.logits(mixed).shape == (2, 10)


def test_frozen_in_a_prior_that_is_trained():
    """Neither its weights nor the averages of its normalisation move, and no weights are held at unit norm."""
    torch.manual_seed(0)
    prior = EDM(**SIZE, reads=READS)
    reader = disturbed(prior.network.reader)
    before = {name: value.clone() for name, value in reader.state_dict().items()}
    prior.train()
    hold_weights(prior)
    adam = torch.optim.Adam(prior.parameters(), 0.1)
    nn.init.ones_(prior.network.gain)
    for _ in range(2):
        prior.score(torch.rand(4, 3, 16, 16), 0.5).square().sum().backward()
        adam.step()
    assert prior.network.heed[0] != 0
    after = reader.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_what_it_says_counts_once_it_is_heeded(tmp_path):
    torch.manual_seed(0)
    prior = EDM(**SIZE, reads=READS)
    nn.init.normal_(prior.network.gain)
    disturbed(prior.network.reader)
    plain = EDM(**SIZE)
    assert not plain.load_state_dict(prior.state_dict(), strict=False).missing_keys
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(prior.score(x, 0.5), plain.score(x, 0.5))
    nn.init.constant_(prior.network.heed[1], 0.5)
    heeded = prior.score(x, 0.5)
    assert (heeded - plain.score(x, 0.5)).abs().max() > 1e-3
    arguments = {**SIZE, "reads": READS}
    again = basis.load_prior(save_prior(prior, arguments, tmp_path / "prior"))
    assert torch.equal(again.train().score(x, 0.5), heeded)


@pytest.mark.parametrize("change", [{"known": []}, {"patch": 1}, {"reads": [4]}])
def test_it_has_to_fit(change):
    with pytest.raises(basis.UsageError, match=r"wants images, known, patch = 2 and one for each of 2 widths"):
        EDM(**{**SIZE, "reads": READS, **change})
