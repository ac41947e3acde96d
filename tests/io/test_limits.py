"""Sizes are looked at before memory is taken, limits can be raised, and nothing is read that may never end."""

import gzip
import inspect
import io
import json
import os
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.core.dataset import open_dataset
from basis.datasets.folder import Folder
from basis.evaluate.mixtures import load_mixtures
from basis.io.limits import check_bytes, most_bytes
from basis.runs.read import read_mixture

SHAPE = (1, 28, 28)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BASIS_DATA", raising=False)
    monkeypatch.delenv("BASIS_MAX_GIB", raising=False)


@pytest.fixture
def little_memory():
    """Whatever takes more than 600 MB beyond what this process has is a MemoryError."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 600 * 2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def read(path):
    return read_mixture(path, SHAPE, 2, mean=False)


# Arrays


def expanded_tensor(path):
    torch.save(torch.zeros(1, 1, 28, 28).expand(1_500_000, 1, 28, 28), path)


def zeros_in_zip(path, count=60_000):
    """Write an archive of zeros, as bytes, without having them in memory; DEFLATE packs them a thousandfold."""
    head = {"descr": "|u1", "fortran_order": False, "shape": (count, 1, 28, 28)}
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("mixture.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, head)
        for _ in range(count // 10_000):
            file.write(bytes(10_000 * 784))


def zeros_of_bytes(path):
    """Write fewer, below the limit, but four times as much as float32."""
    zeros_in_zip(path, count=20_000)


def header_alone(path):
    with path.open("wb") as file:
        head = {"descr": "<f8", "fortran_order": False, "shape": (10**7, 1, 28, 28)}
        np.lib.format.write_array_header_1_0(file, head)


def header_of_bytes_beyond_floats(path):
    """Write a sparse file as large as its header says."""
    with path.open("wb") as file:
        head = {"descr": "|u1", "fortran_order": False, "shape": (500_000, 1, 28, 28)}
        np.lib.format.write_array_header_1_0(file, head)
        file.truncate(file.tell() + 500_000 * 784)


def packed_tensor(path):
    """Write a `.pt` whose archive is compressed, which torch reads."""
    plain = io.BytesIO()
    torch.save(torch.zeros(1, 28, 28), plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for entry in old.infolist():
            with new.open(entry.filename, "w", force_zip64=True) as file:
                file.write(old.read(entry))
                if entry.filename.endswith("data/0"):
                    for _ in range(5):
                        file.write(bytes(10**7))


LARGE = {  # GiB that may be taken, if another number than by default
    "expanded.pt": (expanded_tensor, None, r"4\.38 GiB, more than the limit of 1 GiB.*set BASIS_MAX_GIB=5"),
    "packed.pt": (packed_tensor, "0.04", r"0\.0466 GiB, more than the limit of 0\.04 GiB.*set BASIS_MAX_GIB=1"),
    "zeros.npz": (zeros_in_zip, "0.04", r"0\.0438 GiB, more than the limit of 0\.04 GiB"),
    "bytes.npz": (zeros_of_bytes, "0.04", r"0\.0584 GiB, more than the limit of 0\.04 GiB"),
    "header.npy": (header_alone, None, r"cannot be read as an array \(mmap length is greater than file size\)"),
    "sparse.npy": (header_of_bytes_beyond_floats, None, r"1\.46 GiB, more than the limit of 1 GiB"),
}


@pytest.mark.parametrize("name", LARGE)
def test_small_files_of_large_arrays(name, tmp_path, monkeypatch, little_memory):
    write, limit, message = LARGE[name]
    write(tmp_path / name)
    if limit:
        monkeypatch.setenv("BASIS_MAX_GIB", limit)
    with pytest.raises(basis.DataError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_another_array_of_an_archive_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setenv("BASIS_MAX_GIB", str(4000 / 2**30))
    np.savez_compressed(tmp_path / "a.npz", mixture=np.ones(SHAPE, np.float32), other=np.zeros(10**6))
    assert torch.equal(read(tmp_path / "a.npz"), torch.ones(1, *SHAPE))


def test_the_limit_can_be_raised_and_lowered(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.ones(SHAPE, np.float32))
    monkeypatch.setenv("BASIS_MAX_GIB", str(3000 / 2**30))
    with pytest.raises(basis.DataError, match="more than the limit"):
        read(tmp_path / "a.npy")
    monkeypatch.setenv("BASIS_MAX_GIB", str(3200 / 2**30))
    assert read(tmp_path / "a.npy").shape == (1, *SHAPE)
    monkeypatch.delenv("BASIS_MAX_GIB")
    assert most_bytes() == 2**30
    check_bytes("x", 2**30)


@pytest.mark.parametrize("value", ["", "much", "0", "-1", "nan", "inf"])
def test_limits_refused(value, monkeypatch, tmp_path):
    monkeypatch.setenv("BASIS_MAX_GIB", value)
    np.save(tmp_path / "a.npy", np.ones(SHAPE))
    with pytest.raises(basis.UsageError, match=rf"expected a number of GiB in BASIS_MAX_GIB, got '{value}'"):
        read(tmp_path / "a.npy")


def test_mixtures_of_zeros(tmp_path, monkeypatch):
    (tmp_path / "mixtures.json").write_text(json.dumps({"n": 1, "weights": [1.0, 1.0]}))
    np.savez_compressed(tmp_path / "00000.npz", mixture=np.zeros((1, 512, 512)), sources=np.zeros((2, 1, 512, 512)))
    monkeypatch.setenv("BASIS_MAX_GIB", "0.001")
    with pytest.raises(basis.DataError, match=r"00000\.npz unpacks to .* more than the limit of 0\.001 GiB"):
        load_mixtures(tmp_path)


# Data sets


def test_zeros_behind_a_name_of_mnist(tmp_path, little_memory):
    """A gzip file that unpacks to 1.3 GB."""
    megabyte = gzip.compress(bytes(2**20))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(megabyte * 1300)  # members follow each other
    with pytest.raises(basis.DataError, match=r"unpacks to more than the 47,040,016 bytes of any file of MNIST"):
        open_dataset("mnist", tmp_path).images("test")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_large_files_behind_a_name_of_mnist(name, suffix, tmp_path, little_memory):
    with (tmp_path / f"t10k-images-idx3-ubyte{suffix}").open("wb") as file:
        file.truncate(10**10)  # a sparse file
    with pytest.raises(basis.DataError, match=r"has 10,000,000,000 bytes, expected at most 47,040,016"):
        open_dataset(name, tmp_path).images("test")


@pytest.mark.parametrize("suffix", [".bin", ""])
def test_large_files_behind_a_name_of_cifar(suffix, tmp_path, little_memory):
    for i in range(1, 6):
        with (tmp_path / f"data_batch_{i}{suffix}").open("wb") as file:
            file.truncate(10**10)
    with pytest.raises(basis.DataError, match=r"data_batch_1.* 10,000,000,000 bytes"):
        open_dataset("cifar10", tmp_path).images("train")


# LSUN's databases


def database(folder, count=40):
    lmdb = pytest.importorskip("lmdb", reason="LSUN needs lmdb")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with lmdb.open(str(folder), map_size=2**24) as environment:
        for i in range(count):
            picture = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(picture, "JPEG")
            with environment.begin(write=True) as transaction:  # many transactions: both meta pages are written
                transaction.put(f"{i:040x}".encode(), picture.getvalue())
    return folder / "data.mdb"


CODE = """
import sys
from basis import BasisError
from basis.datasets.lsun import LSUN
try:
    print(len(LSUN(sys.argv[1], size=8).images("test")[0]))
except BasisError as error:
    print(error)
"""


def test_a_database_that_was_cut_off_anywhere(tmp_path):
    """Each in turn in a process of its own, which a read beyond the file's end would end with a bus error."""
    path = database(tmp_path / "whole" / "church_outdoor_val_lmdb")
    content = path.read_bytes()
    cuts = [0, 100, 152, 4096, 5000, 8191, 8192, len(content) // 2, len(content) - 4096, len(content) - 1]
    roots = [tmp_path / "whole"]
    for size in cuts:
        folder = tmp_path / str(size) / "church_outdoor_val_lmdb"
        folder.mkdir(parents=True)
        (folder / "data.mdb").write_bytes(content[:size])
        roots.append(tmp_path / str(size))
    script = "import sys, os\nfor root in sys.argv[1:]:\n  sys.argv[1] = root\n" + "\n".join(
        f"  {line}" for line in CODE.strip().splitlines()
    )
    done = subprocess.run([sys.executable, "-c", script, *map(str, roots)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert first == "40"
    assert len(others) == len(cuts)
    for size, line in zip(cuts, others, strict=True):
        wanted = "is cut off: it has" if size >= 152 else "is not an LMDB database that can be read"
        assert wanted in line, (size, line)
        assert "To fix: fetch it anew" in line


def test_the_size_that_a_database_says(tmp_path):
    path = database(tmp_path / "church_outdoor_val_lmdb")
    whole = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(whole - 1)
    with pytest.raises(basis.DataError, match=rf"has {whole - 1:,} bytes, and says that it has {whole:,}"):
        open_dataset("lsun", tmp_path).images("test")


# What is no file, or has no end


@pytest.fixture
def pipe(tmp_path):
    def make(name):
        os.mkfifo(tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.parametrize("suffix", ["png", "npy", "npz", "pt", "txt"])
def test_pipes_and_folders_are_refused(pipe, suffix, tmp_path):
    with pytest.raises(basis.DataError, match=rf"x\.{suffix} is a pipe or a device, expected a file"):
        read(pipe(f"x.{suffix}"))
    (tmp_path / f"y.{suffix}").mkdir()
    with pytest.raises(basis.DataError, match=rf"y\.{suffix} is a folder, expected a file"):
        read(tmp_path / f"y.{suffix}")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/random", "/dev/stdin", "/dev/tty", "/dev/null"])
def test_devices_are_refused(device, run_basis, tmp_path):
    code, out, err = run_basis("separate", device, "--method", "average", "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert err.splitlines()[1:] == ["basis: 1 of 1 inputs failed"]
    assert "Traceback" not in err


def test_pipes_on_the_command_line(pipe, run_basis, tmp_path):
    pipe("a.png"), pipe("b.npy")
    for command in ("separate", "count", "colorize"):
        code, _, err = run_basis(command, tmp_path, *([] if command == "count" else ["--out", tmp_path / "out"]))
        assert (code, err.count("is a pipe or a device, expected a file")) == (1, 2)


def test_pipes_and_folders_among_the_pictures_of_a_set_are_passed_over(pipe, tmp_path):
    pipe("x.png")
    (tmp_path / "y.png").mkdir()
    Image.new("L", (8, 8), 9).save(tmp_path / "y.png" / "z.png")
    data = Folder(tmp_path, size=8)
    assert [path.name for split in ("train", "validation", "test") for path in data.files(split)] == ["z.png"]


def test_deep_folders(tmp_path):
    """The walk does not recurse: 250 folders inside each other are read with room for 100 calls."""
    deep = tmp_path.joinpath(*["d"] * 250)
    for folder in reversed([deep, *deep.parents[:249]]):
        folder.mkdir()
    Image.new("L", (4, 4), 9).save(deep / "a.png")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        data = Folder(tmp_path, size=4)
        files = [path for split in ("train", "validation", "test") for path in data.files(split)]
    finally:
        sys.setrecursionlimit(limit)
    assert files == [deep / "a.png"]
    assert data.classes == ["d"]


def test_links_to_folders_are_not_followed(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "up").symlink_to(tmp_path)
    Image.new("L", (8, 8), 9).save(tmp_path / "inner" / "a.png")
    data = Folder(tmp_path, size=8)
    assert sum(len(data.files(split)) for split in ("train", "validation", "test")) == 1


# Pictures


def test_a_picture_of_many_pixels(tmp_path, little_memory):
    """A PNG of 50,000 × 50,000 pixels, of which the file holds a few bytes."""
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    struct.pack_into(">II", content, 16, 50_000, 50_000)
    struct.pack_into(">I", content, 29, zlib.crc32(bytes(content[12:29])))
    (tmp_path / "a.png").write_bytes(content)
    for call in (lambda: read(tmp_path / "a.png"), lambda: Folder(tmp_path, size=8).images("train")):
        with pytest.raises(basis.DataError, match=r"too many pixels: 50000×50000, at most 89,478,485 are read"):
            call()
