"""Every error of `basis separate` is one line with a remedy, and nothing half-written stays."""

import errno
import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from basis.io import checkpoint
from cli.shared import FILES, MIXTURE, PIXELS, content, fails


class Exploit:
    def __reduce__(self):
        return (print, ("this must never run",))


def write_bytes(text):
    return lambda path: path.write_bytes(text)


def truncated(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-40])


def saved_image(*size):
    return lambda path: Image.fromarray(np.random.default_rng(0).integers(0, 256, size, np.uint8)).save(path)


def saved(array, save=np.save):
    return lambda path: save(path, array)


def with_nan(path):
    broken = MIXTURE.copy()
    broken[0, 3, 3] = np.nan
    np.save(path, broken)


BAD = {
    "missing.png": (lambda path: None, ["does not exist", "check the path"]),
    "text.png": (write_bytes(b"This is no image."), ["is not an image that can be read", "give one of", ".png"]),
    "truncated.png": (truncated, ["is damaged or cannot be read"]),
    "bomb.png": (saved_image(700, 700), ["unpacks to too many pixels", "shrink it"]),
    "small-bomb.png": (saved_image(500, 500), ["unpacks to too many pixels", "shrink it"]),
    "wide.png": (saved_image(5, 9), ["is 9×5 pixels, the prior takes 8×8", "--resize"]),
    "colour.png": (saved_image(8, 8, 3), ["is a colour image, the prior takes grey ones", "convert it to grey"]),
    "shape.npy": (saved(np.zeros((3, 8, 8))), ["has shape (1, 3, 8, 8), the prior takes 1×8×8"]),
    "line.npy": (saved(np.zeros(64)), ["has shape (64,), the prior takes 1×8×8"]),
    "none.npy": (saved(np.zeros((0, 1, 8, 8))), ["has shape (0, 1, 8, 8)"]),
    "nan.npy": (with_nan, ["has NaN or infinite values", "replace them"]),
    "infinite.npy": (saved(np.full((1, 8, 8), 1e300)), ["has NaN or infinite values", "replace them"]),
    "bytes.npy": (saved(PIXELS), ["values from 40 to", "expected 0 to 2", "divide by 255"]),
    "negative.npy": (saved(np.full((1, 8, 8), -1.0)), ["values from -1 to -1, expected 0 to 2"]),
    "objects.npy": (saved(np.array([Exploit()])), ["cannot be read as an array", "save one numeric array"]),
    "words.npy": (saved(np.array(["a", "b"])), ["is an array of <U1, expected real numbers", "convert it"]),
    "pickled.pt": (saved(Exploit(), lambda path, value: torch.save(value, path)), ["holds more than tensors"]),
    "number.pt": (saved({"mixture": 3}, lambda path, value: torch.save(value, path)), ["holds a int, not a tensor"]),
    "other.pt": (saved({"x": 3}, lambda path, value: torch.save(value, path)), ["under the name 'mixture'"]),
    "other.npz": (lambda path: np.savez(path, x=MIXTURE, y=MIXTURE), ["mixture", "under the name 'mixture'"]),
    "empty.npy": (write_bytes(b""), ["cannot be read as an array"]),
    "empty.npz": (write_bytes(b""), ["cannot be read as an array"]),
    "empty.pt": (write_bytes(b""), ["cannot be read as an array"]),
    "garbage.pt": (write_bytes(b"garbage" * 9), ["garbage.pt"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input(separate, image, array, out, tmp_path, monkeypatch, name):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
    make, parts = BAD[name]
    make(tmp_path / name)
    result = separate(image, tmp_path / name, array)
    fails(result, 1, str(tmp_path / name), *parts)
    assert result.err[1:] == ["basis: 1 of 3 inputs failed"]
    assert "never run" not in result.out
    assert sorted(path.name for path in out.iterdir()) == ["array", "image"]
    assert sorted(content(out)) == [f"{folder}/{file}" for folder in ("array", "image") for file in FILES]


def test_an_array_that_unpacks_to_too_much(separate, tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", mixture=np.zeros((1, 512, 512)))
    monkeypatch.setenv("BASIS_MAX_GIB", "0.001")
    fails(
        separate(tmp_path / "bomb.npz"),
        1,
        "unpacks to 0.00195 GiB, more than the limit of 0.001 GiB",
        "BASIS_MAX_GIB=1",
    )


def test_a_header_that_asks_for_too_much(separate, tmp_path):
    np.save(tmp_path / "huge.npy", MIXTURE)
    content = (tmp_path / "huge.npy").read_bytes()
    (tmp_path / "huge.npy").write_bytes(content.replace(b"(1, 8, 8), }" + b" " * 12, b"(9000000000000, 8, 8), }"))
    fails(separate(tmp_path / "huge.npy"), 1, "huge.npy cannot be read as an array")


USAGE = {
    "--weights 1,2,3 -k 2": ["got 3 weights for 2 sources", "one weight a source"],
    "--weights 0,0": ["not all zero"],
    "--weights 1;2": ["expected numbers a,b,… got --weights 1;2", "--weights 0.3,0.7"],
    "--weights nan,1": ["finite"],
    "--sources 0": ["expected at least one source, got --sources 0", "--sources 2"],
    "--set sigma_min=0": ["sigma_min 0,", "choose positive noise levels"],
    "--set sigma_min=-1": ["sigma_min -1,", "choose positive noise levels"],
    "--set sigma_max=1e-3": ["sigma_max 0.001", "choose positive noise levels"],
    "--set temperature": ["expected NAME=VALUE, got --set temperature", "--set temperature=0"],
    "--set temprature=0": ["unknown setting of method 'basis': 'temprature'", "did you mean temperature?"],
    "--method bassis": ["unknown method 'bassis'", "did you mean basis?"],
    "--method zzz": ["unknown method 'zzz'", "choose one of adversarial, average, basis"],
    "--method qualty": ["unknown method 'qualty'", "did you mean quality?"],
    "--prior tinny": ["unknown prior 'tinny'", "did you mean tiny?"],
    "--prior tiny,tiny,tiny": ["got 3 priors for 2 sources", "one a source"],
    "--device tpu": ["device 'tpu' is not available here", "use device cpu"],
    "--precision bf8": ["unknown precision 'bf8'", "bf16"],
}


@pytest.mark.parametrize("arguments", USAGE)
def test_usage(separate, image, out, prior, monkeypatch, arguments):
    monkeypatch.setattr(checkpoint, "PRETRAINED", Path(prior).parent)
    result = separate(image, *arguments.split())
    fails(result, 2, *USAGE[arguments])
    assert len(result.err) == 1
    assert not out.exists()


@pytest.mark.parametrize("arguments", ["--samples 0", "--seed -1", "--steps 0", "--levels 0", "--set delta=-1"])
def test_numbers_out_of_range(separate, image, out, arguments):
    result = separate(image, *arguments.split())
    assert (result.code, len(result.err), out.exists()) == (2, 1, False)
    assert result.err[0].startswith("basis: ")
    assert arguments.split()[-1].rpartition("=")[2] in result.err[0]


def test_a_folder_without_inputs(separate, tmp_path):
    (tmp_path / "empty").mkdir()
    fails(separate(tmp_path / "empty"), 2, "holds no image and no array", "give files")


def test_unknown_options_are_usage_errors(cli, image):
    for arguments in (
        ["separate", image, "--sedd", 3],
        ["separate"],
        ["seperate", image],
        ["separate", image, "-k", "x"],
    ):
        assert cli(*arguments).code == 2


def test_a_prior_that_is_not_one(separate, image, out, tmp_path, prior):
    fails(separate(image, "--prior", image), 1, "image.png is not a safetensors file", "`basis train`")
    fails(separate(image, "--prior", tmp_path), 2, "has no model.safetensors", "`basis train`")
    copy = tmp_path / "changed"
    copy.mkdir()
    for path in Path(prior).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "card.json").write_text(json.dumps({"sha256": "0" * 64}))
    fails(separate(image, "--prior", copy), 1, "has sha256", "expected 0000000000000000…", "fetch or train")
    assert not out.exists()


# Writing that fails


def test_a_folder_that_cannot_be_made(separate, image, array):
    result = separate(image, "--out", array / "out")
    fails(result, 2, f"cannot write into {array / 'out'}", "(Not a directory)", "choose another --out")


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def half_an_image(self, file, *_, **__):
    Path(file).write_bytes(b"half")
    full()


WRITES = {
    "array": (np, "save", full),
    "image": (Image.Image, "save", half_an_image),
    "flush": (os, "fsync", full),
    "rename": (os, "rename", full),
}


@pytest.mark.parametrize("kind", WRITES)
def test_a_full_disk(separate, image, array, out, monkeypatch, kind):
    separate(image)
    before = content(out)
    owner, name, replacement = WRITES[kind]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, replacement)
        result = separate(image, array, "--seed", 1, "--overwrite")
    fails(result, 1, "cannot write", "No space left on device", "--out")
    assert [line.partition(" (")[0] for line in result.err[1:]][-1] == "basis: 2 of 2 inputs failed"
    assert content(out) == before
    assert list(out.iterdir()) == [out / "image"]
    assert separate(array, "--seed", 1).code == 0


@pytest.mark.parametrize("where", ["computing", "writing"])
def test_interrupt(separate, image, array, out, monkeypatch, where):
    """Ctrl-C in the second input: the first is whole, the second's earlier result too, and nothing else is left."""
    separate(array)
    before = content(out / "array")
    module = importlib.import_module({"computing": "basis.api", "writing": "basis.runs.view"}[where])
    name = {"computing": "stream", "writing": "fill"}[where]
    original, calls = getattr(module, name), []

    def interrupted(*arguments, **settings):
        calls.append(arguments)
        if where == "writing":
            original(*arguments, **settings)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return None
        run = original(*arguments, **settings)
        if len(calls) == 2:

            def stop(*_):
                raise KeyboardInterrupt

            run._stream = map(stop, run._stream)
        return run

    monkeypatch.setattr(module, name, interrupted)
    result = separate(image, array, image, "--seed", 1, "--overwrite")
    assert result.code == 130
    assert result.err == [f"basis: stopped at {array}; what was finished before is whole in {out}"]
    assert content(out / "array") == before
    assert sorted(path.name for path in out.iterdir()) == ["array", "image.png-1"]
    assert sorted(path.name for path in (out / "image.png-1").iterdir()) == FILES


def test_warnings_of_other_libraries_are_one_line(separate, tmp_path):
    path = tmp_path / "cut.tif"  # Pillow warns of its tags before it fails
    saved_image(8, 8)(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, _, errors = separate(path)
    assert code == 1
    assert errors[0].startswith("basis: UserWarning: ")
    assert all(line.startswith("basis: ") for line in errors)
