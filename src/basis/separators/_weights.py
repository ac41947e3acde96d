"""What a mixing's weights are, for methods that need a weighted sum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from basis.core.errors import UsageError
from basis.core.separator import Problem


def weights(problem: Problem, method: str) -> Tensor:
    """Return α of ``g(x) = Σ α_k x_k``, (K,), found by mixing; `UsageError` where g is not such a sum."""
    mixing, shape = problem.mixing, problem.prior.shape
    # The k-th example is a stack of a constant k-th source and nothing else.
    alone = torch.eye(shape[0]).reshape(shape[0], shape[0], *[1] * (len(shape) - 1)).expand(-1, *shape)
    alone = alone.to(problem.mixture)
    mixed = mixing(alone)
    alphas = mixed.flatten(1).mean(1)
    probe = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)).to(problem.mixture)
    expected = torch.tensordot(probe.movedim(1, -1), alphas, 1)
    for found, sum_ in ((mixed, torch.tensordot(alone.movedim(1, -1), alphas, 1)), (mixing(probe), expected)):
        if found.shape != sum_.shape or not torch.allclose(found, sum_, atol=1e-4):
            raise UsageError(
                f"method '{method}' needs a weighted sum of its sources, got {type(mixing).__name__}",
                fix="mix with basis.WeightedSum, or choose another method",
            )
    return alphas


def positive(problem: Problem, method: str) -> Tensor:
    """Return `weights` after checking that they are positive."""
    alphas = weights(problem, method)
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
