"""Arrays at the door: every kind that people have gives the right result, or an error that says what to do."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import basis
from basis.core.arrays import as_tensor, plain_torch

VALUES = np.array([[[0.0, 0.25], [0.5, 1.5]]])  # exact in every type of float
EXPECTED = torch.tensor([[[0.0, 0.25], [0.5, 1.5]]])
SUM = basis.WeightedSum([1.0, 1.0])


@pytest.fixture
def gaussian():
    means = torch.linspace(0.2, 0.8, 4).reshape(1, 1, 2, 2)
    return basis.GaussianMixture([1.0], means, 0.05 * torch.eye(4)[None])


def inference(tensor):
    with torch.inference_mode():
        return tensor * 1


class Foreign:
    """As arrays of other libraries are."""

    def __array__(self, dtype=None, copy=None):
        return VALUES


def read_only():
    array = VALUES.astype(np.float32)
    array.flags.writeable = False
    return array


RIGHT = {
    "float32": lambda: VALUES.astype(np.float32),
    "float64": lambda: VALUES,
    "float16": lambda: VALUES.astype(np.float16),
    "longdouble": lambda: VALUES.astype(np.longdouble),
    "big-endian": lambda: VALUES.astype(">f8"),
    "big-endian float32, as in FITS": lambda: VALUES.astype(">f4"),
    "negative strides": lambda: np.ascontiguousarray(VALUES[:, ::-1])[:, ::-1],
    "negative strides in columns": lambda: VALUES[..., ::-1].copy()[..., ::-1],
    "columns first": lambda: np.asfortranarray(VALUES),
    "every second": lambda: np.repeat(VALUES, 2, 2)[..., ::2],
    "read-only": read_only,
    "masked without a mask": lambda: np.ma.masked_array(VALUES),
    "of another library": Foreign,
    "torch float64": lambda: torch.from_numpy(VALUES),
    "bfloat16": lambda: torch.from_numpy(VALUES).bfloat16(),
    "half": lambda: torch.from_numpy(VALUES).half(),
    "with gradients": lambda: torch.from_numpy(VALUES).float().requires_grad_(),
    "a parameter": lambda: torch.nn.Parameter(torch.from_numpy(VALUES).float()),
    "made in inference mode": lambda: inference(torch.from_numpy(VALUES).float()),
    "a view with the sign turned": lambda: torch._neg_view(-torch.from_numpy(VALUES).float()),
    "expanded": lambda: torch.from_numpy(VALUES)[None].expand(3, 1, 2, 2)[1],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", RIGHT)
def test_the_values_are_those_given(kind):
    found = as_tensor(RIGHT[kind]())
    assert torch.equal(found, EXPECTED)
    assert (found.dtype, found.layout, found.requires_grad) == (torch.float32, torch.strided, False)
    assert not found.is_inference()
    found.numpy()[:] = 0  # it may be written to


def test_what_is_read_only_stays_as_it_was():
    array = read_only()
    as_tensor(array).zero_()
    assert np.array_equal(array, VALUES)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.uint64, ">u2", bool])
def test_whole_numbers_keep_their_values(dtype):
    array = np.array([0, 1, 1, 0] if dtype is bool else [0, 1, 7, 100]).astype(dtype)
    assert as_tensor(array).tolist() == array.astype(float).tolist()
    if np.dtype(dtype).isnative:
        assert as_tensor(torch.from_numpy(array)).tolist() == array.astype(float).tolist()


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5)])
def test_scalars(value):
    assert torch.equal(as_tensor(value), torch.tensor(0.5))


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble])
def test_what_float32_cannot_hold_is_infinite(dtype):
    assert as_tensor(np.array([1e300], dtype)).tolist() == [float("inf")]


def nested():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once a process that they are new
        return torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])


def quantised():
    return torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.quint8)


DATA = {
    "complex": (lambda: VALUES.astype(complex), "array of complex128, expected real numbers. To fix: take the real"),
    "object": (lambda: VALUES.astype(object), "is an array of object, expected real numbers. To fix: convert it"),
    "date": (lambda: VALUES.astype("datetime64[s]"), r"array of datetime64\[s\], expected real numbers"),
    "time": (lambda: VALUES.astype("timedelta64[s]"), r"array of timedelta64\[s\], expected real numbers"),
    "text": (lambda: VALUES.astype(str), "array of <U32, expected real numbers"),
    "fields": (lambda: np.zeros(4, [("a", float)]), "expected real numbers"),
    "masked": (lambda: np.ma.masked_array(VALUES, VALUES > 1), "has masked values|with masked values.*filled"),
    "torch complex": (lambda: torch.ones(4, dtype=torch.complex64), "is complex.*To fix: take its real part"),
    "sparse": (lambda: torch.eye(4).to_sparse(), r"layout sparse_coo.*To fix: call its \.to_dense"),
    "rows of a sparse": (lambda: torch.eye(4).to_sparse_csr(), r"layout sparse_csr.*To fix: call its \.to_dense"),
    "meta": (lambda: torch.ones(4, device="meta"), "is a meta tensor, which has no values"),
    "quantised": (quantised, "is a quantised tensor.*dequantize"),
    "nested": (nested, "is a nested tensor.*stack its parts"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:torch.quantize:UserWarning", "ignore:Sparse:UserWarning")
@pytest.mark.parametrize("kind", DATA)
def test_what_has_no_number_in_each_place_is_refused(kind, gaussian):
    make, message = DATA[kind]
    value = make()
    with pytest.raises(basis.DataError, match=message) as caught:
        as_tensor(value)
    assert "\n" not in str(caught.value)
    with pytest.raises(basis.DataError, match="the mixture"):
        basis.separate(value, gaussian, SUM, "average")
    with pytest.raises(basis.DataError, match="the mixture"):
        basis.count_sources(value, gaussian)


@pytest.mark.parametrize("value", [None, [[[1.0]]], (1.0,), "image.png", 1.0, {}, Image.new("L", (2, 2))])
def test_what_is_no_array_is_refused(value):
    with pytest.raises(basis.UsageError, match=r"expected the mixture as a torch or numpy array, got .*To fix: "):
        as_tensor(value)


@pytest.mark.parametrize("kind", RIGHT)
def test_separations_do_not_depend_on_the_kind(kind, gaussian):
    plain = basis.separate(EXPECTED, gaussian, SUM, "basis", levels=3, steps=2)
    assert torch.equal(basis.separate(RIGHT[kind](), gaussian, SUM, "basis", levels=3, steps=2).samples, plain.samples)


def test_a_result_keeps_its_mixture_when_a_numpy_array_of_another_type_changes(gaussian):
    array = VALUES.copy()
    result = basis.separate(array, gaussian, SUM, "average")
    array[:] = 7
    assert torch.equal(result.mixture[0], EXPECTED)


# What the caller has set in torch


@pytest.fixture
def default64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


CALLS = {
    "gaussian": ("basis", {"levels": 2, "steps": 2}),
    "fast": ("fast", {"steps": 4}),
    "ranked": ("best_of", {"samples": 2, "steps": 2}),
}


@pytest.fixture
def called(gaussian, edm):
    def call(name):
        method, settings = CALLS[name]
        prior = gaussian if name == "gaussian" else edm
        mixture = torch.linspace(0, 1, 4 if name == "gaussian" else 64, dtype=torch.float32).reshape(
            1, *prior.shape[1:]
        )
        return basis.separate(mixture, prior, SUM, method, **settings).samples

    return call


@pytest.fixture
def plain(called):
    return {name: called(name) for name in CALLS}


@pytest.mark.parametrize("name", CALLS)
def test_separations_in_inference_mode(plain, called, name):
    with torch.inference_mode():
        found = called(name)
        assert torch.is_inference_mode_enabled()
    assert torch.equal(found, plain[name])
    assert not found.is_inference()


@pytest.mark.parametrize("name", CALLS)
def test_separations_with_a_default_of_float64(plain, default64, called, name):
    found = called(name)
    assert torch.get_default_dtype() == torch.float64
    assert (found.dtype, torch.equal(found, plain[name])) == (torch.float32, True)


def test_other_calls_whatever_the_caller_has_set(gaussian):
    x = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    def results():
        prior = basis.load_prior("mnist")
        return [
            next(prior.parameters()),
            basis.generate(gaussian, n=2),
            basis.flow_log_prob(gaussian, x, steps=2),
            gaussian.score(x, 0.5),
            basis.count_sources(x, gaussian, 2, "basis", levels=2, steps=2).evidence,
        ]

    expected = results()
    with torch.inference_mode():
        x = x * 1  # now a tensor of this mode
        inference = results()
    torch.set_default_dtype(torch.float64)
    try:
        doubled = results()
    finally:
        torch.set_default_dtype(torch.float32)
    for found in (inference, doubled):
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


def test_a_caller_without_gradients_stays_without():
    with torch.no_grad(), plain_torch():
        assert not torch.is_grad_enabled()


def test_an_error_gives_back_what_was_set(default64, gaussian):
    with torch.inference_mode():
        with pytest.raises(basis.DataError):
            basis.separate(torch.zeros(3), gaussian, SUM)
        assert torch.is_inference_mode_enabled()
    assert torch.get_default_dtype() == torch.float64


# Priors in other types and on other devices


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_network_in_another_type_is_an_error_that_says_so(edm, dtype):
    edm.to(dtype)
    name = str(dtype)[6:]
    with pytest.raises(basis.UsageError, match=rf"weights are {name}.*float32 samples\. To fix: call prior\.float\(\)"):
        basis.separate(torch.zeros(1, 8, 8), edm, SUM, "basis", levels=2, steps=1)
    with pytest.raises(basis.UsageError, match=rf"weights are {name}"):
        basis.generate(edm, n=1)
    with pytest.raises(basis.UsageError, match=rf"weights are {name}"):
        basis.separate(torch.zeros(1, 8, 8), [edm, basis.Bounded(edm)], SUM, "basis", levels=2, steps=1)


def test_a_prior_that_computes_in_float64_separates_as_in_float32(gaussian):
    plain = basis.separate(EXPECTED, gaussian, SUM, "basis", levels=3, steps=5).samples
    found = basis.separate(EXPECTED, gaussian.double(), SUM, "basis", levels=3, steps=5).samples
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)


def test_an_error_of_the_prior_itself_comes_through(gaussian):
    class Broken(basis.ScorePrior):
        def score(self, x, sigma):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        basis.separate(EXPECTED, Broken((1, 2, 2)), SUM, "basis", levels=2, steps=1)


def test_priors_on_the_meta_device_or_on_two_devices(gaussian, edm):
    with pytest.raises(basis.UsageError, match="the priors are on meta, expected one device with their weights"):
        basis.separate(torch.zeros(1, 8, 8), edm.to("meta"), SUM)
    other = basis.GaussianMixture([1.0], torch.zeros(1, 1, 2, 2), torch.eye(4)[None]).to("meta")
    with pytest.raises(basis.UsageError, match="the priors are on cpu and meta"):
        basis.separate(EXPECTED, [gaussian, other], SUM)


def test_a_compiled_prior_is_named_in_one_line(edm):
    with pytest.raises(basis.UsageError, match=r"got OptimizedModule\. To fix: use basis\.Accelerated") as caught:
        basis.separate(torch.zeros(1, 8, 8), torch.compile(edm), SUM)
    assert "\n" not in str(caught.value)
