"""Published Glow checkpoints: files that TensorFlow wrote, and figures that it computed (`reference_glow.py`)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import basis
from basis.cli import app
from basis.formats import _crc32c
from basis.formats._bundle import Bundle
from basis.formats._crc32c import crc32c
from basis.formats.glow import GlowCheckpoint
from basis.io.checkpoint import read_card
from basis.priors.glow import Glow
from reference_glow import CASES

DATA = Path(__file__).parents[1] / "data" / "glow"
PREFIX = "model_best_loss.ckpt"


def read(source, **settings):
    return GlowCheckpoint(**{"size": 8, "sigma": 0, **settings}).read(source)


def refused(error, message, *arguments, **settings):
    with pytest.raises(error, match=message) as caught:
        read(*arguments, **settings)
    assert "\n" not in str(caught.value)
    assert "To fix: " in str(caught.value)


@pytest.fixture
def copy(tmp_path):
    """A copy of a checkpoint's folder, to be changed."""

    def make(case="affine", name="copy"):
        shutil.copytree(DATA / case, tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.parametrize(("case", "top"), [("affine", "learned"), ("affine", "standard"), ("additive_lu", "standard")])
def test_parity_with_the_reference(case, top):
    reference = np.load(DATA / case / "reference.npz")
    prior = read(DATA / case, learned_top=top == "learned").prior
    x = torch.from_numpy(reference["x"])
    for mode in (prior.eval(), prior.train()):  # weights prepared or not
        nats = mode.log_prob(x, 0.0).double().numpy()
        np.testing.assert_allclose(nats, reference[f"{top}_log_prob"], rtol=2e-6)
        difference = mode.score(x, 0.0).double().numpy() - reference[f"{top}_score"]
        assert np.linalg.norm(difference) < 1e-5 * np.linalg.norm(reference[f"{top}_score"])
    prior.eval()
    torch.testing.assert_close(prior.decode(prior.encode(x)[0]), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_sizes_follow_from_the_variables(case):
    scales, depth, width, side, affine, lu, top, _ = CASES[case]
    expected = {"shape": [3, side, side], "scales": scales, "depth": depth, "width": width, "affine": affine}
    found = read(DATA / case)
    assert found.arguments == {**expected, "lu": lu, "learned_top": top, "levels": [0.0]}
    assert json.loads(json.dumps(found.arguments)) == found.arguments
    assert ("affine" if affine else "additive") in found.card["summary"]
    assert not any(parameter.requires_grad for parameter in found.prior.parameters())


def test_every_way_to_name_it(copy):
    folder = copy()
    expected = read(folder).prior.state_dict()
    for source in (str(folder), folder / PREFIX, str(folder / f"{PREFIX}.index")):
        found = read(source).prior.state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    for ending in (".index", ".data-00000-of-00001"):
        shutil.copy(folder / (PREFIX + ending), folder / f"older.ckpt{ending}")
    assert read(folder).prior.shape == (3, 8, 8)  # TensorFlow's note says which is the newest
    (folder / "checkpoint").unlink()
    refused(basis.UsageError, r"holds 2 checkpoints.*older\.ckpt", folder)


def test_one_folder_a_noise_level(copy, tmp_path):
    sigmas = [0.01, 0.0167, 1.0, 0.0]
    for sigma in sigmas:
        copy(name=f"all/mnist_sigma_{sigma}")
    found = read(tmp_path / "all", sigma=None)
    assert found.arguments["levels"] == [1.0, 0.0167, 0.01, 0.0]
    assert found.prior.levels == (1.0, 0.0167, 0.01)
    reference = np.load(DATA / "affine" / "reference.npz")
    for sigma in sigmas:
        nats = found.prior.log_prob(torch.from_numpy(reference["x"]), sigma).numpy()
        np.testing.assert_allclose(nats, reference["learned_log_prob"], rtol=2e-6)
    given = read(tmp_path / "all", sigma=[0.5, 0.4, 0.3, 0.2])
    assert given.arguments["levels"] == [0.5, 0.4, 0.3, 0.2]
    refused(basis.UsageError, "got 1 noise levels for 4 checkpoints", tmp_path / "all", sigma=0.5)
    refused(basis.UsageError, "noise levels of .* are not clear", tmp_path / "all", sigma=[0.5, 0.4, 0.3, 0.3])
    copy(name="all/base")
    refused(basis.UsageError, "noise levels of base, .* are not clear", tmp_path / "all", sigma=None)
    shutil.rmtree(tmp_path / "all" / "base")
    copy("additive_lu", name="all/sigma_2.5")
    refused(basis.DataError, r"has another size than .*sigma_2\.5", tmp_path / "all", sigma=None)


def test_the_command(copy, tmp_path):
    folder, out = copy("additive_lu"), tmp_path / "out"
    run = CliRunner().invoke(app, ["import", "glow", str(folder), str(out), "--sigma", "0.01", "--set", "size=8"])
    assert run.exit_code == 0, run.output
    prior = basis.load_prior(out)
    assert isinstance(prior, Glow)
    assert prior.levels == (0.01,)
    reference = np.load(DATA / "additive_lu" / "reference.npz")
    nats = prior.log_prob(torch.from_numpy(reference["x"]), 0.01).numpy()
    np.testing.assert_allclose(nats, reference["standard_log_prob"], rtol=2e-6)
    assert read_card(out / "model.safetensors")["summary"] == "Glow, 2 scales, depth 1, width 6, additive"


def test_load_prior_reads_it_directly(copy):
    with pytest.raises(basis.UsageError, match=r"does not say the noise level .* give --sigma"):
        basis.load_prior(copy("affine") / f"{PREFIX}.index")
    folder = copy("affine", name="mnist_sigma_0.1")
    with pytest.raises(basis.UsageError, match="expected the side of the images, got size None"):
        basis.load_prior(folder / f"{PREFIX}.index")  # two scales: no published model has that
    assert read(folder, sigma=None).prior.levels == (0.1,)


def change(monkeypatch, function):
    """Let checkpoints hold other variables than they do."""
    entries, read_one = Bundle.__init__, Bundle.read

    def init(self, prefix):
        entries(self, prefix)
        self.changed = {name: read_one(self, name) for name in self.entries}  # arrays have shapes, as entries have
        function(self.changed)
        self.entries = self.changed

    monkeypatch.setattr(Bundle, "__init__", init)
    monkeypatch.setattr(Bundle, "read", lambda self, name: self.changed[name])


CHANGES = {
    "missing": (lambda v: v.pop("model/1/0/f1/l_2/W"), "missing: 1/0/f1/l_2/W"),
    "left over": (lambda v: v.update({"model/1/0/f2/W": np.zeros(1)}), "left over: 1/0/f2/W"),
    "misshapen": (
        lambda v: v.update({"model/0/1/f1/l_1/W": np.zeros((3, 3, 6, 8))}),
        r"misshapen: 0/1/f1/l_1/W \(3, 3",
    ),
    "all": (
        lambda v: (v.pop("model/pool0/conv/b"), v.update({"model/prior/y_emb": np.zeros((10, 3))})),
        "missing: pool0/conv/b; left over: prior/y_emb",
    ),
    "permutation": (lambda v: v.pop("model/0/0/invconv/W"), "missing: 0/0/invconv/W"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_variables_that_do_not_fit(case, monkeypatch):
    function, message = CHANGES[case]
    change(monkeypatch, function)
    refused(basis.DataError, f"is not a Glow as published: {message}", DATA / "affine")


def test_scopes(monkeypatch):
    change(monkeypatch, lambda v: v.update({f"church/{k}": w for k, w in v.items() if k.startswith("model/")}))
    refused(basis.UsageError, r"holds several models.*scope= or church", DATA / "affine")
    for scope in ("", "church", "church/"):
        assert read(DATA / "affine", scope=scope).arguments["depth"] == 2
    refused(basis.DataError, "holds no variables bedroom/model/", DATA / "affine", scope="bedroom")


def test_other_checkpoints(monkeypatch, tmp_path):
    change(monkeypatch, lambda v: [v.pop(name) for name in list(v) if "/f1/" in name])
    refused(basis.DataError, "is not a Glow", DATA / "affine")
    refused(basis.UsageError, "no checkpoint at", tmp_path / "nothing")
    refused(basis.UsageError, "holds no checkpoint", tmp_path)


def test_damaged_files(copy):
    folder = copy()
    data, index = folder / f"{PREFIX}.data-00000-of-00001", folder / f"{PREFIX}.index"
    whole = data.read_bytes()
    data.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    refused(basis.DataError, "is damaged at variable .*checksum", folder)
    data.write_bytes(whole[:5000])
    refused(basis.DataError, "is damaged at variable", folder)
    data.unlink()
    refused(basis.DataError, r"cannot be read \(No such file", folder)
    whole = index.read_bytes()
    for content in (b"", b"text" * 100, whole[:-1], whole[:300], whole[:200] + b"x" + whole[201:], whole[100:]):
        index.write_bytes(content)
        refused(basis.DataError, "is not the index of a TensorFlow checkpoint", folder)


def test_checksums():
    # RFC 3720, appendix B.4, and byte by byte.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    content = np.random.default_rng(0).bytes(5000)
    register = 0xFFFFFFFF
    for size, byte in enumerate(content):
        if size < 70 or size in (255, 256, 257, 1023, 1024, 4095, 4096, 4097):
            assert crc32c(content[:size]) == register ^ 0xFFFFFFFF
        register = int(_crc32c.TABLE[(register ^ byte) & 255]) ^ register >> 8
