"""Nonnegative matrix factorisation and k-means by scikit-learn, which is optional."""

from __future__ import annotations

import warnings

import numpy as np

from basis.core.errors import UsageError
from basis.io.loading import untouched


def factorise(v: np.ndarray, rank: int, iterations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return W (n, rank) and H (rank, d), nonnegative, with ``v ≈ W H`` for v (n, d), in the Frobenius norm.

    Coordinate descent from random values for a fixed number of iterations (Cichocki & Phan 2009).
    """
    decomposition = _sklearn("decomposition")
    nmf = decomposition.NMF(rank, init="random", tol=0, max_iter=iterations, random_state=seed)
    return nmf.fit_transform(v), nmf.components_


def activations(v: np.ndarray, h: np.ndarray, iterations: int) -> np.ndarray:
    """Return W (n, rank) of ``v ≈ W H`` under a given H (rank, d), each row by itself."""
    # Without a tolerance, which would be of all rows together, a row does not depend on the others.
    found, _, _ = _sklearn("decomposition").non_negative_factorization(
        v, H=h, n_components=len(h), update_H=False, tol=0, max_iter=iterations
    )
    return found


def clusters(atoms: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the k-means cluster of each atom (rank, d) by its direction, (rank,), int64 below ``count``."""
    cluster = _sklearn("cluster")
    size = np.linalg.norm(atoms, axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different atoms than clusters: some sources are then empty
        found = cluster.KMeans(count, n_init=4, random_state=seed).fit_predict(atoms / np.maximum(size, 1e-12))
    return found.astype(np.int64)


def _sklearn(part: str):
    try:
        with untouched():
            import sklearn.cluster
            import sklearn.decomposition
    except ImportError as error:
        raise UsageError(
            "nonnegative matrix factorisation needs scikit-learn", fix="pip install 'basis-separation[digits]'"
        ) from error
    return getattr(sklearn, part)
