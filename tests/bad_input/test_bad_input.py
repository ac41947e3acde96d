"""Bad inputs of every command, reader and function: each is refused in one to three lines, in bounded time and memory.

What is bad is written down in `options`, `files`, `models`, `tables` and `python`; hypothesis adds what nobody thought
of. A few of each run in every test run, all of them under ``make test-slow``.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bad_input.worker import Warm

pytest.importorskip("accelerate", reason="training needs the extra 'train'")
pytest.importorskip("diffusers", reason="pipelines need that package")
pytest.importorskip("lmdb", reason="LSUN needs that package")
pytest.importorskip("sklearn", reason="the digits data set needs scikit-learn")

PARTS = 16  # that all cases are cut into, so that processes share them
FAST = 50  # of all cases, one in so many runs in every test run
LEAST = 500  # cases
SHARES = st.floats(0, 1, exclude_max=True)
PLACES = st.lists(SHARES, min_size=1, max_size=4)
BYTES = st.sampled_from([0x00, 0x01, 0x7F, 0x80, 0xFF])
PICTURES = ["good.png", "good.jpg", "good.tif", "good.npy", "good.npz", "good.pt"]
KEYS = ["prior", "arguments", "shape", "n", "weights", "mixtures", "psnr", "experiments", "index", "seed", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text("ab{}[]\n\u2028", max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
ENTRIES = (  # of a recipe, and what is none of their values
    ("prior data objective precision stored", "1 1.5 true [] {} nan ''"),
    ("steps batch warmup every", "0 -1 1.5 'x' true [1] {} nan inf"),
    ("learning_rate clip", "0 -1.0 'x' true [1.0] {} nan"),
    ("decay beta2 ema known labels", "-1.0 'x' true [1.0] {} nan inf"),
    ("unit_weights dequantize flip compile", "0 1.0 'true' [] {} 2000-01-01"),
    ("seed shift", "-1 1.5 'x' true [1] {} nan"),
)
WORDS = ["steps", "levels", "sigma_max", "sigma_min", "delta", "temperature", "ratio", "denoise", "project", "bounded"]
WRONG = st.sampled_from([[], {}, [1, "x"], {"x": 1}, "none of these", [[]], [None]])
fuzzed = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    with Warm(tmp_path_factory.mktemp("good") / "base") as process:
        yield process


def run(warm, names):
    found = [fault for name in names for fault in warm.faults("static", name)]
    assert not found, "\n".join(found)


def test_some_of_all(warm):
    names = warm.names()
    assert len(names) >= LEAST
    run(warm, names[::FAST])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_all(warm, part):
    run(warm, warm.names()[part::PARTS])


@pytest.mark.slow
@fuzzed
@given(st.sampled_from(PICTURES), st.floats(0, 0.95))
def test_files_without_their_end(warm, name, share):
    assert not warm.faults("cut", name, share)


@pytest.mark.slow
@fuzzed
@given(st.sampled_from([*PICTURES, "weights", "glow"]), PLACES, BYTES)
def test_files_with_other_bytes(warm, name, places, byte):
    assert not warm.faults("flipped", name, places, byte)


@pytest.mark.slow
@fuzzed
@given(st.sampled_from([(key, value) for keys, values in ENTRIES for key in keys.split() for value in values.split()]))
def test_entries_of_recipes(warm, entry):
    assert not warm.faults("entry", *entry)


@pytest.mark.slow
@fuzzed
@given(st.sampled_from(["figures", "mixtures", "header"]), JSON)
def test_files_of_json(warm, kind, value):
    assert not warm.faults("document", kind, value)


@pytest.mark.slow
@fuzzed
@given(st.sampled_from(["separate", "count", "evaluate"]), st.sampled_from(WORDS), WRONG)
def test_settings(warm, command, name, value):
    assert not warm.faults("setting", command, name, value)
