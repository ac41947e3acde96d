"""Bad calls of the Python interface."""

from __future__ import annotations

import math
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

import basis
from bad_input import cases, goods
from bad_input.case import Case
from basis.core.dataset import open_dataset
from basis.core.metric import METRICS, pairwise_psnr
from basis.core.schedule import geometric, karras, overlapping
from basis.datasets.folder import Folder
from basis.datasets.lsun import LSUN
from basis.evaluation import evaluate
from basis.mixtures import draw_mixtures, load_mixtures
from basis.priors.edm import EDM
from basis.priors.glow import Glow

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


class Mute(basis.Prior):
    """A prior whose score is not one."""

    def __init__(self, answer):
        super().__init__((1, 8, 8), support=(0.0, 1.0))
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
    "share": (-1, 2, "x", NAN),
    "project": ("x", 3),
}
METHODS = (3, "nope", "", object(), basis.BASIS, [], "nmf", "supervised", b"fast")
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
    yield from measuring()
    yield from building()


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
        object(),
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


def measuring():
    for name, function in {
        "psnr": basis.psnr,
        "align": basis.align,
        "pairwise": pairwise_psnr,
        "ssim": lambda a, b: METRICS.get("ssim")()(a, b),
    }.items():
        for kind, (a, b) in {
            "shapes": (STACKS, STACKS[:, :, :, :4]),
            "counts": (STACKS, STACKS[:1]),
            "sources": (STACKS, STACKS[:, :1]),
            "nan": (STACKS * NAN, STACKS),
            "nan truth": (STACKS, STACKS * NAN),
            "inf": (STACKS, STACKS * INF),
            "none": (None, STACKS),
            "text": ("x", STACKS),
            "list": ([1], STACKS),
            "line": (STACKS[0, 0, 0, 0], STACKS[0, 0, 0, 0]),
            "empty": (STACKS[:0], STACKS[:0]),
            "complex": (STACKS * 1j, STACKS),
            "sparse": (STACKS.to_sparse(), STACKS),
            "meta": (STACKS.to("meta"), STACKS),
            "words": (np.full(STACKS.shape, "a"), STACKS),
            "objects": (np.full(STACKS.shape, None), STACKS),
            "number": (1.0, 2.0),
            "no sources": (STACKS[:, :0], STACKS[:, :0]),
            "bytes with floats": ((STACKS * 255).byte(), STACKS),
        }.items():
            yield f"{name} {kind}", partial(function, a, b)
    yield "reorder", lambda: basis.reorder(STACKS, torch.tensor([[0, 9]] * 3))
    yield "reorder floats", lambda: basis.reorder(STACKS, torch.rand(3, 2))
    yield "reorder shape", lambda: basis.reorder(STACKS, torch.zeros(1, 1, dtype=torch.long))
    yield "evaluate shape", lambda: evaluate(separate(method="average"), STACKS)
    yield "evaluate nan", lambda: evaluate(separate(method="average"), STACKS[:1] * NAN)
    for name in ("fid", "kid", "inception_score"):
        for source in ("nope", "", 3, None, "/dev/null", "mnist"):
            yield f"{name} {source!r}", lambda name=name, source=source: METRICS.get(name)(source)
        for kind, images in {
            "none": None,
            "nan": IMAGES * NAN,
            "text": "x",
            "line": IMAGES[0, 0, 0],
            "empty": IMAGES[:0],
            "complex": IMAGES * 1j,
            "above": IMAGES * 300 - 99,
            "channels": IMAGES.expand(3, 5, 8, 8),
        }.items():
            yield f"{name} of {kind}", lambda name=name, images=images: METRICS.get(name)("mnist-digits").update(images)
        yield f"{name} of nothing", lambda name=name: METRICS.get(name)("mnist-digits").compute()
    yield "log-likelihood of a score", lambda: METRICS.get("log_likelihood")(prior())
    yield "likelihoods of a score", lambda: basis.likelihoods(prior(), IMAGES, IMAGES)
    yield "likelihoods shape", lambda: basis.likelihoods(flow(), IMAGES[:, :, :4], IMAGES)
    yield "likelihoods nan", lambda: basis.likelihoods(flow(), IMAGES * NAN, IMAGES)
    yield "likelihoods seed", lambda: basis.likelihoods(flow(), IMAGES, IMAGES, seed=-1)


def building():
    for kind, arguments in {
        "empty": ([], [], []),
        "nan": ([1.0], [[NAN]], [[[1.0]]]),
        "negative": ([1.0], [[0.0]], [[[-1.0]]]),
        "not square": ([1.0], [[0.0, 0.0]], [[[1.0, 0.0]]]),
        "weights": ([-1.0], [[0.0]], [[[1.0]]]),
        "sums": ([0.0], [[0.0]], [[[1.0]]]),
        "counts": ([0.5, 0.5], [[0.0]], [[[1.0]]]),
        "text": ("x", [[0.0]], [[[1.0]]]),
        "none": (None, None, None),
        "ragged": ([1.0], [[0.0], [1.0, 2.0]], [[[1.0]]]),
        "asymmetric": ([1.0], [[0.0, 0.0]], [[[1.0, 5.0], [0.0, 1.0]]]),
        "strings": (["a"], [["b"]], [[["c"]]]),
        "inf": ([1.0], [[INF]], [[[1.0]]]),
        "complex": ([1j], [[0.0]], [[[1.0]]]),
    }.items():
        yield f"mixture of gaussians {kind}", partial(basis.GaussianMixture, *arguments)
    for size in (0, -1, 1.5, "x", None, True, 10**9):
        yield f"Folder size {size}", lambda size=size: Folder(cases.BASE[0], "pipeline", size=size).images("test")
        yield f"LSUN size {size}", lambda size=size: LSUN(cases.BASE[0], size=size).images("test")
    for path in (None, 3, "nowhere", "/dev/null", "good.npy", "recipe.toml", "\x00"):
        yield f"Folder path {path!r}", lambda path=path: Folder(cases.BASE[0], path).images("test")
    for split in ("", "tset", None, 3):
        yield f"split {split!r}", lambda split=split: open_dataset("digits").images(split)
    for spec in (
        "",
        "nope",
        ":",
        "digits:",
        "digits:x",
        "folder:x,size",
        "folder:x,=3",
        None,
        3,
        "digits & ",
        "digits & digits & digits & nope",
    ):
        if spec != "digits:":
            yield f"open_dataset {spec!r}", lambda spec=spec: open_dataset(spec).images("test")
    for settings in (
        {"sources": 1},
        {"n": 0},
        {"n": 1.5},
        {"seed": -1},
        {"weights": [1.0]},
        {"weights": [NAN, 1]},
        {"task": "x"},
        {"split": "x"},
        {"n": "x"},
        {"sources": 10**6},
        {"sources": "x"},
        {"index": [-1]},
        {"n": 10**9},
        {"seed": 1.5},
    ):
        yield f"draw_mixtures {settings}", lambda settings=settings: draw_mixtures(open_dataset("digits"), **settings)
    yield "load_mixtures of nothing", partial(load_mixtures, "nowhere")
    yield "load_mixtures of a file", lambda: load_mixtures(cases.BASE[0] / "good.npy")
    for name, values in {"sigma": (0, -1, NAN, "x", None), "x": (None, "x", IMAGES[0, 0], IMAGES.to("meta"))}.items():
        for value in values:
            call = (
                (lambda value=value: prior().score(IMAGES, value))
                if name == "sigma"
                else (lambda value=value: prior().score(value, 0.5))
            )
            if name == "sigma":
                yield f"score {name} {value!r}"[:60], call
    for n in (0, -1, 1.5, "x", None, 10**9):
        yield f"generate n={n}", lambda n=n: basis.generate(prior(), n)
    for settings in (
        {"seed": -1},
        {"seed": 1.5},
        {"seed": "x"},
        {"batch_size": 0},
        {"batch_size": "x"},
        {"sampler": 3},
        {"sampler": "heun"},
    ):
        yield f"generate {settings}", lambda settings=settings: basis.generate(prior(), 1, **settings)
    yield "generate of a network", lambda: basis.generate(prior().network, 1)
    yield "generate of a name", lambda: basis.generate("mnist", 1)
    for precision in ("bf8", "", None, 3, torch.bfloat16, True):
        yield f"accelerated {precision!r}", lambda precision=precision: basis.Accelerated(prior(), precision)
    yield "accelerated name", partial(basis.Accelerated, "mnist")
    yield "accelerated network", lambda: basis.Accelerated(prior().network)
    for arguments in ((0.0,), (-1.0,), (NAN,), (INF,), ("x",), (1.0, NAN), (None,)):
        yield f"rescaled {arguments}", lambda arguments=arguments: basis.Rescaled(prior(), *arguments)
    yield "rescaled none", partial(basis.Rescaled, None, 1.0)
    yield "bounded none", partial(basis.Bounded, None)
    for size in ((4, 4), (8,), (8, 8, 8), 8, "x", (NAN, 8), (8.5, 8), (10**9, 10**9), (-8, 8), None):
        yield f"windowed {size!r}", lambda size=size: basis.Windowed(prior(), size)
    for settings in ({"overlap": 1.0}, {"overlap": NAN}, {"overlap": "x"}, {"at_once": 0}, {"at_once": 1.5}):
        yield f"windowed {settings}", lambda settings=settings: basis.Windowed(prior(), (9, 9), **settings)
    for priors in ([], None, [None], [3], "x"):
        yield f"product {priors!r}", lambda priors=priors: basis.Product(priors)
    for most in (0, -1, 1.5, "x", None, 10**9):
        yield f"count most={most}", lambda most=most: basis.count_sources(M, prior(), most, "fast")
    for arguments in (
        (0.0, 0.1, 3),
        (1.0, 2.0, 3),
        (1.0, 0.1, 0),
        (1.0, 0.1, -1),
        (NAN, 0.1, 3),
        (1.0, 0.1, 1.5),
        ("x", 0.1, 3),
        (INF, 0.1, 3),
        (1.0, 0.1, 10**12),
    ):
        yield f"geometric {arguments}", partial(geometric, *arguments)
        yield f"karras {arguments}", partial(karras, *arguments)
    for arguments in ((1.0, 2.0, 3), (1.0, 0.1, 0), (NAN, 0.1, 3), (1.0, 0.0, 3)):
        yield f"overlapping {arguments}", partial(overlapping, *arguments)
    for settings in (
        {"sigma": 0},
        {"sigma": 2, "sigma_max": 1},
        {"steps": 0},
        {"probes": 0},
        {"steps": 1.5},
        {"sigma": NAN},
        {"seed": -1},
    ):
        yield f"flow_log_prob {settings}", lambda settings=settings: basis.flow_log_prob(prior(), IMAGES, **settings)
    for name in (None, 3, "", "nope", "../x", "two-a.png"):
        yield f"example {name!r}", partial(basis.example, name)
    yield "find_modes", lambda: basis.find_modes(None, prior(), TWO)
    yield "Glow.sample", lambda: flow().sample(-1)
    yield "Glow.sample nan", lambda: flow().sample(1, sigma=NAN)
    yield "Glow.decode", lambda: flow().decode(torch.zeros(1, 3))
    yield "Glow.log_prob shape", lambda: flow().log_prob(IMAGES[:, :, :3], 0.1)
    yield "Glow.log_prob sigma", lambda: flow().log_prob(IMAGES, 9.0)
    yield "Glow.one_at_a_time", partial(Glow.one_at_a_time, "nowhere")


def harmless(name: str) -> bool:
    return name in HARMLESS


HARMLESS = {
    "save_prior other arguments",
    "prior whole numbers",
    "separate bool and shape",
    "count bool and shape",
    "psnr number",
    "Folder path 3",
}


def static():
    for name, function in calls():
        yield Case(f"python: {name}", function, harmless=harmless(name))
