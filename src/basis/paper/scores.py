"""Inception Score, FID and KID of a stream of images: Tables 3 and 4."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterable, Mapping
from typing import Any

from torch import Tensor

from basis.core.errors import BasisError
from basis.metrics._features import Extractor
from basis.metrics.fid import FID
from basis.metrics.inception_score import SPLITS, InceptionScore
from basis.metrics.kid import KID
from basis.paper.experiment import Cell
from basis.paper.setup import Setup
from basis.paper.store import Progress, Store

PART = 500  # reference images at a time
REFERENCE = "train"  # split that FID and KID compare with


def scores(
    setup: Setup, store: Store, facts: dict, images: Iterable[Tensor], title: str, data: str = "cifar10"
) -> Generator[Progress, None, dict]:
    """Return the scores of images against all of the data set's training images, each with its deviation and n.

    Every image passes through the extractor once; no more than a part is in memory. Where the extractor cannot see such
    images, what is returned says so under "missing".

    Args:
        setup, store: where to compute, and to keep what was found.
        facts: what the images depend on, under which the scores are kept.
        images: parts of images in [0, 1], (b, C, H, W).
        title: what to call this.
        data: the data set.
    """
    extractor = setup.extractor()
    key = {**facts, "scores": extractor.name, "extractor": extractor.sha256, "reference": [data, REFERENCE]}
    if (found := store.recall(key)) is not None:
        return found
    try:
        found = yield from _measure(setup, extractor, images, title, data)
    except BasisError as error:
        return {"missing": str(error)}
    return store.keep(key, found)


def _measure(
    setup: Setup, extractor: Extractor, images: Iterable[Tensor], title: str, data: str
) -> Generator[Progress, None, dict]:
    fid, kid, reference = yield from _compared_with(setup, extractor, data)
    score, count = InceptionScore(extractor), 0
    for part in images:
        for features, logits in extractor(part):
            fid.take(features, logits)
            kid.take(features, logits)
            if logits is not None:
                score.take(features, logits)
        count += len(part)
        yield Progress(f"{title}: features", count, count)
    found: dict[str, Any] = {"n": count, "reference": f"{reference} images of {data}, {REFERENCE} split"}
    if score.count >= SPLITS:
        found["IS"] = score.compute()
    return found | {"FID": fid.compute(), "KID": kid.compute()}


def _compared_with(setup: Setup, extractor: Extractor, data: str) -> Generator[Progress, None, tuple[FID, KID, int]]:
    """Return FID and KID that have seen the real images, which pass through the extractor once for all rows."""
    seen = setup.once(("reference", data), dict)
    if not seen:
        fid, kid = FID(extractor), KID(extractor)
        source = setup.data(data)
        real, _ = source.images(REFERENCE)
        for start in range(0, len(real), PART):
            for features, logits in extractor(source.values(real[start : start + PART])):
                fid.take(features, logits, real=True)
                kid.take(features, logits, real=True)
            yield Progress("features of the training images", min(start + PART, len(real)), len(real))
        seen.update(FID=fid, KID=kid, count=len(real))
    return copy.deepcopy(seen["FID"]), copy.deepcopy(seen["KID"]), seen["count"]


def cells(row: str, task: str, found: dict, extractor: str, published: Mapping, facts: dict) -> list[Cell]:
    """Return the scores as cells; every column carries the extractor's name."""
    if reason := found.get("missing"):
        return lacking(row, task, extractor, published, reason)
    result = []
    for kind in ("IS", "FID", "KID"):
        value, error = published.get(kind) or (None, None)
        if kind not in found and value is None:
            continue
        mean, deviation = found.get(kind) or (None, None)
        missing = "" if kind in found else f"extractor {extractor} gives no class probabilities, or too few images"
        own = {**facts, "extractor": extractor, "reference": found["reference"]}
        result.append(
            Cell(row, column(task, kind, extractor), "", value, error, mean, deviation, found["n"], missing, own)
        )
    return result


def column(task: str, kind: str, extractor: str) -> str:
    """Return a column's name.

    Example:
        >>> column("split", "FID", "inception"), column("", "FID", "mnist-digits")
        ('split FID (inception)', 'FID (published: inception, measured: mnist-digits)')
    """
    features = extractor if extractor == "inception" else f"published: inception, measured: {extractor}"
    return f"{task} {kind} ({features})".strip()


def lacking(row: str, task: str, extractor: str, published: Mapping, reason: str) -> list[Cell]:
    """Return the cells of scores that cannot be measured."""
    return [
        Cell(row, column(task, kind, extractor), "", published[kind][0], published[kind][1], missing=reason)
        for kind in ("IS", "FID")
        if kind in published
    ]
