"""`basis separate`: what it writes is what the library gives."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.signals._pictures import GAP, LABEL, TILE
from cli.shared import FILES, IMAGE, MIXTURE, PIXELS, QUICK, close, content, fails, make_prior


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
        "input": str(image), "image_is_mean": True, "index": 0, "method": "basis", "method_sha256": None,
        "background": "black", "noise": 0.0, "samples": 1, "seed": 5, "evaluations": 5,
        "settings": {"steps": 2, "levels": 2, "project": False}, "weights": [1.0, 1.0], "prior": prior,
        "device": "cpu", "precision": "no",
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
    separate(array, array.with_name("more.npy"), image, "--overwrite")
    timed = re.compile(rb'"seconds": [0-9.]+|"[^"]*result.json": "[0-9a-f]+"')
    assert first.keys() == content(out).keys()
    assert all(timed.sub(b"", first[name]) == timed.sub(b"", text) for name, text in content(out).items())


def test_several_mixtures_in_a_file(separate, expected, tmp_path, out):
    batch = np.stack([MIXTURE, MIXTURE / 2, 2 - MIXTURE])
    np.save(tmp_path / "three.npy", batch)
    separate(tmp_path / "three.npy")
    reference = expected(batch)
    assert sorted(path.name for path in (out / "three").iterdir()) == [".basis.json", "00000", "00001", "00002"]
    for i in range(3):
        folder = out / "three" / f"{i:05d}"
        close(folder, reference.sources[i])
        assert sorted(path.name for path in folder.iterdir()) == FILES[1:]
        facts = json.loads((folder / "result.json").read_text())
        assert (facts["index"], facts["residual"]) == (i, pytest.approx(reference.residual[i].item(), rel=1e-3))


def test_samples(separate, expected, array, out):
    separate(array, "--samples", 3)
    reference = expected(MIXTURE, samples=3)
    np.testing.assert_allclose(np.load(out / "array" / "samples.npy"), reference.samples[0].numpy(), atol=1e-6)
    close(out / "array", reference.sources[0])
    rows, notes = 3 + 1, 2  # the samples and their spread; which is the answer, and how many agree
    assert Image.open(out / "array" / "panel.png").height == LABEL + GAP + rows * (TILE + GAP) + notes * LABEL


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
    separate(tmp_path / "x.npy", "--overwrite")
    assert sorted(content(out)) == ["x/.basis.json", *(f"x/{i:05d}/{name}" for i in range(2) for name in FILES[1:])]
    np.save(tmp_path / "x.npy", MIXTURE)
    separate(tmp_path / "x.npy", "--seed", 1, "--overwrite")
    assert sorted(content(out)) == [f"x/{name}" for name in FILES]
    close(out / "x", expected(MIXTURE, seed=1).sources[0])
    assert list(out.iterdir()) == [out / "x"]


def test_a_folder_of_something_else_is_not_replaced(separate, image):
    folder = image.with_name("image")
    folder.mkdir()
    (folder / "original.raw").write_text("precious")
    fails(separate(image, "--out", image.parent), 2, str(folder), "choose another --out")
    assert content(folder) == {"original.raw": b"precious"}
