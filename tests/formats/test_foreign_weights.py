"""Weights as people have them: read right, asked for what they do not say, or refused in a line with a remedy."""

import contextlib
import json
import math
import os
import shutil
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import basis
import tf_writer
from basis.formats.glow import GlowCheckpoint
from basis.formats.ncsn import NCSNCheckpoint
from basis.io.checkpoint import CARD, HEADER, WEIGHTS
from basis.priors.ncsn import NCSN

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
LEVELS = [1.0, 0.59948425, 0.35938137, 0.21544347, 0.12915497, 0.07742637, 0.04641589, 0.02782559, 0.01668101, 0.01]


def refused(call, *parts, error=basis.BasisError):
    """The call raises one of our errors, in one line with a remedy that names all of the parts."""
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) < 700
    assert "To fix: " in text
    assert [part for part in parts if part not in text] == [], text


# NCSN


@pytest.fixture
def network():
    torch.manual_seed(0)
    return NCSN([1, 28, 28], width=4).eval().requires_grad_(False).network


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


X = torch.linspace(0, 1, 784).reshape(1, 1, 28, 28)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_compiled_and_parallel_networks(network, tmp_path, prefix):
    path = saved(tmp_path / "c.pth", [{prefix + key: value for key, value in network.state_dict().items()}, {}])
    prior = basis.load_prior(path)
    assert torch.equal(prior.score(X, 1.0), network(2 * X - 1, torch.tensor([0])))


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("legacy", [False, True])
def test_what_is_not_weights_is_not_opened(network, tmp_path, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    others = {"param_groups": [{"lr": np.float64(1e-3), "what": np.dtype("f4")}], "state": {0: {"step": np.int64(3)}}}
    state = network.state_dict()
    path = saved(tmp_path / "c.pth", [state, others], _use_new_zipfile_serialization=not legacy)
    assert torch.equal(basis.load_prior(path).score(X, 1.0), network(2 * X - 1, torch.tensor([0])))
    saved(path, [state, Bomb()], _use_new_zipfile_serialization=not legacy)
    with contextlib.suppress(basis.DataError):  # read with a stand-in, or refused: torch bars some names
        basis.load_prior(path)
    assert not (tmp_path / "ran").exists()


def test_git_lfs_pointers(edm, arguments, tmp_path):
    (tmp_path / "c.pth").write_bytes(POINTER)
    refused(lambda: basis.load_prior(tmp_path / "c.pth"), "is a Git LFS pointer, not the file", "git lfs pull")
    folder = basis.save_prior(edm, arguments, tmp_path / "prior")
    (folder / CARD).unlink()
    (folder / WEIGHTS).write_bytes(POINTER)
    refused(lambda: basis.load_prior(folder), "is a Git LFS pointer", "git lfs pull")


def test_averaged_weights_alone_do_not_say_their_levels(tmp_path):
    torch.manual_seed(0)
    state = NCSN([3, 32, 32], width=4, version=2).network.state_dict()
    path = saved(tmp_path / "ema.pth", state)
    refused(lambda: basis.load_prior(path), "averaged weights of NCSNv2 alone", "--set sigmas=")
    refused(lambda: NCSNCheckpoint(sigmas=[1.0, 0.1]).read(path), "does not say the size", "--set size=64")
    assert NCSNCheckpoint(sigmas=[1.0, 0.1], size=16).read(path).prior.levels == (1.0, 0.1)
    sigmas = torch.logspace(1.7, -2, 232)
    saved(path, {**state, "sigmas": sigmas})  # as published for CIFAR-10
    assert basis.load_prior(path).shape == (3, 32, 32)


def test_another_number_of_levels_than_published(tmp_path):
    path = saved(tmp_path / "c.pth", NCSN([1, 28, 28], width=4, sigmas=[1.0, 0.5, 0.1]).network.state_dict())
    refused(lambda: basis.load_prior(path), "an NCSN of 3 levels", "--set sigmas=")
    assert NCSNCheckpoint(sigmas=[1.0, 0.5, 0.1]).read(path).prior.levels == (1.0, 0.5, 0.1)


@pytest.mark.parametrize("sigmas", [[1.0, 0.0], [1.0, math.nan], [0.1, 1.0], [math.inf, 1.0], [1.0, -0.1], [1.0, 1.0]])
def test_levels_that_are_none(tmp_path, sigmas):
    state = NCSN([3, 32, 32], width=4, version=2).network.state_dict()
    path = saved(tmp_path / "c.pth", {**state, "sigmas": torch.tensor(sigmas)})
    refused(lambda: NCSNCheckpoint(size=32).read(path), "expected decreasing positive ones", "--set sigmas=")
    refused(lambda: NCSNCheckpoint(size=32, sigmas=sigmas).read(path))
    refused(lambda: NCSNCheckpoint(size=32, sigmas=["a", "b"]).read(path))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(network, edm, arguments, tmp_path, value):
    state = network.state_dict()
    state["end_conv.bias"][0] = value
    refused(lambda: basis.load_prior(saved(tmp_path / "c.pth", state)), "NaN or infinite", "end_conv.bias")
    edm.network.enter.weight[0, 0, 0, 0] = value
    folder = basis.save_prior(edm, arguments, tmp_path / "prior")
    refused(lambda: basis.load_prior(folder), "NaN or infinite", "network.enter.weight")
    variables = tf_writer.glow()
    variables["model/0/0/f1/l_2/W"][0] = value
    index = tf_writer.write(tmp_path / "model.ckpt", variables)
    refused(lambda: GlowCheckpoint(0, size=4).read(index), "NaN or infinite", "l_2.weight")


def test_tensors_larger_than_their_file(network, tmp_path):
    """One number seen as a network of 4 TB, and an archive that unpacks to more than it is."""
    wide = {key: value.new_zeros(1).expand(value.shape) for key, value in network.state_dict().items()}
    wide["begin_conv.weight"] = torch.zeros(1).expand(10**9, 1, 3, 3)
    refused(lambda: basis.load_prior(saved(tmp_path / "c.pth", wide)), "describes tensors of", "bytes")
    whole = saved(tmp_path / "whole.pth", {"begin_conv.weight": torch.zeros(10**5)})
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "p.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    refused(lambda: basis.load_prior(tmp_path / "p.pth"), "unpacks to", "bytes")


@pytest.mark.parametrize(
    "content", [[], {}, 3, None, [None], [[]], [{"a": 1}], "text", torch.nn.Linear(1, 1), [{1: torch.zeros(1)}],
                [{"begin_conv.weight": torch.zeros(4, 1, 3, 3).to_sparse()}], [{"begin_conv.weight": torch.zeros(4)}]]
)  # fmt: skip
def test_other_things_that_torch_saved(tmp_path, content):
    refused(lambda: basis.load_prior(saved(tmp_path / "c.pth", content)), "c.pth")


# TensorFlow


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_glows_of_other_precisions(tmp_path, dtype):
    index = tf_writer.write(tmp_path / "model.ckpt", tf_writer.glow(dtype))
    prior = GlowCheckpoint(0, size=4).read(index).prior
    expected = tf_writer.glow(dtype)["model/0/0/invconv/W"].astype(np.float32)
    assert prior.networks[0].steps[0][0].mix.W.dtype == torch.float32
    np.testing.assert_array_equal(prior.networks[0].steps[0][0].mix.W.numpy(), expected)


def test_formats_of_tensorflow_that_are_not_read(tmp_path):
    variables = tf_writer.glow()
    index = tf_writer.write(tmp_path / "model.ckpt", variables)
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(index, old / "model.ckpt")  # in the format V1 a table is the whole checkpoint
    for source in (old / "model.ckpt", old):
        refused(
            lambda source=source: GlowCheckpoint(0).read(source), "the old format V1, expected V2", "load_checkpoint"
        )
    change = {"model/0/0/invconv/W": {"extra": tf_writer.field(7, b"\x0a\x00")}}
    tf_writer.write(tmp_path / "model.ckpt", variables, change=change)
    refused(lambda: GlowCheckpoint(0).read(index), "partitioned variables, expected whole ones", "load_checkpoint")


def huge(name, count=10**6):
    return {f"model/{name.format(i)}/actnorm_center/b": np.zeros((1, 1, 1, 4), np.float32) for i in (0, count - 1)}


INDICES = {
    "a billion values": {"model/0/0/invconv/W": {"shape": (10**9, 10**9)}},
    "negative": {"model/0/0/invconv/W": {"shape": (2**64 - 1, 4)}},
    "offset": {"model/0/0/invconv/W": {"offset": 2**62}},
    "size": {"model/0/0/invconv/W": {"size": 2**40}},
    "another shape": {"model/0/0/invconv/W": {"shape": (2, 8)}},
    "shard": {"model/0/0/invconv/W": {"shard": 7}},
    "text": {"model/0/0/invconv/W": {"kind": 7}},
    "whole numbers": {"model/0/0/invconv/W": {"kind": 3}},
    "integers of another size": {"model/0/0/invconv/W": {"kind": 9}},
    "checksum": {"model/0/0/invconv/W": {"checksum": 0}},
    "a shape of the wrong kind": {"model/0/0/invconv/W": {"shape": (), "extra": tf_writer.field(2, 3)}},
    "an offset of the wrong kind": {"model/0/0/invconv/W": {"extra": tf_writer.field(4, b"abc")}},
    "cut": {"model/0/0/invconv/W": {"extra": b"\x0a\xff"}},
    "a group": {"model/0/0/invconv/W": {"extra": b"\x0b"}},
}


@pytest.mark.parametrize("case", INDICES)
def test_indices_that_ask_for_the_world(tmp_path, case):
    index = tf_writer.write(tmp_path / "model.ckpt", tf_writer.glow(), change=INDICES[case])
    refused(lambda: GlowCheckpoint(0, size=4).read(index), "model.ckpt", error=basis.DataError)


@pytest.mark.parametrize("name", ["0/{}", "{}/0"])
def test_depths_of_a_million(tmp_path, name):
    index = tf_writer.write(tmp_path / "model.ckpt", tf_writer.glow() | huge(name))
    refused(lambda: GlowCheckpoint(0, size=4).read(index), "is not a Glow", error=basis.DataError)


@pytest.mark.parametrize("header", [tf_writer.field(1, 0), tf_writer.field(1, 10**9), tf_writer.field(2, 1), b"\xff"])
def test_headers_of_indices(tmp_path, header):
    index = tf_writer.write(tmp_path / "model.ckpt", tf_writer.glow(), header=header)
    refused(lambda: GlowCheckpoint(0, size=4).read(index), "is not the index", error=basis.DataError)


# Our own files


def header(folder, change):
    """Write the weights again, without a card, under a changed header."""
    path = folder / WEIGHTS
    tensors = load_file(path)
    with open(path, "rb") as file:
        metadata = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))["__metadata__"]
    (folder / CARD).unlink(missing_ok=True)
    save_file(tensors, path, {HEADER: json.dumps(change(json.loads(metadata[HEADER])))})
    return folder


def arguments_of(**changes):
    return lambda head: {**head, "arguments": {**head["arguments"], **changes}}


HEADERS = {
    "blocks": arguments_of(blocks=[10**6, 1]),
    "widths": arguments_of(widths=[10**9, 16]),
    "both": arguments_of(widths=[10**5] * 40, blocks=[10**5] * 40, attention=[True] * 40),
    "borders": arguments_of(borders=[1 / (i + 1) for i in range(10**4)]),
    "shape": arguments_of(shape=[1, 10**9, 10**9]),
    "patch": arguments_of(patch=10**8, shape=[1, 2**15, 2**15]),
    "classes": arguments_of(classes=10**10),
    "reads": arguments_of(reads=[10**9, 10**9], known=[[1.0]]),
    "std": arguments_of(std=0),
    "mean": arguments_of(mean=math.nan),
    "text": arguments_of(widths="many"),
    "unknown": arguments_of(colour="red"),
    "glow": lambda head: {"prior": "glow", "arguments": {"shape": [1, 2**20, 8], "depth": 10**6, "levels": [1.0]}},
    "scales": lambda head: {"prior": "glow", "arguments": {"shape": [1, 8, 8], "scales": 10**6}},
    "ncsn": lambda head: {"prior": "ncsn", "arguments": {"shape": [1, 28, 28], "width": 10**6}},
    "sigmas": lambda head: {"prior": "ncsn", "arguments": {"shape": [1, 28, 28], "width": 4, "sigmas": [0.1, 1.0]}},
    "no class": lambda head: {"prior": "none", "arguments": {}},
    "class of another kind": lambda head: {"prior": ["edm"], "arguments": {}},
    "no arguments": lambda head: {"prior": "edm"},
    "arguments of another kind": lambda head: {"prior": "edm", "arguments": [1]},
    "list": lambda head: [1, 2],
    "path": lambda head: {"prior": "../../os", "arguments": {}},
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_ask_for_the_world(edm, arguments, tmp_path, case):
    folder = header(basis.save_prior(edm, arguments, tmp_path / "prior"), HEADERS[case])
    refused(lambda: basis.load_prior(folder), WEIGHTS)


CARDS = {
    "deep": "[" * 10**6,
    "deep object": '{"a":' * 10**5,
    "list": "[]",
    "bytes": b"\xff\xfe\x00",
    "empty": "",
    "large": '{"a": "' + "x" * 2**24 + '"}',
    "hash of another kind": '{"sha256": [1]}',
    "hash that is no number": '{"sha256": NaN}',
}


@pytest.mark.parametrize("case", CARDS)
def test_cards_that_are_none(edm, arguments, tmp_path, case):
    folder = basis.save_prior(edm, arguments, tmp_path / "prior")
    content = CARDS[case]
    (folder / CARD).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(lambda: basis.load_prior(folder), str(folder), error=basis.DataError)


def test_a_deep_header(edm, arguments, tmp_path):
    path = basis.save_prior(edm, arguments, tmp_path / "prior") / WEIGHTS
    (path.parent / CARD).unlink()
    save_file(load_file(path), path, {HEADER: "[" * 10**5})
    refused(lambda: basis.load_prior(path), "does not describe a prior", error=basis.DataError)


@pytest.mark.parametrize("size", [0, 7, 2**63 - 1, 10**7])
def test_safetensors_whose_sizes_disagree(edm, arguments, tmp_path, size):
    path = basis.save_prior(edm, arguments, tmp_path / "prior") / WEIGHTS
    (path.parent / CARD).unlink()
    path.write_bytes(struct.pack("<Q", size) + path.read_bytes()[8:])
    refused(lambda: basis.load_prior(path), "is not a safetensors file", error=basis.DataError)


def test_weights_of_another_kind_of_number(edm, arguments, tmp_path):
    path = basis.save_prior(edm, arguments, tmp_path / "prior") / WEIGHTS
    (path.parent / CARD).unlink()
    tensors = load_file(path)
    with open(path, "rb") as file:
        metadata = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))["__metadata__"]
    save_file({**tensors, "network.enter.weight": tensors["network.enter.weight"].long()}, path, metadata)
    refused(lambda: basis.load_prior(path), "network.enter.weight is int64, expected float32", error=basis.DataError)


def test_a_prior_with_a_compiled_network_is_saved_and_loaded(edm, arguments, tmp_path):
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = edm.score(x, 0.3)
    edm.network = torch.compile(edm.network, backend="eager")
    assert torch.equal(basis.load_prior(basis.save_prior(edm, arguments, tmp_path)).score(x, 0.3), before)


@pytest.mark.parametrize("wrap", [torch.compile, torch.nn.DataParallel])
def test_wrapped_priors(edm, wrap):
    mixture = torch.zeros(1, 8, 8)
    mixing = basis.WeightedSum([1.0, 1.0])
    fix = "Accelerated" if wrap is torch.compile else ".module"
    refused(lambda: basis.separate(mixture, wrap(edm), mixing), "expected a prior", fix, error=basis.UsageError)
    refused(lambda: basis.load_prior(wrap(edm)), "expected the name, folder or file", error=basis.UsageError)


# Glow with one network in memory


def test_one_network_at_a_time_wants_all_of_them(tmp_path):
    from basis.priors.glow import Glow

    arguments = {"shape": [1, 4, 4], "scales": 1, "depth": 1, "width": 2, "levels": [1.0, 0.1]}
    folder = basis.save_prior(Glow(**arguments), arguments, tmp_path)
    assert Glow.one_at_a_time(folder).levels == (1.0, 0.1)
    header(folder, arguments_of(levels=[1.0, 0.5, 0.1]))
    refused(lambda: Glow.one_at_a_time(folder), "the 3 networks that it describes", error=basis.DataError)
    header(folder, arguments_of(depth=10**6))
    refused(lambda: Glow.one_at_a_time(folder), "larger network", error=basis.DataError)
