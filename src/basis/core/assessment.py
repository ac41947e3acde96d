"""What a separation is worth, as far as can be told without the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from basis.core.modes import SAME, Modes, interchangeable, like, order
from basis.core.plausibility import LEVELS, in_widths, surprise

if TYPE_CHECKING:
    from basis.core.separator import Problem, Separation


@dataclass(frozen=True, eq=False)
class Assessment:
    """What speaks for a separation and against it, without the truth. (A residual says nothing: it is projected away.)

    Attributes:
        plausibility: share of the prior's own examples that are less likely to it than each source, (B, K), in [0, 1];
            None where a prior has no calibration, see `basis.calibrate`.
        unlikely: whether a source of each mixture is less likely than any that was separated from mixtures of the
            prior's own examples, (B,): no sources of the prior could have made it. None where a prior has no
            calibration, and of separators that do not ask the prior.
        evaluations: evaluations of the prior for each source that these two took, beside those of the separation.
        candidates: number of candidates or samples that were drawn of each mixture, (B,), int64.
        agreement: share of these that are the same answer as the one that was chosen, (B,), in (0, 1]: within a root
            mean square difference of 0.05 times the width of the data's range, or in its mode (see `find_modes`).
        spread: their standard deviation in each value of each source, in the chosen answer's order of the sources,
            (B, K, *S), in units of the data; it is 0 where there is but one. It says where candidates disagree, and
            is not the posterior's standard deviation.

    Example:
        >>> import basis
        >>> mixture = torch.ones(1, 28, 28)
        >>> found = basis.separate(mixture, basis.load_prior("mnist"), basis.WeightedSum([1, 1]), "fast", steps=5)
        >>> found.assessment.unlikely, found.assessment.plausibility
        (tensor([True]), tensor([[0., 0.]]))
    """

    plausibility: Tensor | None
    unlikely: Tensor | None
    evaluations: int
    candidates: Tensor
    agreement: Tensor
    spread: Tensor

    @property
    def doubtful(self) -> list[int]:
        """Numbers of the mixtures that are unlikely."""
        return [] if self.unlikely is None else self.unlikely.nonzero().flatten().tolist()


def assess(problem: Problem, separation: Separation, batch_size: int, asked: bool = True) -> Assessment:
    """Return what a separation of a problem is worth.

    Args:
        problem: the mixtures with prior and mixing.
        separation: of all of them.
        batch_size: mixtures for which the prior is asked at a time.
        asked: whether the sources were found with the prior.
    """
    kinds = interchangeable(problem.prior, problem.mixing)
    low, high = problem.prior.data_range or (0.0, 1.0)
    answers = [
        _among_modes(separation.modes[i], x, kinds)
        if separation.modes
        else _among_samples(separation.samples[i], x, kinds, SAME * (high - low))
        for i, x in enumerate(separation.sources)
    ]
    plausibility, unlikely, evaluations = _likely(problem, separation.sources, batch_size)
    return Assessment(
        plausibility,
        unlikely if asked else None,
        evaluations,
        torch.tensor([count for count, _, _ in answers]),
        torch.tensor([share for _, share, _ in answers]),
        torch.stack([spread for _, _, spread in answers]),
    )


def _likely(problem: Problem, sources: Tensor, batch_size: int) -> tuple[Tensor | None, Tensor | None, int]:
    known = [problem.prior.distinct[i].calibration for i in problem.prior.order]
    found = [calibration for calibration in known if calibration is not None]
    if len(found) < len(known):
        return None, None, 0
    measured = torch.cat([surprise(problem.prior, part) for part in sources.split(batch_size)])
    count = len(known)
    shares = [calibration.plausibility(measured[:, k]) for k, calibration in enumerate(found)]
    beyond = [calibration.unlikely(measured[:, k], count) for k, calibration in enumerate(found)]
    return torch.stack(shares, 1), torch.stack(beyond, 1).any(1), len(in_widths(problem.prior, LEVELS))


def _among_samples(samples: Tensor, answer: Tensor, kinds: Sequence[int], same: float) -> tuple[int, float, Tensor]:
    """Return the number of a mixture's samples, the share that is the same as its answer, and the spread of all."""
    aligned = torch.stack([like(x, answer, kinds) for x in samples])
    close = (aligned - answer).square().flatten(1).mean(1).sqrt() <= same
    return len(samples), close.double().mean().item(), aligned.std(0, correction=0)


def _among_modes(modes: Modes, answer: Tensor, kinds: Sequence[int]) -> tuple[int, float, Tensor]:
    """Return the number of a mixture's candidates, the share in one mode with its answer, and the spread of all."""
    shares = modes.counts / modes.counts.sum()
    orders = [order(mean, answer, kinds) for mean in modes.mean]
    means = torch.stack([mean[places] for mean, places in zip(modes.mean, orders, strict=True)])
    stds = torch.stack([spread[places] for spread, places in zip(modes.spread, orders, strict=True)])
    nearest = int((means - answer).square().flatten(1).mean(1).argmin())
    weights = shares.to(means).reshape(-1, *[1] * answer.dim())
    centre = (weights * means).sum(0)
    spread = (weights * (stds**2 + (means - centre) ** 2)).sum(0).sqrt()
    return int(modes.counts.sum()), shares[nearest].item(), spread
