"""Files: what is read is what stands in them, what is written is written whole, and pictures show what they say."""

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.runs.read import find, read_mixture
from basis.runs.write import fill
from basis.signals._pictures import ERROR_SCALE, GAP, LABEL, TILE, animation, frame, grid, panel, tile

SHAPE = (1, 4, 6)
PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def read(path, shape=SHAPE, sources=2, mean=False, resize=False):
    return read_mixture(path, shape, sources, mean=mean, resize=resize)


# Images


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".gif", ".tif", ".pgm", ".PNG"])
def test_grey_levels(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    Image.fromarray(PIXELS).save(path)
    assert torch.equal(read(path), torch.from_numpy(PIXELS / np.float32(255))[None, None])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_a_grey_image_in_another_mode(tmp_path, mode):
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / "image.png")
    torch.testing.assert_close(read(tmp_path / "image.png")[0, 0], torch.from_numpy(PIXELS / np.float32(255)))


def test_sixteen_bits(tmp_path):
    deep = np.linspace(0, 65535, 24).round().astype(np.uint16).reshape(4, 6)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    torch.testing.assert_close(read(tmp_path / "deep.png")[0, 0], torch.from_numpy(deep / np.float32(65535)))


def test_one_bit(tmp_path):
    Image.fromarray(PIXELS > 100).save(tmp_path / "mask.png")
    assert torch.equal(read(tmp_path / "mask.png")[0, 0], torch.from_numpy(PIXELS > 100).float())


def test_colours(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(array).save(tmp_path / "image.png")
    expected = torch.from_numpy(array.transpose(2, 0, 1) / np.float32(255))[None]
    assert torch.equal(read(tmp_path / "image.png", (3, 4, 6)), expected)


def test_a_grey_image_for_a_colour_prior(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "image.png")
    with pytest.raises(basis.DataError, match=r"image.png is a grey image, the prior takes colour ones\. To fix: "):
        read(tmp_path / "image.png", (3, 4, 6))


def test_an_image_that_is_a_mean_is_multiplied_by_the_number_of_sources(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "image.png")
    one, three = (read(tmp_path / "image.png", sources=3, mean=mean) for mean in (False, True))
    assert torch.equal(three, 3 * one)
    assert one.max() == pytest.approx(230 / 255)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_resize(tmp_path, depth):
    """A horizontal ramp of twice the size stays that ramp."""
    top = np.iinfo(depth).max
    ramp = (np.linspace(0, 1, 32) * top).astype(depth)
    Image.fromarray(np.tile(ramp, (8, 1))).save(tmp_path / "ramp.png")
    image = read(tmp_path / "ramp.png", (1, 4, 16), resize=True)[0, 0]
    torch.testing.assert_close(
        image[:, 2:-2], torch.linspace(0.5 / 31, 30.5 / 31, 16).expand(4, 16)[:, 2:-2], atol=5e-3, rtol=0
    )


# Arrays


def test_exact_values(tmp_path):
    array = np.random.default_rng(0).normal(size=(2, 1, 4, 6)).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    torch.save(torch.from_numpy(array), tmp_path / "a.pt")
    torch.save({"mixture": torch.from_numpy(array), "epoch": 3}, tmp_path / "d.pt")
    np.savez(tmp_path / "a.npz", mixture=array, sources=array[:1])
    np.savez(tmp_path / "alone.npz", anything=array)
    for name in ("a.npy", "a.pt", "d.pt", "a.npz", "alone.npz"):
        for mean in (False, True):  # arrays are never means
            assert torch.equal(read(tmp_path / name, mean=mean), torch.from_numpy(array)), name


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.uint8, bool, ">f4"])
def test_kinds_of_number(tmp_path, kind):
    array = (PIXELS > 100).astype(kind)
    np.save(tmp_path / "a.npy", array)
    assert torch.equal(read(tmp_path / "a.npy")[0, 0], torch.from_numpy(PIXELS > 100).float())


def test_an_array_in_columns_first_order(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(PIXELS / 255))
    assert torch.equal(read(tmp_path / "a.npy")[0, 0], torch.from_numpy((PIXELS / 255).astype(np.float32)))


def test_random_damage_is_always_one_error(tmp_path):
    """Whatever bytes are overwritten or missing: values, or a DataError of one line; nothing else."""
    rng = np.random.default_rng(0)
    Image.fromarray(PIXELS).save(tmp_path / "good.png")
    np.save(tmp_path / "good.npy", PIXELS / 255)
    np.savez_compressed(tmp_path / "good.npz", mixture=PIXELS / 255, other=PIXELS)
    torch.save(torch.from_numpy(PIXELS / 255), tmp_path / "good.pt")
    errors = []
    for suffix in (".png", ".npy", ".npz", ".pt"):
        content = (tmp_path / f"good{suffix}").read_bytes()
        for trial in range(60):
            damaged = bytearray(content)
            start = int(rng.integers(len(content)))
            damaged[start : start + 8] = rng.bytes(8) if trial % 3 else b""
            damaged = damaged[: start + 8] if trial % 4 == 0 else damaged
            path = tmp_path / f"bad{suffix}"
            path.write_bytes(damaged)
            try:
                read(path)
            except basis.DataError as error:
                errors.append(str(error))
    assert len(errors) > 120
    assert not [error for error in errors if "bad." not in error or ". To fix: " not in error or "\n" in error]


# Finding


def test_find(tmp_path):
    for name in ("b.png", "a.NPY", "c.txt", "d.pt", "e.npz", "notes.md"):
        (tmp_path / name).touch()
    single = tmp_path / "c.txt"
    assert [path.name for path in find([single, tmp_path])] == ["c.txt", "a.NPY", "b.png", "d.pt", "e.npz"]


def test_find_nothing(tmp_path):
    (tmp_path / "c.txt").touch()
    with pytest.raises(basis.UsageError, match=r"holds no image and no array\. To fix: "):
        find([tmp_path])


# What is written


def test_colour_sources_as_written(tmp_path):
    samples = torch.rand(1, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mixing = basis.WeightedSum([1, 1])
    fill(tmp_path / "x", mixing(samples)[0], samples, 0, mixing, [], {})
    for k in range(2):
        written = np.asarray(Image.open(tmp_path / "x" / f"source_{k + 1}.png")).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(written, samples[0, k].numpy(), atol=0.5 / 255 + 1e-6)
    assert np.array_equal(np.load(tmp_path / "x" / "sources.npy"), samples[0].numpy())
    assert not (tmp_path / "x" / "anneal.gif").exists()


# Pictures


def tiles(picture, rows, columns, size=TILE):
    """Return the mean grey level of each tile of a grid."""
    array = np.asarray(picture.convert("L"), dtype=float) / 255
    step = size + GAP
    return np.array(
        [
            [array[LABEL + GAP + r * step :, GAP + c * step :][:size, :size].mean() for c in range(columns)]
            for r in range(rows)
        ]
    )


def test_tiles_are_enlarged_without_smoothing():
    image = torch.rand(1, 28, 28)
    array = np.asarray(tile(image))
    assert np.array_equal(array[::4, ::4, 1], (image[0].numpy() * 255).round().astype(np.uint8))
    assert np.array_equal(array, np.repeat(np.repeat(array[::4, ::4], 4, 0), 4, 1))


def test_values_out_of_range_are_clamped():
    array = np.asarray(tile(torch.tensor([[[-1.0, 0.0, 1.0, 7.0]]]).expand(1, 4, 4)))
    assert sorted(set(array.flatten())) == [0, 255]


def test_grid_places_images_and_leaves_gaps_white():
    black, grey = torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.5)
    found = tiles(grid([[black, None, grey], [grey, black]], ["a", "b", "c"]), 2, 3)
    np.testing.assert_allclose(found, [[0, 1, 0.5], [0.5, 0, 1]], atol=0.01)


def test_panel():
    """Mixture, sources, re-mix and enlarged error, one row a sample; white is the sum of the weights."""
    levels = torch.tensor([[0.2, 0.6], [0.4, 0.2]])  # sources of two samples
    samples = levels[:, :, None, None, None].expand(2, 2, 1, 8, 8)
    mixing, mixture = basis.WeightedSum([1.0, 3.0]), torch.full((1, 8, 8), 2.0)
    found = tiles(panel(mixture, samples, mixing(samples), 4.0), 2, 5)
    remix = [0.2 + 1.8, 0.4 + 0.6]
    expected = [[2 / 4, *levels[i], remix[i] / 4, min((2 - remix[i]) / 4 * ERROR_SCALE, 1)] for i in range(2)]
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_animation(tmp_path):
    values = [0.0, 0.25, 0.75]
    frames = [frame(torch.ones(1, 8, 8), torch.full((2, 1, 8, 8), v), 2.0, v) for v in values]
    first, options = animation(frames)
    first.save(tmp_path / "a.gif", **options)
    with Image.open(tmp_path / "a.gif") as file:
        assert (file.n_frames, file.info["loop"]) == (3, 0)
        durations = []
        for i, value in enumerate(values):
            file.seek(i)
            durations.append(file.info["duration"])
            np.testing.assert_allclose(tiles(file.convert("RGB"), 1, 3), [[0.5, value, value]], atol=0.02)
    assert durations == [80, 80, 2000]
