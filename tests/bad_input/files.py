"""Bad pictures and arrays, for every command that reads mixtures."""

from __future__ import annotations

import gzip
import inspect
import os
import socket
import struct
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bad_input import cases
from bad_input.case import Case
from bad_input.goods import MIXTURE, PIXELS

COMMANDS = {
    "separate": ["separate", "--prior", "{base}/tiny", "--method", "fast", "--out", "out"],
    "count": ["count", "--prior", "{base}/tiny", "--most", "2", "--method", "fast"],
    "colorize": ["colorize", "--prior", "{base}/rgb", "--method", "fast", "--out", "out", "--resize"],
}


class Exploit:
    """Would run code where it is unpickled."""

    def __reduce__(self):
        return (os.system, ("touch exploited",))


def text(content: str | bytes):
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def array(values, save=np.save):
    return lambda path: save(path, values)


def tensor(values):
    return lambda path: torch.save(values() if inspect.isfunction(values) else values, path)


def picture(values, **options):
    return lambda path: Image.fromarray(values).save(path, **options)


def header(path: Path) -> None:
    """Write an array whose header asks for far more than the file has."""
    np.save(path, MIXTURE)
    old = b"(1, 8, 8), }" + b" " * 12
    path.write_bytes(path.read_bytes().replace(old, b"(9000000000000, 8, 8), }"))


def member(name: str, content: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)


def masked(path: Path) -> None:
    values = MIXTURE.copy()
    values[0, 3, 3] = np.nan
    np.save(path, values)


def large(size: int, path: Path) -> None:
    """Write a picture whose header tells of many more pixels than it has."""
    Image.fromarray(PIXELS).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", size, size)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def plug(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path.relative_to(Path.cwd())))


def loop(path: Path) -> None:
    path.mkdir()
    (path / "again").symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.png")


def circle(path: Path) -> None:
    path.symlink_to(path)


ZEROS = np.zeros((1, 8, 8), np.float32)
FILES = {
    "missing.png": None,
    "missing": None,
    "empty.png": text(""),
    "empty.jpg": text(""),
    "empty.npy": text(""),
    "empty.npz": text(""),
    "empty.pt": text(""),
    "words.png": text("no picture"),
    "words.tif": text("no picture"),
    "words.npy": text("no array"),
    "words.npz": text("no array"),
    "words.pt": text("no tensor" * 9),
    "words.txt": text("a mixture"),
    "words.csv": text("0,1\n1,0\n"),
    "zeros.png": text(bytes(9999)),
    "zeros.npy": text(bytes(9999)),
    "zeros.npz": text(bytes(9999)),
    "zeros.pt": text(bytes(9999)),
    "noise.png": text(np.random.default_rng(0).bytes(999)),
    "gzip.npy": text(gzip.compress(bytes(999))),
    "array.png": array(MIXTURE, lambda p, v: np.save(p.open("wb"), v)),
    "picture.npy": lambda path: Image.fromarray(PIXELS).save(path, "PNG"),
    "picture.pt": lambda path: Image.fromarray(PIXELS).save(path, "PNG"),
    "wide.png": picture(np.zeros((5, 9), np.uint8) + PIXELS[0, 0]),
    "one.png": picture(PIXELS[:1, :1]),
    "large.png": partial(large, 30_000),
    "larger.png": partial(large, 60_000),
    "line.npy": array(MIXTURE.reshape(64)),
    "scalar.npy": array(np.float32(0.5)),
    "none.npy": array(MIXTURE[:0]),
    "none-of-batch.npy": array(np.zeros((0, 1, 8, 8), np.float32)),
    "thin.npy": array(np.zeros((1, 0, 8), np.float32)),
    "deep.npy": array(MIXTURE[None, None, None]),
    "channels.npy": array(np.zeros((4, 8, 8), np.float32)),
    "size.npy": array(np.full((1, 7, 7), 0.5)),
    "nan.npy": masked,
    "infinite.npy": array(MIXTURE + np.inf),
    "huge.npy": array(MIXTURE.astype(float) * 1e300),
    "bytes.npy": array(PIXELS[None]),
    "negative.npy": array(MIXTURE - 3),
    "above.npy": array(MIXTURE * 40),
    "complex.npy": array(MIXTURE * 1j),
    "dates.npy": array(np.zeros((1, 8, 8), "datetime64[s]")),
    "strings.npy": array(np.full((1, 8, 8), "a")),
    "fields.npy": array(np.zeros((1, 8, 8), [("a", "f4")])),
    "objects.npy": array(np.array([Exploit()])),
    "void.npy": array(np.zeros((1, 8, 8), "V4")),
    "header.npy": header,
    "bomb.npz": lambda path: path.symlink_to(cases.BASE[0] / "bomb.npz"),
    "unnamed.npz": array(MIXTURE, lambda path, v: np.savez(path, a=v, b=v)),
    "nothing.npz": lambda path: np.savez(path),
    "objects.npz": lambda path: np.savez(path, mixture=np.array([Exploit()])),
    "member.npz": partial(member, "mixture.npy", b"no array"),
    "pickle.npz": partial(member, "data.pkl", b"cos\nsystem\n"),
    "number.pt": tensor(3),
    "dictionary.pt": tensor({"x": 1}),
    "list.pt": tensor([]),
    "exploit.pt": tensor(Exploit()),
    "module.pt": tensor(torch.nn.Linear(2, 2)),
    "sparse.pt": tensor(lambda: torch.eye(64).to_sparse()),
    "meta.pt": tensor(lambda: torch.zeros(1, 8, 8, device="meta")),
    "complex.pt": tensor(lambda: torch.zeros(1, 8, 8) * 1j),
    "expanded.pt": tensor(lambda: torch.zeros(1).expand(1, 40_000, 40_000)),
    "nan.pt": tensor(lambda: torch.zeros(1, 8, 8) / 0),
    "expanded-batch.pt": tensor(lambda: torch.zeros(1).expand(10**7, 1, 8, 8)),
    "empty-tensor.pt": tensor(lambda: torch.zeros(0)),
    "many-names.pt": tensor({"a": torch.zeros(1, 8, 8), "b": torch.zeros(1, 8, 8)}),
    "float.tif": lambda path: Image.fromarray(MIXTURE[0] * 300 - 20).save(path),
    "nan.tif": lambda path: Image.fromarray(MIXTURE[0] * np.float32(np.nan)).save(path),
    "fifo.png": pipe,
    "fifo.npy": pipe,
    "socket.png": plug,
    "folder.png": Path.mkdir,
    "folder.npy": Path.mkdir,
    "loop": loop,
    "dangling.png": dangling,
    "circle.png": circle,
    "empty-folder": Path.mkdir,
    "\udcff\udcfe.png": text("no picture"),
    "new\nline.png": text("no picture"),
    "a" * 250 + ".npy": text("no array"),
    "-dash.npy": text("no array"),
    " .png": text("no picture"),
    "ünï\u202ecöde.npy": text("no array"),
}
PATHS = [
    "",
    "/dev/zero",
    "/dev/null",
    "/dev/stdin",
    "/proc/self/mem",
    "/proc/self/environ",
    "/",
    "a" * 300 + ".png",
    "~/x.png",
    "\udcff",
]
WRONG_FOR = {  # what only some of the commands refuse
    "colorize": {"one.png", "wide.png", "line.npy", "size.npy", "channels.npy"},
}
ODD = {"loop"}


def named(command: str, name: str) -> list[str]:
    return [*COMMANDS[command], "--", name]


def static():
    for command in COMMANDS:
        for name, make in FILES.items():
            harmless = name in WRONG_FOR.get(command, ()) or name in ODD
            yield Case(
                f"{command} {ascii(name)[1:-1]}"[:80],
                named(command, name),
                make and (lambda folder, make=make, name=name: make(folder / name)),
                harmless,
            )
    for command in ("separate", "count"):
        for path in PATHS:
            yield Case(f"{command} path {ascii(path)[1:40]}", named(command, path))
    yield Case("separate nothing", COMMANDS["separate"])
    yield Case("count nothing", COMMANDS["count"])
    yield Case("colorize nothing", COMMANDS["colorize"])


GOOD = ("good.png", "good.jpg", "good.tif", "good.npy", "good.npz", "good.pt")


def cut(name: str, share: float) -> Case:
    """Return a good file without its end."""

    def make(folder: Path) -> None:
        content = (cases.BASE[0] / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * 0.98 * len(content))])

    return Case(f"separate cut {name} {share}", named("separate", name), make, harmless=name.endswith((".jpg", ".tif")))


def flipped(name: str, places: list[float], byte: int) -> Case:
    """Return a good file with other bytes, which may be as good."""

    def make(folder: Path) -> None:
        content = bytearray((cases.BASE[0] / name).read_bytes())
        for place in places:
            content[int(place * len(content))] = byte
        (folder / name).write_bytes(content)

    return Case(f"separate flipped {name} {places}", named("separate", name), make, harmless=True)
