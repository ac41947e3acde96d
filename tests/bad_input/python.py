"""Bad calls of the Python interface: separating, loading and saving."""

from __future__ import annotations

import math
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

import basis
from bad_input import cases, goods
from bad_input.case import Case
from basis.priors.edm import EDM

NAN, INF = math.nan, math.inf


M = torch.from_numpy(goods.MIXTURE)


IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


STACKS = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


TWO = basis.WeightedSum([1.0, 1.0])


@cache
def prior() -> basis.Prior:
    return basis.load_prior(cases.BASE[0] / "tiny")


@cache
def flow() -> basis.Prior:
    return basis.load_prior(cases.BASE[0] / "flow")


def separate(mixture=M, own=None, mixing=TWO, method="fast", **settings):
    return basis.separate(mixture, prior() if own is None else own, mixing, method, **settings)


def streamed(**settings):
    return list(basis.stream(M, prior(), TWO, "fast", **settings))


class Mute(basis.ScorePrior):
    """A prior whose score is not one."""

    def __init__(self, answer):
        super().__init__((1, 8, 8), data_range=(0.0, 1.0))
        self.answer = answer

    def score(self, x, sigma):
        return self.answer(x)


MIXTURES = {
    "none": None,
    "text": "x",
    "number": 0.5,
    "list": [[0.5]],
    "path": Path("x.png"),
    "shape": M[0],
    "size": M[..., :7],
    "batch of none": M[None][:0],
    "nan": M * NAN,
    "inf": M * INF,
    "bytes": (M * 255).byte(),
    "above": M * 9,
    "below": M - 9,
    "complex": M * 1j,
    "bool and shape": M > 0,
    "sparse": M.to_sparse(),
    "meta": M.to("meta"),
    "object": np.full((1, 8, 8), None),
    "strings": np.full((1, 8, 8), "a"),
    "dates": np.zeros((1, 8, 8), "datetime64[s]"),
    "masked": np.ma.masked_array(M.numpy(), M.numpy() > 0.5),
    "six dimensions": M[None, None, None],
    "nested": torch.nested.nested_tensor([M[0], M[0, :4]]),
    "quantised": torch.quantize_per_tensor(M, 0.1, 0, torch.quint8),
    "zero dimensions": torch.tensor(0.5),
    "function": print,
    "huge": M.double() * 1e300,
}


SETTINGS = {
    "seed": (-1, 1.5, "x", None, NAN, True, [1]),
    "samples": (0, -1, 1.5, "x", None, True, 10**9),
    "batch_size": (0, -1, 1.5, "x"),
    "index": ([], [0, 1], [-1], ["x"], [1.5], "x"),
    "budget": (0, -1, 1.5, "x", NAN, True),
    "steps": (0, -1, "x", 1.5, None, NAN),
    "sigma_min": (0, -1, "x", NAN, INF),
    "sigma_max": (0, -1, "x", NAN, INF, 1e-9),
    "nope": (1,),
    "posterior": ("nope", 3, None),
    "sampler": ("nope", 3, None),
    "noise_correlation": (-1, 2, "x", NAN),
    "project": ("x", 3),
}


METHODS = (3, "nope", "", b"", basis.BASIS, [], "nmf", "supervised", b"fast")


PRIORS = {
    "none in a list": lambda: [None, None],
    "text": lambda: "mnist",
    "one of two": lambda: [prior()],
    "three": lambda: [prior()] * 3,
    "class": lambda: EDM,
    "a network": lambda: prior().network,
    "sizes": lambda: [prior(), basis.load_prior("mnist")],
    "meta": lambda: EDM(**goods.EDM_ARGUMENTS).to("meta"),
    "nan": lambda: Mute(lambda x: x * NAN),
    "shape": lambda: Mute(lambda x: x[:, :, :4, :4]),
    "text for a score": lambda: Mute(lambda _: "x"),
    "none for a score": lambda: Mute(lambda _: None),
    "numpy for a score": lambda: Mute(lambda x: x.numpy()),
    "whole numbers": lambda: Mute(lambda x: x.new_zeros(1)),
    "complex score": lambda: Mute(lambda x: x * 1j),
}


WEIGHTS = (
    [],
    [0, 0],
    [NAN, 1],
    [INF, 1],
    ["a", "b"],
    "12",
    None,
    3,
    [[1, 2]],
    [None, 1],
    [1j, 1],
    torch.tensor([1, NAN]),
)


def calls():
    yield from ((f"separate {kind}", partial(separate, m)) for kind, m in MIXTURES.items())
    yield from (
        (f"count {kind}", lambda m=m: basis.count_sources(m, prior(), 2, "fast"))
        for kind, m in MIXTURES.items()
        if kind not in ("above",)
    )
    for name, values in SETTINGS.items():
        for value in values:
            if name in ("samples", "batch_size", "seed") and value is None and name != "samples":
                continue
            settings = {name: value, **({"method": None} if name == "budget" else {})}
            if name in ("seed", "samples", "index", "batch_size"):
                yield f"stream {name}={value}", partial(streamed, **settings)
            yield f"separate {name}={value}", partial(separate, **settings)
    yield from ((f"method {method!r}"[:40], partial(separate, method=method)) for method in METHODS)
    yield from ((f"prior {kind}", lambda make=make: separate(own=make())) for kind, make in PRIORS.items())
    yield from (
        (f"mixing {mixing!r}"[:40], partial(separate, mixing=mixing))
        for mixing in (3, "sum", [1.0, 1.0], basis.WeightedSum, prior)
    )
    yield from ((f"weights {weights!r}"[:60], partial(basis.WeightedSum, weights)) for weights in WEIGHTS)
    yield from (
        (f"clipped {arguments}"[:60], partial(basis.Clipped, *arguments))
        for arguments in (([],), ([NAN],), ([1.0], 1.0, 0.0), ([1.0], NAN), ([1.0], "x"))
    )
    yield from ((f"grayscale {weights}", partial(basis.Grayscale, weights)) for weights in ([], [NAN, 0, 1], "x", 3))
    yield from loading()


def loading():
    for source in (
        None,
        3,
        "",
        "nope",
        "/",
        "/dev/null",
        b"mnist",
        [],
        {},
        range(3),
        torch.nn.Linear(1, 1),
        EDM,
        "mnist\x00",
        "a" * 5000,
    ):
        yield f"load_prior {source!r}"[:60], partial(basis.load_prior, source)
        yield f"load_separator {source!r}"[:60], partial(basis.load_separator, source)
    for device in ("tpu", "", "cuda:99", 3.5, "cpu:x"):
        yield f"load_prior device {device!r}", partial(basis.load_prior, "mnist", device)
    for sha in ("0", "", 3, b"0"):
        if sha != "":
            yield f"load_prior sha {sha!r}", partial(basis.load_prior, "mnist", sha256=sha)
    save = basis.save_prior
    good = goods.EDM_ARGUMENTS
    yield "save_prior none", lambda: save(None, {}, "x")
    yield "save_prior unknown kind", lambda: save(Mute(lambda x: x), {}, "x")
    yield "save_prior function for an argument", lambda: save(prior(), {**good, "mean": print}, "x")
    yield "save_prior list", lambda: save(prior(), [1], "x")
    yield "save_prior card", lambda: save(prior(), good, "x", card={"a": print})
    yield "save_prior dtype", lambda: save(prior(), good, "x", dtype="bf16")
    yield "save_prior whole numbers", lambda: save(prior(), good, "x", dtype=torch.int8)
    yield "save_prior into a file", lambda: save(prior(), good, cases.BASE[0] / "good.npy")
    yield "save_prior into /dev/null", lambda: save(prior(), good, "/dev/null")
    yield "save_prior other arguments", lambda: save(prior(), {**good, "widths": [4, 4]}, "x")
    yield "save_prior meta", lambda: save(EDM(**good).to("meta"), good, "x")


HARMLESS = {
    "separate bool and shape",
    "count bool and shape",
    "psnr number",
    "Folder path 3",
}


def static():
    from bad_input import building, measuring

    for part in (calls, measuring.calls, building.calls):
        for name, function in part():
            yield Case(f"python: {name}", function, harmless=name in HARMLESS)
