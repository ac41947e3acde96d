"""Nonnegative matrix factorisation with dictionaries that were learned from training sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from basis.core.noise import Noise
from basis.core.problem import Problem
from basis.core.sampler import State
from basis.core.separator import Stream, separation
from basis.core.settings import Count, Whole
from basis.io.learned import Learned, Learning, pixels
from basis.separators._factors import activations, clusters, factorise
from basis.separators._masks import shares
from basis.separators._weights import positive


class NMF(Learned):
    """Nonnegative dictionaries of the sources, and the shares of the mixture that each explains (Table 2, "NMF").

    ``D_k``, R atoms for each kind of source, from ``min ‖X_k - W D_k‖_F`` over its training images X_k, nonnegative
    (Lee & Seung 1999). Then ``h = argmin ‖m - Σ_k D_kᵀ h_k‖``, ``h ≥ 0``, over all dictionaries together, and
    ``x_k = m · V_k / Σ_j V_j / α_k`` with ``V_k = D_kᵀ h_k``: soft masks. The sources are then brought into [0, 1],
    where they still mix to m.

    Where all sources are of one kind nothing says which atom belongs to which of them. The atoms are then dealt to the
    sources by k-means of their directions, the same way for every mixture: arbitrary, and worse than the average. The
    paper does not describe its NMF; divergence, R and iterations here are ours. Needs positive weights, whatever they
    are, and scikit-learn.

    Args:
        shape, kinds: see `Learned`.
        components: atoms R of each kind.
        iterations: passes of coordinate descent that learn a dictionary.
        sweeps: passes that fit a mixture.
        images: the most training images of each kind that are used, the first ones.
        seed: fixes the start of the dictionaries, and k-means.

    Raises:
        UsageError: scikit-learn is not installed; separating a mixing with weights that are not positive.

    Example:
        >>> nmf = NMF((1, 4, 4), kinds=(0, 1), components=3, iterations=20)
        >>> [progress.step for progress in nmf.fit([torch.rand(50, 1, 4, 4), torch.rand(50, 1, 4, 4)])]
        [1, 2]
        >>> nmf.atoms.shape
        torch.Size([2, 3, 16])
    """

    atoms: Tensor

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        kinds: Sequence[int] = (0, 0),
        components: Count = 12,
        iterations: Count = 100,
        sweeps: Count = 200,
        images: Count = 10_000,
        seed: Whole = 0,
    ) -> None:
        super().__init__(shape, kinds)
        self.components, self.iterations, self.sweeps, self.images = components, iterations, sweeps, images
        self.seed = seed
        self.register_buffer("atoms", torch.zeros(len(set(kinds)), components, int(np.prod(shape))))

    def learn(self, images: Sequence[Tensor]) -> Iterator[Learning]:
        """Learn one dictionary after another; the loss is the mean squared error of a pixel."""
        for kind, some in enumerate(images):
            v = pixels(some[: self.images]).flatten(1).numpy()
            w, h = factorise(v, self.components, self.iterations, self.seed)
            self.atoms[kind] = torch.from_numpy(h)
            yield Learning(kind + 1, len(images), float(np.square(v - w @ h).mean()))

    def find(self, problem: Problem, noise: Noise) -> Stream:
        alphas = positive(problem, "nmf")
        m = problem.mixture.clamp_min(0)
        parts = self._parts(m.flatten(1).double().cpu(), len(alphas)).to(m)
        x = shares(problem, problem.mixture, parts.unflatten(2, self.shape), alphas).repeat_interleave(noise.samples, 0)
        yield State(x, sigma=0.0, level=1, levels=1, step=1, steps=1)
        return separation(problem, x)

    def _parts(self, m: Tensor, sources: int) -> Tensor:
        """Return what each source adds to the model of mixtures m (B, pixels), (B, K, pixels)."""
        atoms = self.atoms.flatten(0, 1).double().cpu()
        h = torch.from_numpy(activations(m.numpy(), atoms.numpy(), self.sweeps))
        if len(self.atoms) == 1:
            owner = torch.from_numpy(clusters(atoms.numpy(), sources, self.seed))
            return torch.stack([h[:, owner == k] @ atoms[owner == k] for k in range(sources)], 1)
        kinds = torch.tensor(self.kinds)
        by_kind = torch.einsum("bgr,grd->bgd", h.unflatten(1, (len(self.atoms), -1)), self.atoms.double().cpu())
        return by_kind[:, kinds] / kinds.bincount()[kinds][:, None]  # sources of one kind share what it explains
