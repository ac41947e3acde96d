"""CIFAR-10's python version: pickles written byte for byte as the published ones are, and hostile ones refused."""

import io
import pickle
import struct

import numpy as np
import pytest

import basis
from basis.datasets import cifar10
from basis.datasets._plain_pickle import plain
from basis.datasets.cifar10 import CIFAR10, FOLDER, PICKLED, RECORD, TRAIN

NAMES = [name.removesuffix(".bin") for name in TRAIN] + ["test_batch"]
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"


def text(value):
    """Return a short text as Python 2's cPickle has it in protocol 2 (SHORT_BINSTRING)."""
    return b"U" + bytes([len(value)]) + value


def array(pixels, kind=b"u1", order=b"\x89"):
    """Return the opcodes of a numpy array of bytes: its state is version, shape, type, order and a BINSTRING."""
    rows, columns = pixels.shape
    shape = b"M" + struct.pack("<H", rows) + b"M" + struct.pack("<H", columns) + b"\x86"
    dtype = b"cnumpy\ndtype\n" + text(kind) + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff"
    content = b"T" + struct.pack("<i", pixels.size) + pixels.tobytes()
    return ARRAY + b"(K\x01" + shape + dtype + b"K\x00tb" + order + content + b"tb"


def batch(records, label=b"training batch 1 of 5", data=None):
    """Return a batch as published: a dictionary of batch_label, labels, data and filenames."""
    labels = b"](" + b"".join(b"K" + bytes([value]) for value in records[:, 0]) + b"e"
    names = b"](" + b"".join(text(b"image_s_%06d.png" % i) for i in range(len(records))) + b"e"
    entries = {
        b"batch_label": text(label),
        b"labels": labels,
        b"data": array(records[:, 1:]) if data is None else data,
        b"filenames": names,
    }
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u."


@pytest.fixture
def files(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(cifar10, "IMAGES", 8)
    monkeypatch.setattr(cifar10, "HELD_OUT", 10)
    monkeypatch.delenv("BASIS_DATA", raising=False)
    found = {name: rng.integers(0, 256, (8, RECORD), np.uint8) for name in NAMES}
    for records in found.values():
        records[:, 0] %= 10
    return found


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in files.items():
        (folder / name).write_bytes(batch(records))


def test_numpy_itself_reads_what_these_tests_write(files):
    """So that the opcodes above are numpy's; its modules have moved since."""
    records = files["test_batch"]
    found = pickle.loads(batch(records).replace(b"numpy.core.", b"numpy._core."), encoding="bytes")
    assert np.array_equal(found[b"data"], records[:, 1:])
    assert found[b"labels"] == records[:, 0].tolist()
    assert found[b"filenames"][3] == b"image_s_000003.png"


@pytest.mark.parametrize("folder", [".", PICKLED])
def test_the_python_version(files, tmp_path, folder):
    write(tmp_path / folder, files)
    train = np.concatenate([files[name] for name in NAMES[:5]])
    for split, records in {"train": train[:-10], "validation": train[-10:], "test": files["test_batch"]}.items():
        images, labels = CIFAR10(tmp_path).images(split)
        assert np.array_equal(images.flatten(1).numpy(), records[:, 1:])
        assert images.shape[1:] == (3, 32, 32)
        assert labels.tolist() == records[:, 0].tolist()


def test_both_versions_agree_and_the_binary_one_comes_first(files, tmp_path):
    write(tmp_path / PICKLED, {name: 255 - records for name, records in files.items()})
    (tmp_path / FOLDER).mkdir()
    for name, records in files.items():
        (tmp_path / FOLDER / f"{name}.bin").write_bytes(records.tobytes())
    assert np.array_equal(CIFAR10(tmp_path).images("test")[0].flatten(1).numpy(), files["test_batch"][:, 1:])


class Exploit:
    def __reduce__(self):
        return (print, ("this must never run",))


def harmful(function, *arguments):
    class Call:
        def __reduce__(self):
            return (function, arguments)

    return Call()


HOSTILE = {
    "print": pickle.dumps(Exploit()),
    "in a dictionary": pickle.dumps({b"labels": [1], b"data": Exploit()}),
    "system": b"cos\nsystem\n(S'echo this must never run'\ntR.",
    "builtins": b"\x80\x02c__builtin__\neval\nU\x04quit\x85R.",
    "instance": b"(S'x'\nios\nsystem\n.",
    "getattr": pickle.dumps(harmful(getattr, "x", "upper")),
    "numpy's loader": b"cnumpy\nload\n(S'x'\ntR.",
    "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__new__\x93.",
    "extension": b"\x80\x02\x82\x01.",
    "from outside": b"Px\n.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_runs_nothing(files, tmp_path, capfd, name):
    write(tmp_path, files)
    (tmp_path / "test_batch").write_bytes(HOSTILE[name])
    with pytest.raises(
        basis.DataError, match=r"test_batch is not a batch of CIFAR-10's python version .*To fix: delete"
    ):
        CIFAR10(tmp_path).images("test")
    assert capfd.readouterr() == ("", "")


def test_the_refused_name_is_told():
    with pytest.raises(pickle.UnpicklingError, match=r"it asks for builtins\.print, which is not loaded"):
        plain(pickle.dumps(Exploit()))


def damaged(records):
    whole = batch(records)
    objects = array(records[:, 1:], kind=b"O8")
    labels = records.copy()
    labels[0, 0] = 10
    return {
        "cut off": whole[:-500],
        "empty": b"",
        "a web page": b"<html>",
        "an array of objects": batch(records, data=objects),
        "columns first": batch(records, data=array(records[:, 1:], order=b"\x88")),
        "another size": batch(records, data=array(records[:, 2:])),
        "too few images": batch(records[:5]),
        "labels above 9": batch(labels),
        "no array": batch(records, data=text(b"x")),
        "an array without content": batch(records, data=ARRAY),
        "a list": pickle.dumps([1, 2, 3]),
        "content that is no bytes": batch(records).replace(
            b"T" + struct.pack("<i", 8 * 3072), b"NT\x00\x60\x00\x00", 1
        ),
    }


@pytest.mark.parametrize("name", damaged(np.zeros((8, RECORD), np.uint8)))
def test_a_damaged_pickle_is_named(files, tmp_path, name):
    write(tmp_path, files)
    (tmp_path / "data_batch_2").write_bytes(damaged(files["data_batch_2"])[name])
    with pytest.raises(basis.DataError, match=r"data_batch_2 is not a batch of CIFAR-10's python version"):
        CIFAR10(tmp_path).images("train")
    CIFAR10(tmp_path).images("test")


def test_a_pickle_can_be_read_from_memory_alone():
    assert plain(io.BytesIO(pickle.dumps([1, (2.5, None)])).getvalue()) == [1, (2.5, None)]
