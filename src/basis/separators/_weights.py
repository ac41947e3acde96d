"""What a mixing's weights are, for methods that need a weighted sum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.mixing import weights_of
from basis.core.problem import Problem


def weights(problem: Problem, method: str) -> Tensor:
    """Return α of ``g(x) = Σ α_k x_k``, (K,); `UsageError` where g is not such a sum."""
    alphas = weights_of(problem.mixing, problem.prior.shape)
    if alphas is None:
        raise UsageError(
            f"method '{method}' needs a weighted sum of its sources, got {type(problem.mixing).__name__}",
            fix="mix with basis.WeightedSum, or choose another method",
        )
    return alphas.to(problem.mixture)


def positive(problem: Problem, method: str) -> Tensor:
    """Return `weights` after checking that they are positive, and that sources are not negative."""
    alphas, data_range = weights(problem, method), problem.prior.data_range
    if data_range is not None and data_range[0] < 0:
        raise UsageError(
            f"method '{method}' needs sources without negative values, those of the prior are in {data_range}",
            fix="choose a method that takes any, or shift the data and the prior (basis.Rescaled)",
        )
    if not (alphas > 0).all():
        raise UsageError(
            f"method '{method}' needs positive weights, got {_text(alphas)}", fix="choose a method that takes any"
        )
    return alphas


def check(problem: Problem, method: str, learned: Sequence[float]) -> None:
    """Raise `UsageError` where the mixing is not the weighted sum that the method has learned to undo."""
    if problem.mixing.sources == len(learned):
        alphas = weights(problem, method)
        if torch.allclose(alphas, alphas.new_tensor(list(learned)), atol=1e-5):
            return
        got = f"weights {_text(alphas)}"
    else:
        got = f"{problem.mixing.sources} sources"
    want = ",".join(f"{alpha:g}" for alpha in learned)
    raise UsageError(
        f"method '{method}' has learned to undo mixtures of {len(learned)} sources with weights {want}, got {got}",
        fix="fit it anew to each K and each set of weights: `basis fit … --weights a,b,…`",
    )


def _text(alphas: Tensor) -> str:
    return ",".join(f"{alpha:.4g}" for alpha in alphas.tolist())
