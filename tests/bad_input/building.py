"""Bad arguments of priors, wrappers, data sets and schedules."""

from __future__ import annotations

from functools import partial

import torch

import basis
from bad_input import cases
from bad_input.python import IMAGES, INF, NAN, TWO, M, flow, prior
from basis.core.dataset import open_dataset
from basis.core.schedule import geometric, karras, overlapping
from basis.datasets.folder import Folder
from basis.datasets.lsun import LSUN
from basis.evaluate.mixtures import draw_mixtures, load_mixtures
from basis.priors.glow import Glow


def calls():
    yield from mixtures()
    yield from data()
    yield from priors()
    yield from numbers()


def mixtures():
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


def data():
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
        "digits:x",
        "folder:x,size",
        "folder:x,=3",
        None,
        3,
        "digits & ",
        "digits & digits & digits & nope",
    ):
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


def priors():
    for sigma in (0, -1, NAN, "x", None):
        yield f"score sigma {sigma!r}", lambda sigma=sigma: prior().score(IMAGES, sigma)
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


def numbers():
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
