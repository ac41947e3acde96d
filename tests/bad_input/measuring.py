"""Bad calls of metrics."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

import basis
from bad_input.python import IMAGES, INF, NAN, STACKS, flow, prior, separate
from basis.core.metric import METRICS, pairwise_psnr
from basis.evaluate.evaluation import evaluate


def calls():
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
