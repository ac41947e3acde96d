"""`-` in the place of a file: a picture or an array on standard input."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from cli.shared import MIXTURE, PIXELS, fails


@pytest.fixture
def send(monkeypatch):
    """Put bytes, or what a function writes to a file, on standard input."""

    def call(content):
        if callable(content):
            file = io.BytesIO()
            content(file)
            content = file.getvalue()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    return call


CONTENTS = {
    "png": lambda file: Image.fromarray(PIXELS).save(file, "PNG"),
    "tiff": lambda file: Image.fromarray(PIXELS).save(file, "TIFF"),
    "npy": lambda file: np.save(file, MIXTURE),
    "npz": lambda file: np.savez(file, mixture=MIXTURE, other=np.zeros(2)),
    "pt": lambda file: torch.save(torch.from_numpy(MIXTURE), file),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_is_on_standard_input_is_a_file_like_others(separate, image, array, out, send, kind):
    """Its kind is told by its first bytes; the result says where it came from."""
    send(CONTENTS[kind])
    result = separate("-")
    assert (result.code, result.err) == (0, [])
    assert result.out.startswith("standard input: residual") or result.out.startswith("standard input: ")
    is_image = kind in ("png", "tiff")
    facts = json.loads((out / "stdin" / "result.json").read_text())
    assert (facts["input"], facts["image_is_mean"]) == ("standard input", is_image)
    separate(image if is_image else array)
    other = out / (image if is_image else array).stem
    assert np.array_equal(np.load(out / "stdin" / "sources.npy"), np.load(other / "sources.npy"))


def test_beside_files(separate, image, out, send):
    send(CONTENTS["npy"])
    assert separate(image, "-").code == 0
    assert sorted(path.name for path in out.iterdir()) == ["image", "stdin"]


def test_the_same_input_is_known_again(separate, send):
    for content, words in (("npy", "there already"), ("png", "")):
        send(CONTENTS["npy"])
        assert separate("-", "--resume").code == 0
        send(CONTENTS[content])
        again = separate("-", "--resume")
        assert (words in again.out) if words else again.code == 2


def test_count(cli, send, prior):
    send(CONTENTS["png"])
    result = cli("count", "-", "--prior", prior, "--most", 2, "--method", "sample", "--set", "steps=3")
    assert result.code == 0, result
    assert result.out.startswith("standard input: ")


WRONG = {
    b"": "standard input is empty",
    b"no picture": "standard input is not an image that can be read",
    b"\x93NUMPY broken": "standard input cannot be read as an array",
    b"PK broken": "standard input cannot be read as an array",
}


@pytest.mark.parametrize("content", WRONG)
def test_wrong_input(separate, send, content):
    send(content)
    fails(separate("-"), 1, WRONG[content])


def test_too_large_an_input(separate, send, monkeypatch):
    monkeypatch.setenv("BASIS_MAX_GIB", str(50 / 2**30))
    send(bytes(51))
    fails(separate("-"), 1, "standard input unpacks to", "BASIS_MAX_GIB")


def test_once(separate, send):
    send(CONTENTS["npy"])
    fails(separate("-", "-"), 2, "got - twice")
