"""The reference that has seen no training data: each mixture is factorised by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from basis.core.noise import Noise
from basis.core.problem import Problem
from basis.core.sampler import State
from basis.core.separator import Separator, Stream, separation
from basis.core.settings import Count
from basis.separators._factors import clusters, factorise
from basis.separators._masks import shares
from basis.separators._weights import positive


@dataclass(frozen=True)
class Blind(Separator):
    """NMF of each mixture by itself, with its atoms clustered into sources by k-means: no training at all.

    The rows of a mixture, (C H, W), are a nonnegative matrix ``V ≈ W H``; each of the R products of a column of W with
    a row of H is an atom, an image of rank one. K-means of their directions makes K groups of them, and
    ``x_k = m · V_k / Σ_j V_j / α_k`` with V_k the sum of the atoms of group k, brought into [0, 1]. This is how
    spectrograms are split into notes (Smaragdis & Brown 2003; clustering as in Spiertz & Gnann 2009). Images seldom
    are sums of such products: it says what the mixture alone gives away. FastICA is no alternative, for it needs as
    many mixtures as sources.

    A single mixture is all that it sees, so that its result does not depend on the others. Needs positive weights, and
    scikit-learn.

    Args:
        components: atoms R; at least K are taken.
        iterations: passes of coordinate descent.

    Raises:
        UsageError: scikit-learn is not installed; weights that are not positive; components or iterations below 1.

    Example:
        >>> from basis import WeightedSum, load_prior, separate
        >>> result = separate(torch.rand(1, 28, 28), load_prior("mnist"), WeightedSum([1, 1]), Blind())
        >>> bool(result.residual < 1e-6)
        True
    """

    asks_prior: ClassVar[bool] = False

    components: Count = 16
    iterations: Count = 200

    def stream(self, problem: Problem, noise: Noise) -> Stream:
        alphas = positive(problem, "blind")
        m = problem.mixture.repeat_interleave(noise.samples, 0)
        x = torch.zeros(len(m), *problem.prior.shape).to(m)
        for i, stream in enumerate(noise.streams):
            parts = self._parts(m[i].clamp_min(0), len(alphas), int(stream.integers(2**31)))
            x[i] = shares(problem, m[i : i + 1], parts[None], alphas)[0]
            yield State(x, sigma=0.0, level=1, levels=1, step=i + 1, steps=len(m))
        return separation(problem, x)

    def _parts(self, m: Tensor, sources: int, seed: int) -> Tensor:
        """Return the sum of the atoms of each cluster, (K, *S), for a mixture of shape S."""
        v = m.double().cpu().reshape(-1, m.shape[-1]).numpy()
        w, h = factorise(v, max(self.components, sources), self.iterations, seed)
        atoms = np.einsum("nr,rd->rnd", w, h).reshape(w.shape[1], -1)
        owner = clusters(atoms, sources, seed)
        parts = np.stack([atoms[owner == k].sum(0) for k in range(sources)])
        return torch.from_numpy(parts).to(m).reshape(sources, *m.shape)
