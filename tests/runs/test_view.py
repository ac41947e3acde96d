"""What a separation shows of itself, and writes."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.core.assessment import Assessment
from basis.core.separator import Separation

SUM = basis.WeightedSum([1.0, 1.0])


@pytest.fixture
def result():
    """Two mixtures, three samples each, of which the last stands for them."""
    samples = torch.rand(2, 3, 2, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    mixture = SUM(samples[:, 2]) + 0.1
    worth = Assessment(
        torch.tensor([[0.25, 0.5], [0.75, 0.5]]), torch.tensor([False, True]), 3, torch.tensor([3, 3]),
        torch.ones(2), torch.zeros(2, 2, 1, 6, 5),
    )  # fmt: skip
    chosen = torch.tensor([2, 2])
    figures = {"evaluations": torch.tensor([10, 20]), "assessment": worth}
    return Separation(samples, mixture, SUM, chosen, data_range=(0.0, 1.0), **figures)


def test_words(result):
    assert repr(result) == (
        "Separation of 2 mixtures (1, 6, 5) into 2 sources (1, 6, 5), 3 samples of each\n"
        "  residual 1.0e-02, 15 evaluations a source, sources likelier than 50% of the prior's own, 1 unlikely"
    )
    plain = Separation(result.samples[:1, :1], result.mixture[:1], SUM, torch.tensor([0]))
    assert re.fullmatch(
        r"Separation of 1 mixture \(1, 6, 5\) into 2 sources \(1, 6, 5\), 1 sample of each\n  residual \S+", repr(plain)
    )


def test_sources_as_pictures(result):
    pictures = result.to_pil(1)
    wanted = (result.samples[1, 2, :, 0] * 255).round().byte().numpy()
    assert np.array_equal(np.stack([np.asarray(picture) for picture in pictures]), wanted)
    assert [picture.mode for picture in pictures] == ["L", "L"]


def test_colour():
    samples = torch.rand(1, 1, 2, 3, 4, 5)
    found = Separation(samples, SUM(samples[:, 0]), SUM, torch.tensor([0])).to_pil()
    assert (found[0].mode, found[0].size) == ("RGB", (5, 4))


def test_a_notebook_shows_every_mixture_with_its_figures(result):
    html = result._repr_html_()
    assert "Separation of 2 mixtures" in html
    shown = [Image.open(io.BytesIO(base64.b64decode(x))) for x in re.findall(r"base64,([^\"]+)", html)]
    assert len(shown) == 2
    for i in (0, 1):
        assert np.array_equal(np.asarray(shown[i]), np.asarray(result.plot(i)))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(result._repr_png_()))), np.asarray(shown[0]))
    assert not np.array_equal(np.asarray(shown[0]), np.asarray(shown[1]))


def test_many_mixtures_are_not_all_shown(result):
    many = Separation(
        result.samples[:1].expand(20, *result.samples.shape[1:]), result.mixture[:1].expand(20, 1, 6, 5), SUM,
        torch.zeros(20, dtype=torch.int64),
    )  # fmt: skip
    html = many._repr_html_()
    assert html.count("<img") == 16
    assert "and 4 more mixtures" in html


def test_save_writes_what_the_command_line_writes(result, tmp_path):
    folder = result.save(tmp_path / "new" / "out")
    names = ["panel.png", "result.json", "samples.npy", "source_1.png", "source_2.png", "sources.npy"]
    for i in (0, 1):
        own = folder / f"{i:05d}"
        assert sorted(path.name for path in own.iterdir()) == names
        assert np.array_equal(np.load(own / "sources.npy"), result.sources[i].numpy())
        facts = json.loads((own / "result.json").read_text())
        assert facts["residual"] == pytest.approx(0.01, rel=1e-3)
        assert (facts["weights"], facts["samples"], facts["unlikely"]) == ([1.0, 1.0], 3, i == 1)
        assert facts["evaluations"] == [10, 20][i]
        assert facts["versions"]["basis"] == basis.__version__


def test_save_never_overwrites(result, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    result.save(tmp_path / "out")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("mine", "out"):
        with pytest.raises(basis.UsageError):
            result.save(tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_lines_are_plotted(tmp_path):
    samples = torch.rand(1, 1, 2, 1, 7)
    found = Separation(samples, SUM(samples[:, 0]), SUM, torch.tensor([0]), data_range=(-1.0, 1.0))
    assert "into 2 sources" in repr(found)
    assert len(found.to_pil()) == 2
    found.save(tmp_path / "out")
    assert np.array_equal(np.load(tmp_path / "out" / "source_1.npy"), samples[0, 0, 0].numpy())
    assert (tmp_path / "out" / "panel.png").is_file()


def test_no_such_mixture(result):
    with pytest.raises(basis.UsageError, match="there is no mixture 2, the last is 1"):
        result.plot(2)
