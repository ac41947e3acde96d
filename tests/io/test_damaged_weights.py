"""Seeded damage to every kind of file that weights come in: refused with our own errors, and little memory is taken.

What is read nevertheless is what it was, where a checksum or hash protects it, and a prior that computes elsewhere.
"""

import copy
import json
import math
import resource
import shutil
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import basis
import tf_writer
from basis.formats.glow import GlowCheckpoint
from basis.io.checkpoint import CARD, HEADER, WEIGHTS
from basis.priors.ncsn import NCSN

MANY = pytest.mark.parametrize("cases", [20, pytest.param(300, marks=pytest.mark.slow)])
MEMORY = 300  # MB that all cases of a kind may add to the most that the process has had
NASTY = [
    0, -1, 1, 2, 7, 10**6, 10**9, 10**30, -(10**9), 0.5, -0.5, 1e300, math.nan, math.inf, True, False, None, "", "x",
    [], {}, [0], ["x"], [None], [10**9], [[1]], {"a": 1}, [1] * 1000, "1", "../x",
]  # fmt: skip


def attempt(load):
    """Return what is loaded, None where it is refused in one line with a remedy; any other exception fails the test."""
    try:
        return load()
    except basis.BasisError as error:
        text = str(error)
    assert "To fix: " in text
    assert not {"\n", "\x1b"} & set(text)
    assert len(text) < 1000
    return None


@pytest.fixture(autouse=True)
def little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024 * MEMORY


def flipped(whole, rng, most=3):
    """The bytes with a few of them changed, cut out or put in."""
    content = bytearray(whole)
    for _ in range(rng.integers(1, most + 1)):
        place = int(rng.integers(len(content)))
        action = rng.integers(4)
        if action == 0:
            content[place] ^= 1 << int(rng.integers(8))
        elif action == 1:
            content[place] = int(rng.choice([0, 127, 128, 255]))
        elif action == 2:
            del content[place : place + int(rng.integers(1, 9))]
        else:
            content[place:place] = rng.bytes(int(rng.integers(1, 9)))
        if not content:
            break
    return bytes(content) if content != whole else flipped(whole, rng, most)


def changed(value, rng):
    """JSON with one entry, anywhere in it, replaced by a nasty value, left out, or under another name."""
    value = copy.deepcopy(value)
    places = []

    def walk(part):
        for key in list(part) if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], dict | list):
                walk(part[key])

    walk(value)
    part, key = places[rng.integers(len(places))]
    action = rng.integers(5)
    if action == 0:
        del part[key]
    elif action == 1 and isinstance(part, dict):
        part[f"{key}_"] = part.pop(key)
    else:
        part[key] = NASTY[rng.integers(len(NASTY))]
    return value


def same(prior, other):
    ours, theirs = prior.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@MANY
@pytest.mark.parametrize("part", ["index", "data"])
def test_bytes_of_tensorflow_checkpoints(tmp_path, part, cases):
    rng = np.random.default_rng(0)
    index = tf_writer.write(tmp_path / "model.ckpt", tf_writer.glow())
    path = index if part == "index" else tmp_path / "model.ckpt.data-00000-of-00001"
    whole, truth = path.read_bytes(), GlowCheckpoint(0, size=4).read(index).prior
    for _ in range(cases):
        path.write_bytes(flipped(whole, rng))
        found = attempt(lambda: GlowCheckpoint(0, size=4).read(index).prior)
        assert found is None or same(found, truth)


@MANY
def test_entries_of_tensorflow_checkpoints_under_valid_checksums(tmp_path, cases):
    rng = np.random.default_rng(1)
    variables = tf_writer.glow()
    index = tf_writer.write(tmp_path / "model.ckpt", variables)
    offset, pairs = 0, [(b"", tf_writer.field(1, 1))]
    for name, array in sorted(variables.items()):
        pairs.append((name.encode(), tf_writer.entry(array, offset)))
        offset += array.nbytes
    truth = GlowCheckpoint(0, size=4).read(index).prior
    read = 0
    for _ in range(2 * cases):
        place, half = rng.integers(len(pairs)), rng.integers(2)
        pair = list(pairs[place])
        pair[half] = flipped(pair[half] or b"\0", rng, most=1)
        index.write_bytes(tf_writer.table([*pairs[:place], tuple(pair), *pairs[place + 1 :]]))
        found = attempt(lambda: GlowCheckpoint(0, size=4).read(index).prior)
        assert found is None or same(found, truth)
        read += found is not None
    assert read < 0.5 * cases


def loadable(folder, x):
    """Load a prior; what is not refused computes."""
    prior = attempt(lambda: basis.load_prior(folder))
    if prior is None:
        return None
    if x.shape[1:] == prior.shape:
        assert prior.score(x, (prior.levels or [0.3])[0]).shape == x.shape
    return prior


@MANY
def test_headers(edm, arguments, tmp_path, cases):
    rng = np.random.default_rng(2)
    path = basis.save_prior(edm, arguments, tmp_path / "prior") / WEIGHTS
    (path.parent / CARD).unlink()
    tensors, x = load_file(path), torch.zeros(1, 1, 8, 8)
    head = {"prior": "edm", "arguments": arguments}
    kept = 0
    for _ in range(2 * cases):
        save_file(tensors, path, {HEADER: json.dumps(changed(head, rng))})
        kept += loadable(path, x) is not None
    assert kept < cases


@MANY
def test_bytes_of_our_files(edm, arguments, tmp_path, cases):
    rng = np.random.default_rng(3)
    path = basis.save_prior(edm, arguments, tmp_path / "prior") / WEIGHTS
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    for _ in range(cases):
        path.write_bytes(flipped(whole, rng))
        assert attempt(lambda: basis.load_prior(path)) is None  # its hash is on the card
    (path.parent / CARD).unlink()
    for _ in range(cases):
        path.write_bytes(flipped(whole[: 8 + length], rng) + whole[8 + length :])
        attempt(lambda: basis.load_prior(path))


@MANY
def test_cards(edm, arguments, tmp_path, cases):
    rng = np.random.default_rng(4)
    card = basis.save_prior(edm, arguments, tmp_path / "prior", {"steps": 3, "recipe": {"a": [1, 2]}}) / CARD
    whole = json.loads(card.read_text())
    for i in range(cases):
        card.write_bytes(
            json.dumps(changed(whole, rng)).encode() if i % 2 else flipped(json.dumps(whole).encode(), rng)
        )
        found = attempt(lambda: basis.load_prior(card.parent))
        assert found is None or same(found, edm)


@MANY
def test_pickles(tmp_path, cases):
    rng = np.random.default_rng(5)
    torch.manual_seed(0)
    path = tmp_path / "c.pth"
    for legacy in (False, True):
        state = NCSN([1, 28, 28], width=1).network.state_dict()
        others = {"lr": np.float64(0.1)}
        torch.save([state, others], path, _use_new_zipfile_serialization=not legacy)
        whole = path.read_bytes()
        for _ in range(cases // 2):
            path.write_bytes(flipped(whole, rng))
            attempt(lambda: basis.load_prior(path))
        for _ in range(cases // 2):  # in the pickle itself, which comes first
            path.write_bytes(flipped(whole[:5000], rng) + whole[5000:])
            attempt(lambda: basis.load_prior(path))


@MANY
def test_configs_of_pipelines(tmp_path, cases):
    diffusers = pytest.importorskip("diffusers")
    rng = np.random.default_rng(6)
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=[4, 8], norm_num_groups=2, layers_per_block=1,
        down_block_types=["DownBlock2D", "AttnDownBlock2D"], up_block_types=["AttnUpBlock2D", "UpBlock2D"],
        attention_head_dim=4,
    )  # fmt: skip
    source, x = tmp_path / "whole", torch.zeros(1, 1, 8, 8)
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(num_train_timesteps=50)).save_pretrained(source)
    for name in ("unet/config.json", "scheduler/scheduler_config.json", "model_index.json"):
        folder = shutil.copytree(source, tmp_path / name.partition("/")[0])
        whole = json.loads((source / name).read_text())
        for _ in range(cases):
            (folder / name).write_text(json.dumps(changed(whole, rng)))
            loadable(folder, x)
