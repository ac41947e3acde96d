"""One reader of pictures: the values are those of the file, whatever its depth, palette, alpha, orientation or mode."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import basis
from basis.core.errors import DataWarning
from basis.datasets.folder import Folder
from basis.runs.read import read_grey, read_mixture
from basis.signals import image

BYTES = np.arange(24, dtype=np.uint8).reshape(4, 6) * 11
COLOURS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
DEEP = np.linspace(0, 65535, 24).round().astype(np.uint16).reshape(4, 6)
SHAPE = (1, 4, 6)


@pytest.fixture(autouse=True)
def no_warnings_and_a_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BASIS_DATA", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        yield


def unit(array, top=255):
    """Return (H, W) or (H, W, 3) as (C, H, W) in [0, 1]."""
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(array / np.float32(top)).float()


def saved(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


def png(colour_type, rows, bits=16, **extra):
    """Return a PNG, which PIL cannot write in all depths (PNG specification, section 11)."""
    height, width = rows.shape[:2]
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0),
        **{name.encode(): content for name, content in extra.items()},
        b"IDAT": zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)),
        b"IEND": b"",
    }
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


# Depth


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM"])
def test_eight_bits_are_exact(kind):
    grey = image.read(saved(Image.fromarray(BYTES), kind))
    assert torch.equal(grey, unit(BYTES).expand_as(grey))  # a GIF has a palette of colours
    if kind != "GIF":
        assert torch.equal(image.read(saved(Image.fromarray(COLOURS), kind)), unit(COLOURS))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_of_grey(kind):
    picture = Image.fromarray(DEEP if kind != "PPM" else DEEP.astype(np.int32))
    torch.testing.assert_close(image.read(saved(picture, kind)), unit(DEEP, 65535), atol=1e-7, rtol=0)


def test_a_graymap_of_another_depth():
    values = np.arange(24).reshape(4, 6) * 40
    found = image.read(io.BytesIO(b"P5\n6 4\n1000\n" + values.astype(">u2").tobytes()))
    torch.testing.assert_close(found, unit(values.astype(np.float32), 1000), atol=1e-5, rtol=0)


def tiff(tags, content):
    """Return a little-endian TIFF of one strip from its tags (TIFF 6.0, section 2)."""
    tags = {256: 6, 257: 4, 259: 1, 277: 1, 278: 4, 279: len(content), **tags}
    tags[273] = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return io.BytesIO(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + content)


def test_twelve_bits():
    values = np.arange(24).reshape(4, 6) * 178  # to 4094
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    found = image.read(tiff({258: 12, 262: 1}, packed.astype(np.uint8).tobytes()))
    torch.testing.assert_close(found, unit(values.astype(np.float32), 4095), atol=1e-6, rtol=0)


def test_where_nought_is_white():
    found = image.read(tiff({258: 16, 262: 0}, DEEP.astype("<u2").tobytes()))
    torch.testing.assert_close(found, 1 - unit(DEEP, 65535), atol=1e-6, rtol=0)
    found = image.read(tiff({258: 8, 262: 0}, BYTES.tobytes()))
    torch.testing.assert_close(found, 1 - unit(BYTES), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_of_colour_are_eight_and_said_so(colour_type, channels):
    rows = np.repeat(DEEP[..., None], channels, 2)
    if channels != 3:
        rows[..., -1] = 65535  # opaque
    with pytest.warns(DataWarning, match=r"the picture has 16 bits a colour, of which 8 are read"):
        found = image.read(png(colour_type, rows))
    torch.testing.assert_close(found, unit(DEEP, 65535).expand_as(found), atol=1 / 255, rtol=0)


def test_sixteen_bits_in_a_pixmap_and_a_tiff():
    content = np.repeat(DEEP[..., None], 3, 2)
    with pytest.warns(DataWarning, match="16 bits a colour"):
        image.read(io.BytesIO(b"P6\n6 4\n65535\n" + content.astype(">u2").tobytes()))
    # A value of three numbers lies elsewhere in a TIFF; three samples of 16 bits are an offset to them.
    depth = tiff({258: 16, 262: 2, 277: 3}, content.astype("<u2").tobytes()).getvalue()
    position = depth.index(struct.pack("<HHI", 258, 4, 1))
    depth = bytearray(depth + struct.pack("<3H", 16, 16, 16))
    struct.pack_into("<HHII", depth, position, 258, 3, 3, len(depth) - 6)
    with pytest.warns(DataWarning, match="16 bits a colour"):
        found = image.read(io.BytesIO(bytes(depth)))
    torch.testing.assert_close(found, unit(DEEP, 65535).expand(3, 4, 6), atol=1 / 255, rtol=0)


def test_one_bit():
    assert torch.equal(image.read(saved(Image.fromarray(BYTES > 100), "PNG")), unit((BYTES > 100).astype(np.uint8), 1))


def test_floats_are_taken_as_they_are():
    values = np.random.default_rng(0).random((4, 6), np.float32)
    values[0, :2] = 0, 1
    assert torch.equal(image.read(saved(Image.fromarray(values), "TIFF"))[0], torch.from_numpy(values))


@pytest.mark.parametrize(
    ("low", "high", "text"), [(0, 255, "from 0 to 255"), (-0.5, 1, "from -0.5 to 1"), (0, 1.01, "to 1.01")]
)
def test_floats_outside_are_refused_with_their_range(low, high, text):
    values = np.linspace(low, high, 24, dtype=np.float32).reshape(4, 6)
    with pytest.raises(basis.DataError, match=rf"float values {text}|float values .*{text}, expected them in \[0, 1\]"):
        image.read(saved(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_floats_that_are_no_numbers_are_refused(bad):
    values = np.full((4, 6), 0.5, np.float32)
    values[2, 3] = bad
    with pytest.raises(basis.DataError, match="float values"):
        image.read(saved(Image.fromarray(values), "TIFF"))


def test_whole_numbers_of_32_bits_are_refused_with_their_range():
    for values in (BYTES.astype(np.int32), -BYTES.astype(np.int32)):
        with pytest.raises(
            basis.DataError, match=r"32 bits, from .* to .*does not say which of them is white\. To fix"
        ):
            image.read(saved(Image.fromarray(values), "TIFF"))


# Palettes and transparency


def test_a_palette_is_looked_up():
    picture = Image.fromarray(COLOURS).quantize(16)
    expected = np.asarray(picture.convert("RGB"))
    assert len(np.unique(expected.reshape(-1, 3), axis=0)) > 8
    for kind in ("PNG", "GIF", "TIFF", "BMP"):
        assert torch.equal(image.read(saved(picture, kind)), unit(expected))


@pytest.fixture
def stroke():
    """A stroke of some level on transparency, as RGBA; with what a background makes of it."""

    def make(level):
        rgba = np.zeros((4, 6, 4), np.uint8)
        rgba[..., :3], rgba[1, :, 3] = level, 255
        return Image.fromarray(rgba)

    return make


def test_transparent_parts_show_the_background(stroke):
    for background, expected in {"black": [0, 0, 0], "white": [1, 1, 1], "#ff8000": [1, 128 / 255, 0]}.items():
        with pytest.warns(DataWarning, match=f"the picture has transparent parts, composed on {background}"):
            found = image.read(saved(stroke(200), "PNG"), background=background)
        torch.testing.assert_close(found[:, 0, 0], torch.tensor(expected, dtype=torch.float32))
        torch.testing.assert_close(found[:, 1, 0], torch.full((3,), 200 / 255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_half_transparent_parts_are_mixed(kind):
    alpha = np.broadcast_to(np.arange(6, dtype=np.uint8) * 51, (4, 6))
    rgba = np.dstack([np.full((4, 6, 3), 100, np.uint8), alpha])
    with pytest.warns(DataWarning):
        found = image.read(saved(Image.fromarray(rgba), kind, **({"lossless": True} if kind == "WEBP" else {})))
    torch.testing.assert_close(found, (100 / 255 * unit(alpha)).expand(3, 4, 6), atol=1 / 255, rtol=0)


def test_grey_with_alpha_stays_grey_on_grey():
    picture = saved(Image.fromarray(np.dstack([BYTES, 255 * (BYTES > 100).astype(np.uint8)])), "PNG")
    with pytest.warns(DataWarning):
        assert torch.equal(image.read(picture), unit(np.where(BYTES > 100, BYTES, 0)))
    with pytest.warns(DataWarning):
        assert image.read(picture, background="red").shape == (3, 4, 6)


def test_a_transparent_entry_of_a_palette_and_a_transparent_level():
    palette = Image.fromarray(BYTES // 100).convert("P")
    palette.putpalette([0, 0, 0, 90, 90, 90, 180, 180, 180])
    with pytest.warns(DataWarning):
        found = image.read(saved(palette, "PNG", transparency=2), background="white")
    assert torch.equal(found, unit(np.array([0, 90, 255], np.uint8)[BYTES // 100]).expand(3, 4, 6))
    level = png(0, DEEP, tRNS=struct.pack(">H", 65535))
    with pytest.warns(DataWarning, match="composed on grey level 0"):
        found = image.read(level)
    torch.testing.assert_close(found, unit(np.where(DEEP == 65535, 0, DEEP), 65535), atol=1e-6, rtol=0)


def test_an_opaque_alpha_changes_nothing_and_is_not_said():
    rgba = np.dstack([COLOURS, np.full((4, 6), 255, np.uint8)])
    assert torch.equal(image.read(saved(Image.fromarray(rgba), "PNG")), unit(COLOURS))
    la = np.dstack([BYTES, np.full((4, 6), 255, np.uint8)])
    assert torch.equal(image.read(saved(Image.fromarray(la), "PNG")), unit(BYTES))


@pytest.mark.parametrize("background", ["", "wite", "#12", "1", None, 3])
def test_backgrounds_refused(background):
    with pytest.raises(basis.UsageError, match=r"expected the name of a colour or #rrggbb as background"):
        image.read(Image.new("L", (2, 2)), background=background)


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF deep"])
def test_orientation_is_followed(orientation, kind):
    """Where row 0 and column 0 of the file lie in the picture (EXIF 2.3, table of tag 0112)."""
    upright = DEEP if "deep" in kind else BYTES
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: upright.T[::-1], 7: upright.T[::-1, ::-1], 8: upright.T[:, ::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x112] = orientation
    file = saved(Image.fromarray(np.ascontiguousarray(stored)), kind.split()[0], exif=exif)
    expected = unit(upright, 65535 if "deep" in kind else 255)
    torch.testing.assert_close(image.read(file), expected, atol=1e-7, rtol=0)


# Modes of colour


def test_cmyk_hsv_and_ycbcr():
    picture = Image.fromarray(COLOURS)
    for mode in ("CMYK", "HSV", "YCbCr", "RGBX"):
        torch.testing.assert_close(image.read(picture.convert(mode)), unit(COLOURS), atol=0.03, rtol=0)
    cmyk = picture.convert("CMYK")
    torch.testing.assert_close(image.read(saved(cmyk, "TIFF")), unit(COLOURS), atol=0.01, rtol=0)
    torch.testing.assert_close(image.read(saved(cmyk, "JPEG", quality=100, subsampling=0)).mean(),
                               unit(COLOURS).mean(), atol=0.02, rtol=0)  # fmt: skip


@pytest.mark.parametrize("mode", [None, "RGB", "L"])
def test_lab(mode):
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    grey = Image.fromarray(np.repeat(BYTES[..., None], 3, 2))
    lab = saved(ImageCms.applyTransform(grey, to_lab), "TIFF")
    found = image.to_tensor(image.open_picture(lab, mode=mode))
    torch.testing.assert_close(found, unit(BYTES).expand_as(found), atol=0.02, rtol=0)


# Several frames, damage, sizes


def test_several_frames_are_refused(tmp_path):
    frames = [Image.new("L", (6, 4), 100 * i) for i in range(3)]
    for suffix in ("gif", "tif", "webp", "png"):
        path = tmp_path / f"several.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with pytest.raises(basis.DataError, match=rf"several\.{suffix} holds 3 frames or pages, expected one picture"):
            image.read(path)


def test_a_photograph_with_a_preview_is_its_first_picture(tmp_path):
    path = tmp_path / "camera.jpg"
    preview = Image.new("RGB", (3, 2))
    Image.fromarray(COLOURS).save(path, "MPO", save_all=True, append_images=[preview], quality=95)
    assert image.read(path).shape == (3, 4, 6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_truncated_files(kind, tmp_path):
    content = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), kind).getvalue()
    for part in (10, len(content) // 2, len(content) - 40):
        (tmp_path / "cut").write_bytes(content[:part])
        with pytest.raises(
            basis.DataError, match=r"cut (is damaged or cannot|is not an image that can) be read"
        ) as caught:
            image.read(tmp_path / "cut")
        assert "\n" not in str(caught.value)


def test_pixels_are_counted_before_they_are_read(monkeypatch, tmp_path):
    """A header that asks for 1.6 billion pixels, with nothing behind it."""
    huge = png(0, DEEP).getvalue().replace(struct.pack(">II", 6, 4), struct.pack(">II", 40_000, 40_000))
    body = huge[12:29]
    huge = huge[:29] + struct.pack(">I", zlib.crc32(body)) + huge[33:]
    with pytest.raises(basis.DataError, match=r"too many pixels: 40000×40000, at most .* To fix: .*BASIS_MAX_GIB=18"):
        image.read(io.BytesIO(huge))
    monkeypatch.setenv("BASIS_MAX_GIB", "18")
    with pytest.raises(basis.DataError, match="is damaged or cannot be read"):
        image.read(io.BytesIO(huge[:60]))
    monkeypatch.setenv("BASIS_MAX_GIB", str(23 * 12 / 2**30))
    with pytest.raises(basis.DataError, match="too many pixels: 6×4, at most 23 are read"):
        image.read(Image.fromarray(BYTES))
    assert Image.MAX_IMAGE_PIXELS > 2**26  # the caller's own limit is as it was


# Sizes


def test_resizing_stays_within_the_range(tmp_path):
    """Lanczos overshoots beside edges: of float values by 9 %."""
    step = np.zeros((32, 32), np.float32)
    step[:, 13:] = 1
    for array in (step, (65535 * step).astype(np.uint16), (255 * step).astype(np.uint8)):
        found = image.read(saved(Image.fromarray(array), "TIFF"), size=(20, 20))
        assert (found.min(), found.max()) == (0, 1)
        assert found.shape == (1, 20, 20)
        assert found.mean() == pytest.approx(19 / 32, abs=0.01)


def test_resizing_eight_bits_is_as_pil_does_it():
    large = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    expected = np.asarray(Image.fromarray(large).resize((11, 9), Image.Resampling.LANCZOS))
    assert torch.equal(image.read(Image.fromarray(large), size=(9, 11)), unit(expected))


# The same picture everywhere


def kinds(folder, stroke):
    """Write a picture of each kind; return what it shows."""
    exif = Image.Exif()
    exif[0x112] = 6
    square = np.random.default_rng(2).integers(0, 256, (8, 8), np.uint8)
    deep = np.random.default_rng(2).integers(0, 65536, (8, 8), np.uint16)
    hole = np.dstack([square, 255 * (square > 99).astype(np.uint8)])
    written = {
        "plain.png": (Image.fromarray(square), {}, unit(square)),
        "deep.png": (Image.fromarray(deep), {}, unit(deep, 65535)),
        "float.tif": (Image.fromarray(deep / np.float32(65535)), {}, unit(deep, 65535)),
        "turned.png": (Image.fromarray(np.ascontiguousarray(square.T[::-1])), {"exif": exif}, unit(square)),
        "hole.png": (Image.fromarray(hole), {}, unit(np.where(square > 99, square, 0))),
        "palette.gif": (Image.fromarray(square), {}, unit(square)),
    }
    for name, (picture, options, _) in written.items():
        picture.save(folder / name, **options)
    return {name: expected for name, (*_, expected) in written.items()}


def test_separate_colorize_and_folders_see_one_picture(tmp_path, stroke):
    warnings.simplefilter("ignore", DataWarning)
    (tmp_path / "train").mkdir()
    expected = kinds(tmp_path / "train", stroke)
    data = Folder(tmp_path, size=8, channels=1)
    for _ in range(2):  # converted, then from the cache
        found = {}
        for split in ("train", "validation", "test"):
            if files := data.files(split):
                found |= dict(zip([path.name for path in files], data.load(split)[0], strict=True))
        assert found.keys() == expected.keys()
        for name, shown in expected.items():
            torch.testing.assert_close(found[name] / 255, shown, atol=0.5 / 255 + 1e-6, rtol=0)
    for name, shown in expected.items():
        path = tmp_path / "train" / name
        torch.testing.assert_close(read_mixture(path, (1, 8, 8), 2, mean=False)[0], shown, atol=1e-6, rtol=0)
        torch.testing.assert_close(read_grey(path, (3, 8, 8), (0.3, 0.6, 0.1))[0][0], shown, atol=1e-6, rtol=0)


def test_a_folder_says_once_how_many_are_transparent(tmp_path, stroke):
    (tmp_path / "test").mkdir()
    for i in range(5):
        (stroke(9) if i < 3 else Image.new("RGB", (4, 4))).save(tmp_path / "test" / f"{i}.png")
    with pytest.warns(DataWarning, match=r"^3 of 5 pictures have transparent parts, composed on black \(.*0\.png, …\)"):
        black = Folder(tmp_path, size=4).load("test")[0]
    with pytest.warns(DataWarning, match="composed on white"):
        white = Folder(tmp_path, size=4, background="white").load("test")[0]
    assert (black.float().mean() < 5, white[:3].float().mean() > 150) == (True, True)


def test_a_picture_of_one_value_is_said(tmp_path, stroke):
    Image.new("L", (6, 4), 51).save(tmp_path / "flat.png")
    with pytest.warns(DataWarning, match=r"flat\.png has one value, 0\.2, in every pixel.*--background white"):
        read_mixture(tmp_path / "flat.png", SHAPE, 2, mean=True)


def test_on_the_command_line(run_basis, tmp_path, stroke):
    stroke(0).resize((28, 28)).save(tmp_path / "ink.png")
    command = ("separate", tmp_path / "ink.png", "--method", "average", "--out", tmp_path / "out")
    code, _, err = run_basis(*command)
    assert code == 0
    assert [line.partition("ink.png ")[2][:28] for line in err.splitlines()] == [
        "has transparent parts, compo", "has one value, 0, in every p",
    ]  # fmt: skip
    code, _, err = run_basis(*command, "--out", tmp_path / "white", "--background", "white")
    assert (code, len(err.splitlines())) == (0, 1)
    assert np.load(tmp_path / "white" / "ink" / "sources.npy").mean() > 0.5
    code, _, err = run_basis(*command, "--overwrite", "--background", "wite")
    assert (code, "expected the name of a colour" in err) == (2, True)


def test_random_damage_gives_values_or_one_error_in_one_line():
    """Headers above all: what is overwritten, cut off or made huge there."""
    rng = np.random.default_rng(0)
    pictures = {
        "PNG": Image.fromarray(DEEP), "JPEG": Image.fromarray(COLOURS), "GIF": Image.fromarray(BYTES),
        "BMP": Image.fromarray(COLOURS), "TIFF": Image.fromarray(DEEP / np.float32(65535)),
        "PPM": Image.fromarray(COLOURS), "WEBP": Image.fromarray(COLOURS),
    }  # fmt: skip
    refused = []
    for kind, picture in pictures.items():
        content = saved(picture, kind).getvalue()
        for trial in range(40):
            damaged = bytearray(content)
            start = int(rng.integers(min(len(content), 150)))
            damaged[start : start + 4] = [b"\xff" * 4, b"\0" * 4, rng.bytes(4), rng.bytes(1)][trial % 4]
            damaged = damaged[: start + 8] if trial % 10 == 0 else damaged
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = image.read(io.BytesIO(bytes(damaged)), size=(4, 6))
            except basis.DataError as error:
                refused.append(str(error))
            else:
                assert (found.min() >= 0, found.max() <= 1, found.shape[1:]) == (True, True, (4, 6))
    assert 60 < len(refused) < 270
    assert not [message for message in refused if "\n" in message or ". To fix: " not in message]
