"""The command line: what it writes is what the library gives, and every error is one line with a remedy."""

import errno
import importlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.cli import main
from basis.core import checkpoint
from basis.files.pictures import GAP, LABEL, TILE
from basis.priors.edm import EDM

SIZE = {"shape": [1, 8, 8], "widths": [8, 16], "blocks": [1, 1], "attention": [False, True]}
QUICK = {"steps": 2, "levels": 2}
FILES = ["anneal.gif", "panel.png", "result.json", "source_1.png", "source_2.png", "sources.npy"]
SUM = basis.WeightedSum([1.0, 1.0])
PIXELS = np.random.default_rng(0).integers(40, 216, (8, 8), np.uint8)
IMAGE = PIXELS[None] / np.float32(255)
MIXTURE = np.random.default_rng(1).uniform(0.3, 1.7, (1, 8, 8)).astype(np.float32)


class Result(NamedTuple):
    code: int
    out: str
    err: list[str]


def make_prior(folder, seed, mean):
    """Write an untrained prior whose weights do something."""
    torch.manual_seed(seed)
    arguments = {**SIZE, "mean": mean, "std": 0.25}
    prior = EDM(**arguments)
    for name, parameter in prior.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.5)
    return str(basis.save_prior(prior, arguments, folder, {"summary": "a prior for tests"}))


@pytest.fixture(scope="session")
def prior(tmp_path_factory):
    return make_prior(tmp_path_factory.mktemp("priors") / "tiny", seed=0, mean=0.3)


@pytest.fixture
def cli(monkeypatch, capsys):
    """Call `basis` in this process."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["basis", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return Result(caught.value.code or 0, captured.out, captured.err.splitlines())

    return call


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def separate(cli, prior, out):
    """Call `basis separate` with few steps; what is passed comes last, and wins."""
    return lambda *arguments: cli("separate", "--prior", prior, "--steps", 2, "--levels", 2, "--out", out, *arguments)


@pytest.fixture
def expected(prior):
    """Separate with the library itself, under the same few steps."""
    loaded = basis.load_prior(prior)

    def call(mixture, mixing=SUM, prior=loaded, **settings):
        return basis.separate(mixture, prior, mixing, **QUICK | settings)

    return call


@pytest.fixture
def image(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.fixture
def array(tmp_path):
    np.save(tmp_path / "array.npy", MIXTURE)
    return tmp_path / "array.npy"


def close(folder, sources):
    np.testing.assert_allclose(np.load(folder / "sources.npy"), sources.numpy(), rtol=0, atol=1e-6)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fails(result, code, *parts):
    """Check the exit code and that the first line on stderr is the error, with all parts and a remedy."""
    assert result.code == code, result
    error = result.err[0]
    assert error.startswith("basis: "), result
    assert error.count(". To fix: ") == 1, result
    for part in parts:
        assert part in error
    assert all(line.startswith("basis: ") for line in result.err), result
    return error


# basis separate


def test_an_image_is_the_mean_of_its_sources(separate, expected, image, out, prior):
    result = separate(image)
    folder = out / "image"
    assert result.code == 0
    assert result.err == []
    assert str(folder) in result.out
    assert sorted(path.name for path in folder.iterdir()) == FILES
    reference = expected(2 * IMAGE)
    close(folder, reference.sources[0])
    sources = np.load(folder / "sources.npy")
    np.testing.assert_allclose(sources.mean(0)[0], PIXELS / 255, atol=1e-5)
    for k in (0, 1):
        written = np.asarray(Image.open(folder / f"source_{k + 1}.png"))
        assert np.array_equal(written, (sources[k, 0] * 255).round().astype(np.uint8))


def test_result_json(separate, image, out, prior, expected):
    separate(image, "--seed", 5, "--set", "project=false")
    facts = json.loads((out / "image" / "result.json").read_text())
    assert facts.pop("seconds") >= 0
    residual = expected(2 * IMAGE, seed=5, project=False).residual.item()
    assert facts.pop("residual") == pytest.approx(residual, rel=1e-3)
    versions = facts.pop("versions")
    assert (versions["basis"], versions["torch"]) == (basis.__version__, torch.__version__)
    assert facts == {
        "input": str(image), "image_is_mean": True, "index": 0, "method": "basis", "samples": 1, "seed": 5,
        "settings": {"steps": 2, "levels": 2, "project": False}, "weights": [1.0, 1.0], "device": "cpu", "prior": prior,
        "prior_sha256": {prior: json.loads((Path(prior) / "card.json").read_text())["sha256"]},
    }  # fmt: skip


def test_pictures(separate, image, out):
    """The panel shows the mixture and the sources; each frame of the animation, one a step, begins with the mixture."""
    separate(image)
    shown = np.repeat(np.repeat(PIXELS, TILE // 8, 0), TILE // 8, 1)
    with Image.open(out / "image" / "panel.png") as panel, Image.open(out / "image" / "anneal.gif") as animation:
        assert animation.n_frames == QUICK["steps"] * QUICK["levels"]
        for picture, error in ((panel, 0), (animation, 12)):  # GIFs have few colours
            grey = np.asarray(picture.convert("L"), dtype=int)
            mixture = grey[LABEL + GAP :, GAP:][:TILE, :TILE]
            assert np.abs(mixture - shown).max() <= error
        panel = np.asarray(panel.convert("L"))
        for k in (1, 2):
            source = np.asarray(Image.open(out / "image" / f"source_{k}.png"))
            assert np.array_equal(panel[LABEL + GAP :, GAP + k * (TILE + GAP) :][:TILE:14, :TILE:14], source)


FORMS = {
    "plain.npy": lambda path: np.save(path, MIXTURE),
    "flat.npy": lambda path: np.save(path, MIXTURE[0]),
    "batch.npy": lambda path: np.save(path, MIXTURE[None]),
    "named.npz": lambda path: np.savez(path, mixture=MIXTURE, sources=np.zeros(3)),
    "tensor.pt": lambda path: torch.save(torch.from_numpy(MIXTURE), path),
    "dictionary.pt": lambda path: torch.save({"mixture": torch.from_numpy(MIXTURE)}, path),
}


def test_a_folder_of_every_kind_of_array(separate, expected, tmp_path, out):
    folder = tmp_path / "inputs"
    folder.mkdir()
    for name, save in FORMS.items():
        save(folder / name)
    (folder / "readme.txt").write_text("not an input")
    assert separate(folder, "--seed", 3).code == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(Path(name).stem for name in FORMS)
    reference = expected(MIXTURE, seed=3).sources[0]
    for name in FORMS:
        close(out / Path(name).stem, reference)


def test_other_inputs_and_their_order_change_nothing(separate, expected, image, array, out):
    np.save(array.with_name("more.npy"), np.stack([MIXTURE, 1 - MIXTURE / 2]))
    separate(array.with_name("more.npy"), image, array)
    first = content(out)
    close(out / "array", expected(MIXTURE).sources[0])
    separate(array, array.with_name("more.npy"), image)
    timed = re.compile(rb'"seconds": [0-9.]+')
    assert first.keys() == content(out).keys()
    assert all(timed.sub(b"", first[name]) == timed.sub(b"", text) for name, text in content(out).items())


def test_several_mixtures_in_a_file(separate, expected, tmp_path, out):
    batch = np.stack([MIXTURE, MIXTURE / 2, 2 - MIXTURE])
    np.save(tmp_path / "three.npy", batch)
    separate(tmp_path / "three.npy")
    reference = expected(batch)
    assert sorted(path.name for path in (out / "three").iterdir()) == ["00000", "00001", "00002"]
    for i in range(3):
        folder = out / "three" / f"{i:05d}"
        close(folder, reference.sources[i])
        assert sorted(path.name for path in folder.iterdir()) == FILES
        facts = json.loads((folder / "result.json").read_text())
        assert (facts["index"], facts["residual"]) == (i, pytest.approx(reference.residual[i].item(), rel=1e-3))


def test_samples(separate, expected, array, out):
    separate(array, "--samples", 3)
    reference = expected(MIXTURE, samples=3)
    np.testing.assert_allclose(np.load(out / "array" / "samples.npy"), reference.samples[0].numpy(), atol=1e-6)
    close(out / "array", reference.sources[0])
    assert Image.open(out / "array" / "panel.png").height == LABEL + GAP + 3 * (TILE + GAP)


def test_weights(separate, expected, image, out):
    """With weights, an image is no mean: its values are the weighted sum."""
    separate(image, "--weights", "0.3,0.7")
    sources = np.load(out / "image" / "sources.npy")
    np.testing.assert_allclose(0.3 * sources[0] + 0.7 * sources[1], IMAGE, atol=1e-4)
    close(out / "image", expected(IMAGE, basis.WeightedSum([0.3, 0.7])).sources[0])
    facts = json.loads((out / "image" / "result.json").read_text())
    assert (facts["weights"], facts["image_is_mean"]) == ([0.3, 0.7], False)


def test_three_sources(separate, expected, image, out):
    separate(image, "-k", 3)
    close(out / "image", expected(3 * IMAGE, basis.WeightedSum([1.0] * 3)).sources[0])
    assert len(list((out / "image").glob("source_*.png"))) == 3


def test_settings(separate, expected, array, out):
    separate(array, "--set", "temperature=0", "--set", "project=false", "--set", "stability=inf")
    changed = expected(MIXTURE, temperature=0, project=False, stability=float("inf")).sources[0]
    close(out / "array", changed)
    assert (changed - expected(MIXTURE).sources[0]).abs().max() > 0.01


def test_another_method(cli, prior, image, out):
    assert cli("separate", image, "--prior", prior, "--method", "average", "--out", out).code == 0
    np.testing.assert_allclose(np.load(out / "image" / "sources.npy")[:, 0], [PIXELS / 255] * 2, atol=1e-6)


def test_a_prior_for_each_source(separate, expected, prior, array, out, tmp_path):
    other = make_prior(tmp_path / "other", seed=1, mean=0.7)
    separate(array, "--prior", f"{prior},{other}")
    close(out / "array", expected(MIXTURE, prior=[basis.load_prior(prior), basis.load_prior(other)]).sources[0])
    facts = json.loads((out / "array" / "result.json").read_text())
    assert len(set(facts["prior_sha256"].values())) == 2


def test_resize(separate, expected, tmp_path, out):
    large = Image.fromarray(np.kron(PIXELS, np.ones((3, 3), np.uint8)))
    large.save(tmp_path / "large.png")
    assert separate(tmp_path / "large.png", "--resize").code == 0
    small = np.asarray(large.resize((8, 8), Image.Resampling.LANCZOS), dtype=np.float32)[None]
    close(out / "large", expected(2 * small / np.float32(255)).sources[0])


def test_equal_names_get_a_folder_each(separate, expected, tmp_path, out):
    values = {"a/x.npy": 0.4, "b/x.npy": 0.8, "a/x.npz": 1.2, "a/y.npy": 1.6}
    for name, value in values.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        mixture = np.full((1, 8, 8), value, np.float32)
        np.savez(tmp_path / name, mixture) if name.endswith("z") else np.save(tmp_path / name, mixture)
    separate(*(tmp_path / name for name in values))
    for folder, value in zip(["x.npy-1", "x.npy-2", "x.npz", "y"], values.values(), strict=True):
        close(out / folder, expected(np.full((1, 8, 8), value, np.float32)).sources[0])
    assert len(list(out.iterdir())) == 4


def test_a_second_run_replaces_the_folder_whole(separate, expected, tmp_path, out):
    np.save(tmp_path / "x.npy", np.stack([MIXTURE] * 3))
    separate(tmp_path / "x.npy", "--samples", 2)
    np.save(tmp_path / "x.npy", np.stack([MIXTURE] * 2))
    separate(tmp_path / "x.npy")
    assert sorted(content(out)) == [f"x/{i:05d}/{name}" for i in range(2) for name in FILES]
    np.save(tmp_path / "x.npy", MIXTURE)
    separate(tmp_path / "x.npy", "--seed", 1)
    assert sorted(content(out)) == [f"x/{name}" for name in FILES]
    close(out / "x", expected(MIXTURE, seed=1).sources[0])
    assert list(out.iterdir()) == [out / "x"]


def test_a_folder_of_something_else_is_not_replaced(separate, image):
    folder = image.with_name("image")
    folder.mkdir()
    (folder / "original.raw").write_text("precious")
    fails(separate(image, "--out", image.parent), 2, str(folder), "choose another --out")
    assert content(folder) == {"original.raw": b"precious"}


# Inputs that cannot be separated: one line each, and the others are done


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
    "words.npy": (saved(np.array(["a", "b"])), ["cannot be read as an array", "save one numeric array"]),
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
    monkeypatch.setattr("basis.files.read.LARGEST_ARRAY", 2**20)
    fails(separate(tmp_path / "bomb.npz"), 1, "unpacks to more than")


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
    "--method zzz": ["unknown method 'zzz'", "choose one of average, basis"],
    "--prior tinny": ["unknown prior 'tinny'", "did you mean tiny?"],
    "--prior tiny,tiny,tiny": ["got 3 priors for 2 sources", "one a source"],
    "--device tpu": ["device 'tpu' is not available here", "use --device cpu"],
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
    fails(result, 2, f"cannot write into {array / 'out'}", "does not allow it", "choose another --out")


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def half_an_image(self, file, *_, **__):
    Path(file).write_bytes(b"half")
    full()


WRITES = {
    "array": (np, "save", full),
    "image": (Image.Image, "save", half_an_image),
    "text": (Path, "write_text", full),
    "folder": (tempfile, "mkdtemp", full),
    "rename": (Path, "rename", full),
}


@pytest.mark.parametrize("kind", WRITES)
def test_a_full_disk(separate, image, array, out, monkeypatch, kind):
    separate(image)
    before = content(out)
    owner, name, replacement = WRITES[kind]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, replacement)
        result = separate(image, array, "--seed", 1)
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
    module = importlib.import_module("basis.cli.separate")
    original, calls = {"computing": module.stream, "writing": module.fill}[where], []

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

    monkeypatch.setattr(module, original.__name__, interrupted)
    result = separate(image, array, image, "--seed", 1)
    assert result.code == 130
    assert result.err == [f"basis: stopped at {array}; what was finished before is whole in {out}"]
    assert content(out / "array") == before
    assert sorted(path.name for path in out.iterdir()) == ["array", "image.png-1"]
    assert sorted(path.name for path in (out / "image.png-1").iterdir()) == FILES


# basis list, info


def test_list(cli, prior, monkeypatch):
    monkeypatch.setattr(checkpoint, "PRETRAINED", Path(prior).parent)
    monkeypatch.setattr("basis.cli.describe.PRETRAINED", Path(prior).parent)
    out = cli("list").out
    sections = dict(re.findall(r"^(\S.*):\n((?:  .*\n)+)", out, re.MULTILINE))
    chosen = {kind: [line.split()[0] for line in lines.splitlines()] for kind, lines in sections.items()}
    assert chosen["priors"] == ["tiny"]
    assert "a prior for tests" in sections["priors"]
    assert {"average", "basis"} <= set(chosen["methods"])
    assert {"digits", "mnist"} <= set(chosen["data sets"])
    for kind in ("mixings", "samplers", "posteriors", "kinds of prior", "metrics"):
        assert all(len(line.split()) > 3 for line in sections[kind].splitlines()), kind


def test_info(cli, prior):
    out = cli("info", prior).out
    assert "EDM over images of 1×8×8" in out
    count = sum(p.numel() for p in basis.load_prior(prior).parameters())
    assert f"parameters: {count:,}" in out
    assert json.loads(out[out.index("{") :])["summary"] == "a prior for tests"
    fails(cli("info", prior + "x"), 2, "unknown prior", "To fix")


# basis make-mixtures, evaluate


@pytest.fixture
def evaluate(cli, prior, tmp_path):
    """Call `basis evaluate`; return what was printed and the figures it wrote."""

    def call(data, *arguments):
        file = tmp_path / "figures.json"
        quick = () if "average" in arguments else ("--steps", 2, "--levels", 2)
        result = cli("evaluate", data, "--prior", prior, "--json", file, *quick, *arguments)
        assert result.code == 0, result
        return result, json.loads(file.read_text())

    return call


digits = pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn") and "digits"


def test_evaluate_average_is_what_one_computes_by_hand(cli, evaluate, tmp_path):
    assert cli("make-mixtures", digits, "--n", 6, "--seed", 4, "--out", tmp_path / "mix").code == 0
    psnrs = []
    for i in range(6):
        with np.load(tmp_path / "mix" / f"{i:05d}.npz") as file:
            error = file["sources"] - file["mixture"] / 2
            psnrs.append(np.mean(-10 * np.log10(np.mean(error.astype(np.float64) ** 2, (1, 2, 3)))))
    _, figures = evaluate(tmp_path / "mix", "--method", "average", "--n", 6)
    np.testing.assert_allclose(figures["psnr"], psnrs, rtol=1e-5)
    assert figures["psnr_mean"] == pytest.approx(np.mean(psnrs))
    assert figures["psnr_median"] == pytest.approx(np.median(psnrs))
    assert figures["psnr_standard_error"] == pytest.approx(np.std(psnrs, ddof=1) / np.sqrt(6))


def test_evaluate_gives_the_same_from_a_folder_from_the_data_and_for_every_batch_size(
    cli, evaluate, expected, tmp_path
):
    cli("make-mixtures", digits, "--n", 5, "--seed", 4, "--task", "split", "--out", tmp_path / "mix")
    printed, first = evaluate(tmp_path / "mix", "--seed", 4, "--n", 5)
    _, small = evaluate(tmp_path / "mix", "--seed", 4, "--n", 5, "--batch-size", 2)
    _, direct = evaluate(digits, "--seed", 4, "--n", 5, "--task", "split", "--batch-size", 5)
    for other in (small, direct):
        np.testing.assert_allclose(other["psnr"], first["psnr"], atol=1e-4)
    assert (first["n"], first["seed"], len(first["residual"])) == (5, 4, 5)
    assert np.isfinite(first["psnr"]).all()
    pairs = [np.load(tmp_path / "mix" / f"{i:05d}.npz") for i in range(5)]
    result = expected(np.stack([pair["mixture"] for pair in pairs]), seed=4)
    truth = torch.from_numpy(np.stack([pair["sources"] for pair in pairs]))
    np.testing.assert_allclose(first["psnr"], basis.psnr(result.sources, truth).numpy(), atol=1e-4)
    row = printed.out.splitlines()[-1].split()
    shown = [first["n"], first["psnr_mean"], first["psnr_standard_error"], first["psnr_median"]]
    assert [float(value) for value in row[:4]] == pytest.approx(shown, abs=0.0051)


def test_evaluate_part_of_a_folder(cli, evaluate, tmp_path):
    cli("make-mixtures", digits, "--n", 4, "--out", tmp_path / "mix")
    _, whole = evaluate(tmp_path / "mix", "--method", "average", "--n", 4)
    printed, part = evaluate(tmp_path / "mix", "--method", "average", "--n", 2)
    assert part["psnr"] == whole["psnr"][:2]
    assert printed.err == ["basis: the first 2 of 4 mixtures; pass --n for more"]


def test_weights_reach_the_mixtures_and_the_figures(cli, evaluate, tmp_path):
    cli("make-mixtures", digits, "--n", 2, "--weights", "0.2,0.5,0.3", "--out", tmp_path / "mix")
    with np.load(tmp_path / "mix" / "00001.npz") as file:
        np.testing.assert_allclose(np.tensordot([0.2, 0.5, 0.3], file["sources"], 1), file["mixture"], atol=1e-6)
    _, figures = evaluate(tmp_path / "mix", "--n", 2, "--method", "average")
    assert figures["weights"] == [0.2, 0.5, 0.3]


EVALUATE = {
    "evaluate digitz": (2, ["unknown data set 'digitz'", "did you mean digits?"]),
    "evaluate digits --task splitt": (2, ["unknown task 'splitt'", "did you mean split?"]),
    "evaluate digits --split tests": (2, ["unknown split 'tests'", "choose one of train, validation, test"]),
    "evaluate digits --n 2 --method averag": (2, ["unknown method 'averag'", "did you mean average?"]),
    "evaluate digits --n 2 --json missing/f.json": (1, ["cannot write missing/f.json", "choose another file"]),
    "evaluate .": (1, ["is not a folder of mixtures", "`basis make-mixtures`"]),
    "make-mixtures mnits": (2, ["unknown data set 'mnits'", "did you mean mnist"]),
    "make-mixtures digits --task spilt": (2, ["unknown task 'spilt'", "did you mean split?"]),
    "make-mixtures digits --out file/x": (1, ["cannot write into file/x", "choose another folder"]),
}


@pytest.mark.parametrize("arguments", EVALUATE)
def test_evaluate_usage(cli, prior, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    prior = ["--prior", prior, "--steps", 1, "--levels", 2] if arguments.startswith("evaluate") else []
    prior = prior[:2] if "averag" in arguments else prior
    code, parts = EVALUATE[arguments]
    fails(cli(*arguments.split(), *prior), code, *parts)


@pytest.mark.parametrize("arguments", ["--n 0", "--n -1", "-k 1", "--seed -1"])
@pytest.mark.parametrize("command", ["evaluate", "make-mixtures"])
def test_mixtures_out_of_range(cli, prior, tmp_path, command, arguments):
    extra = ["--prior", prior] if command == "evaluate" else ["--out", tmp_path / "mix"]
    result = cli(command, digits, *arguments.split(), *extra)
    assert (result.code, len(result.err)) == (2, 1)
    assert "expected at least 2 sources, n >= 1 and seed >= 0" in result.err[0]


@pytest.mark.parametrize("n", [0, -1])
def test_no_mixtures_of_a_folder(cli, prior, tmp_path, n):
    cli("make-mixtures", digits, "--n", 2, "--out", tmp_path / "mix")
    result = cli("evaluate", tmp_path / "mix", "--prior", prior, "--n", n)
    assert (result.code, result.err[-1]) == (2, f"basis: expected n >= 1, got {n}")


# The program


def test_the_module_is_the_program():
    run = subprocess.run([sys.executable, "-m", "basis", "--help"], capture_output=True, text=True, check=True)
    for command in ("separate", "demo", "train", "list", "info", "make-mixtures", "evaluate"):
        assert re.search(rf"\b{command}\b", run.stdout)
