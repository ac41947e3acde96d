"""`basis colorize`: what it writes is what the library gives, from every kind of grey image."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.io.learned import save_separator
from basis.priors.edm import EDM
from basis.runs.read import read_grey
from basis.separators.adversarial import Adversarial
from basis.signals._pictures import GAP, LABEL, TILE
from basis.train.recipe import read_recipe
from cli.shared import PIXELS, QUICK, SIZE, close, fails

FILES = [".basis.json", "anneal.gif", "colour_1.png", "panel.png", "result.json", "sources.npy"]
GREY = PIXELS[None] / np.float32(255)
LARGE = np.random.default_rng(2).integers(40, 216, (13, 20), np.uint8)
QUICK_STEPS = ("--steps", 2, "--levels", 2)
WINDOWS = 3 * 4  # of 8×8 over 13×20, by halves
COLOUR = np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture(scope="session")
def colour_prior(tmp_path_factory):
    """An untrained prior of colour images whose weights do something."""
    torch.manual_seed(5)
    arguments = {**SIZE, "shape": [3, 8, 8], "mean": 0.5, "std": 0.25}
    prior = EDM(**arguments)
    for name, parameter in prior.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.5)
    return str(basis.save_prior(prior, arguments, tmp_path_factory.mktemp("priors") / "colour"))


@pytest.fixture
def colorize(cli, colour_prior, out):
    """Call `basis colorize` with few steps."""
    quick = [*QUICK_STEPS, "--method", "basis"]
    return lambda *arguments: cli("colorize", "--prior", colour_prior, *quick, "--out", out, *arguments)


@pytest.fixture
def colours(colour_prior):
    """Colour with the library itself."""
    loaded = basis.load_prior(colour_prior)

    def call(grey, luma=(1 / 3, 1 / 3, 1 / 3), **settings):
        grey = torch.as_tensor(np.asarray(grey, np.float32))
        size = tuple(grey.shape[-2:])
        prior = loaded if size == (8, 8) else basis.Windowed(loaded, size)
        return basis.separate(grey, prior, basis.Grayscale(luma), **QUICK | settings)

    return call


def saved(array, path):
    Image.fromarray(array).save(path)
    return path


def test_a_grey_image(colorize, colours, image, out):
    result = colorize(image)
    assert (result.code, result.err) == (0, [])
    assert sorted(path.name for path in (out / "image").iterdir()) == FILES
    close(out / "image", colours(GREY).sources[0])
    sources = np.load(out / "image" / "sources.npy")
    assert sources.shape == (1, 3, 8, 8)
    assert np.square(sources[0].mean(0) - GREY[0]).mean() < (1 / 255) ** 2
    written = np.asarray(Image.open(out / "image" / "colour_1.png"))
    assert np.array_equal(written, (sources[0].transpose(1, 2, 0) * 255).round().astype(np.uint8))
    assert str(out / "image") in result.out


def test_several_colourings_and_the_panel(colorize, colours, image, out):
    """Each row of the panel begins with the grey image, then one of the colourings."""
    colorize(image, "--samples", 3, "--seed", 4)
    folder = out / "image"
    reference = colours(GREY, samples=3, seed=4)
    np.testing.assert_allclose(np.load(folder / "samples.npy"), reference.samples[0], atol=1e-6)
    panel = np.asarray(Image.open(folder / "panel.png"))
    rows, notes = 3 + 1, 2  # the colourings and their spread; which is the answer, and how many agree
    assert panel.shape[:2] == (LABEL + GAP + rows * (TILE + GAP) + notes * LABEL, GAP + 4 * (TILE + GAP))
    step, pixel = TILE + GAP, TILE // 8
    for j in range(3):
        row = panel[LABEL + GAP + j * step :, GAP:][:TILE:pixel]
        assert np.array_equal(row[:, :TILE:pixel, 0], PIXELS)
        written = np.asarray(Image.open(folder / f"colour_{j + 1}.png"))
        assert np.array_equal(row[:, step : step + TILE : pixel], written)
    assert len({(folder / f"colour_{j}.png").read_bytes() for j in (1, 2, 3)}) == 3


def test_result_json(colorize, image, out, colour_prior):
    colorize(image, "--luma", "0.5,0.25,0.25", "--set", "project=true")
    facts = json.loads((out / "image" / "result.json").read_text())
    assert facts.pop("seconds") >= 0
    assert facts.pop("residual") < (1 / 255) ** 2
    assert facts.pop("versions")["basis"] == basis.__version__
    sha = json.loads((Path(colour_prior) / "card.json").read_text())["sha256"]
    facts.pop("evaluations", None)
    assert facts == {
        "input": str(image), "input_in_colour": False, "index": 0, "method": "basis", "method_sha256": None,
        "background": "black", "noise": 0.0, "samples": 1, "seed": 0,
        "settings": {"steps": 2, "levels": 2, "project": True}, "luma": [0.5, 0.25, 0.25], "prior": colour_prior,
        "prior_sha256": {colour_prior: sha}, "device": "cpu", "precision": "no",
    }  # fmt: skip


def test_the_hash_of_a_fitted_method(cli, image, out, colour_prior, tmp_path):
    arguments = {"shape": [3, 8, 8], "kinds": [0], "latent": 2, "restarts": 1, "search": 1, "refine": 1}
    method = Adversarial(**arguments)
    method.learned.fill_(1)
    folder = save_separator(method, arguments, tmp_path / "fit")
    result = cli("colorize", image, "--prior", colour_prior, "--method", folder, "--out", out)
    assert result.code == 0, result
    facts = json.loads((out / "image" / "result.json").read_text())
    assert facts["method_sha256"] == json.loads((folder / "card.json").read_text())["sha256"]


@pytest.mark.parametrize(
    ("name", "weights"),
    [("mean", (1 / 3, 1 / 3, 1 / 3)), ("rec601", (0.299, 0.587, 0.114)), ("rec709", (0.2126, 0.7152, 0.0722)),
     ("0.2,0.5,0.3", (0.2, 0.5, 0.3))],
)  # fmt: skip
def test_luma_and_colour_inputs(colorize, colours, tmp_path, out, name, weights):
    """A colour image is turned to grey by the same weights that its new colours are mixed with."""
    result = colorize(saved(COLOUR, tmp_path / "colour.png"), "--luma", name)
    grey = (COLOUR / 255 @ np.array(weights))[None].astype(np.float32)
    close(out / "colour", colours(grey, weights).sources[0])
    assert result.err == [f"basis: {tmp_path / 'colour.png'}: in colour, turned to grey first (--luma {name})"]
    assert json.loads((out / "colour" / "result.json").read_text())["input_in_colour"] is True
    sources = np.load(out / "colour" / "sources.npy")[0]
    assert np.square(np.tensordot(weights, sources, 1) - grey[0]).mean() < (1 / 255) ** 2


def test_a_grey_image_in_three_channels_is_grey(colorize, colours, tmp_path, out):
    assert colorize(saved(np.stack([PIXELS] * 3, -1), tmp_path / "three.png")).err == []
    close(out / "three", colours(GREY).sources[0])


FORMS = {"flat": GREY[0], "channel": GREY, "batch": GREY[None], "colour": np.stack([GREY[0]] * 3)}


@pytest.mark.parametrize("form", FORMS)
def test_arrays(colorize, colours, tmp_path, out, form):
    np.save(tmp_path / "x.npy", FORMS[form])
    assert colorize(tmp_path / "x.npy").code == 0
    close(out / "x", colours(GREY).sources[0])


def test_a_folder(colorize, colours, tmp_path, out):
    (tmp_path / "photos").mkdir()
    saved(PIXELS, tmp_path / "photos" / "a.png")
    saved(255 - PIXELS, tmp_path / "photos" / "b.png")
    (tmp_path / "photos" / "c.png").write_bytes(b"no image")
    result = colorize(tmp_path / "photos")
    fails(result, 1, "c.png is not an image that can be read")
    assert result.err[1:] == ["basis: 1 of 3 inputs failed"]
    close(out / "a", colours(GREY).sources[0])
    close(out / "b", colours(1 - GREY).sources[0])


def test_a_large_image_by_windows(colorize, colours, tmp_path, out):
    path = saved(LARGE, tmp_path / "large.png")
    result = colorize(path)
    assert result.err == [f"basis: {path}: 20×13 pixels by {WINDOWS} windows of 8×8"]
    reference = colours(LARGE[None] / np.float32(255))
    close(out / "large", reference.sources[0])
    assert reference.residual.item() < (1 / 255) ** 2
    assert json.loads((out / "large" / "result.json").read_text())["windows"] == WINDOWS
    assert Image.open(out / "large" / "colour_1.png").size == (20, 13)


def test_resize(colorize, colours, tmp_path, out):
    assert colorize(saved(LARGE, tmp_path / "large.png"), "--resize").err == []
    small = Image.fromarray(LARGE).resize((8, 8), Image.Resampling.LANCZOS)
    close(out / "large", colours(np.asarray(small, np.float32)[None] / np.float32(255)).sources[0])


def test_a_camera_held_sideways(colorize, tmp_path, out):
    """A picture that says in its EXIF data how it is to be turned is turned."""
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90° to the right
    Image.fromarray(LARGE).save(tmp_path / "x.png", exif=exif)
    colorize(tmp_path / "x.png")
    assert Image.open(out / "x" / "colour_1.png").size == (13, 20)


# Errors


def test_too_small(colorize, tmp_path):
    result = colorize(saved(LARGE[:5], tmp_path / "x.png"))
    fails(result, 1, "is 20×5 pixels, the prior takes 8×8 or more", "--resize")


def test_arrays_of_another_shape(colorize, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8)))
    fails(colorize(tmp_path / "x.npy"), 1, "has shape (1, 2, 8, 8), the prior takes 1 or 3×8×8")


USAGE = {
    "--luma sepia": ["expected --luma mean, rec601, rec709 or three weights with sum 1, got 'sepia'", "0.3,0.6,0.1"],
    "--luma 0.5,0.5": ["three weights with sum 1"],
    "--luma 1,1,1": ["three weights with sum 1"],
    "--luma 2,-1,0": ["three weights with sum 1"],
    "--luma nan,1,0": ["three weights with sum 1"],
    "--prior mnist": ["prior 'mnist' knows images of 1 channel(s), colour has 3", "for instance cifar10"],
    "--prior mnist,mnist": ["got 2 priors for 1 sources"],
    "--method bassis": ["unknown method 'bassis'", "did you mean basis?"],
}


@pytest.mark.parametrize("arguments", USAGE)
def test_usage(colorize, image, out, arguments):
    fails(colorize(image, *arguments.split()), 2, *USAGE[arguments])
    assert not out.exists()


def test_the_usual_prior(cli, tmp_path, out):
    """Without --prior it is the bundled one, in windows where the image is larger."""
    grey = np.random.default_rng(4).integers(0, 256, (32, 40), np.uint8)
    Image.fromarray(grey).save(tmp_path / "image.png")
    assert cli("colorize", tmp_path / "image.png", "--out", out, "--method", "basis", *QUICK_STEPS).code == 0
    large = basis.Windowed(basis.load_prior("cifar10-colour"), (32, 40))
    expected = basis.separate(grey[None] / np.float32(255), large, basis.Grayscale(), **QUICK)
    close(out / "image", expected.sources[0])


def test_interrupt(colorize, image, tmp_path, out, monkeypatch):
    """Ctrl-C in the second input leaves the first whole, and nothing of the second."""
    second = saved(255 - PIXELS, tmp_path / "second.png")

    def interrupted(path, *arguments, **settings):
        if path == second:
            raise KeyboardInterrupt
        return read_grey(path, *arguments, **settings)

    monkeypatch.setattr("basis.runs.read.read_grey", interrupted)
    result = colorize(image, second)
    assert result.code == 130
    assert result.err == [f"basis: stopped at {second}; what was finished before is whole in {out}"]
    assert [path.name for path in out.iterdir()] == ["image"]
    assert sorted(path.name for path in (out / "image").iterdir()) == FILES


# `basis separate` by windows


def test_separate_by_windows(separate, prior, tmp_path, out):
    path = saved(LARGE, tmp_path / "large.png")
    fails(separate(path), 1, "is 20×13 pixels, the prior takes 8×8", "--windows", "--resize")
    said, warned = separate(path, "--windows", "--method", "basis").err
    assert said == f"basis: {path}: 20×13 pixels by {WINDOWS} windows of 8×8"
    assert warned.startswith(f"basis: warning: {path}: windows do not agree on which picture is whose")
    large = basis.Windowed(basis.load_prior(prior), (13, 20))
    mixture = 2 * (LARGE[None] / np.float32(255))
    close(out / "large", basis.separate(mixture, large, basis.WeightedSum([1, 1]), **QUICK).sources[0])


def test_separate_arrays_by_windows(separate, tmp_path, out):
    np.save(tmp_path / "x.npy", np.full((2, 1, 13, 20), 0.8))
    fails(separate(tmp_path / "x.npy"), 1, "has shape (2, 1, 13, 20)", "--windows")
    assert separate(tmp_path / "x.npy", "--windows").code == 0
    assert np.load(out / "x" / "00001" / "sources.npy").shape == (2, 1, 13, 20)


def test_frames_of_large_images_are_small(colorize, tmp_path, out, monkeypatch):
    monkeypatch.setattr("basis.signals._pictures.LARGEST_FRAME", 10)
    monkeypatch.setattr("basis.signals._pictures.TILE", 1)  # nothing is enlarged
    colorize(saved(LARGE, tmp_path / "large.png"))
    with Image.open(out / "large" / "anneal.gif") as animation:
        assert animation.size == (GAP + 2 * (15 + GAP), LABEL + GAP + 10 + GAP)


# A photograph of 512×512 pixels

MEASURED = """
import sys
from basis.cli import main
sys.argv = ["basis", *sys.argv[1:]]
try:
    main()
finally:  # of this program alone: getrusage would count what its parent held when it began
    (peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print("peak", peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux, which says how much memory was used")
def test_a_photograph_of_512_pixels_needs_less_than_2_gib(tmp_path, out):
    """With a prior of the size of recipes/cifar10.toml, untrained: 961 windows, 2 evaluations."""
    recipe = read_recipe(Path(__file__).parents[2] / "recipes" / "cifar10.toml")
    torch.manual_seed(0)
    prior = basis.save_prior(EDM(**recipe.arguments), recipe.arguments, tmp_path / "prior")
    rng = np.random.default_rng(0)
    saved(rng.integers(0, 256, (512, 512), np.uint8), tmp_path / "photo.png")
    quick = ["--method", "sample", "--steps", "2", "--out", str(out)]
    command = ["colorize", str(tmp_path / "photo.png"), "--prior", str(prior), *quick]
    run = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=True)
    kib = int(run.stdout.split("peak ")[1])
    print(f"{kib / 2**20:.2f} GiB")
    assert kib < 2 * 2**20
    facts = json.loads((out / "photo" / "result.json").read_text())
    assert facts["windows"] == 961
    assert facts["residual"] < (1 / 255) ** 2
