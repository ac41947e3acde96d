"""Soft masks: shares of the mixture for each source, from nonnegative parts that explain it."""

from __future__ import annotations

import torch
from torch import Tensor

from basis.core.problem import Problem


def shares(problem: Problem, m: Tensor, parts: Tensor, alphas: Tensor) -> Tensor:
    """Return ``x_k = m · V_k / Σ_j V_j / α_k``, (B, K, *S), brought into the prior's data range, where they mix to m.

    Where no part explains a pixel, all sources have the same share of it.

    Args:
        problem: how m was mixed, and what values sources can take.
        m: mixtures of the weighted sum, (B, *S).
        parts: V, what each source adds to the mixture in a model of it, nonnegative, (B, K, *S).
        alphas: weights of the sum, (K,), positive.
    """
    total = parts.sum(1, keepdim=True)
    mask = torch.where(total > 0, parts / total.clamp_min(torch.finfo(parts.dtype).tiny), 1 / parts.shape[1])
    x = m[:, None] * mask / alphas.reshape(-1, *[1] * (m.dim() - 1))
    return problem.mixing.project(x, m, problem.prior.data_range)
