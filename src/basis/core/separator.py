"""Separators: from mixtures to separations. BASIS and every baseline share this."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from basis.core.arrays import plain_torch
from basis.core.assessment import Assessment
from basis.core.display import Displayed
from basis.core.errors import UsageError, unknown
from basis.core.mixing import Mixing
from basis.core.modes import Modes
from basis.core.noise import Noise
from basis.core.problem import Problem
from basis.core.registry import Registry
from basis.core.sampler import State
from basis.core.settings import Typed, check, check_names

PARTS = "parts"  # field of a method that has settings of its posterior, its sampler or another method


@dataclass(frozen=True, eq=False, repr=False)
class Separation(Displayed):
    """The result of a separation.

    Attributes:
        samples: n samples of the K sources of each mixture, (B, n, K, *S), within the prior's data range.
        mixture: the mixtures, (B, *M).
        mixing: how the sources were mixed.
        choice: which sample stands for each mixture, (B,), int64.
        scores: what the samples were chosen by, (B, n), the higher the better; None where nothing was.
        modes: the distinct answers to each mixture and how they rank, B of them; None where the method has none.
        kinds: K numbers, the same for sources that can change places: those of one prior and one part in the mixture,
            see `basis.core.modes.interchangeable`. The order of others is known, and metrics keep it.
        evaluations: what each mixture cost with all of its samples, in evaluations of the prior for each source, (B,),
            int64, counted at the prior (`basis.priors.wrappers.counted`): a score, a denoised estimate or a
            density is one, a backward pass through it one more. A mixture's own where the method tells them apart
            (search), else the mean of those that were separated together. What `assessment` took comes on top.
        data_range: smallest and largest value of the sources, the prior's; None where it has no limits.
        assessment: what speaks for the result and against it, without the truth; None where it was not asked for.

    Example:
        >>> import basis
        >>> mixture, mixing = torch.ones(1, 28, 28), basis.WeightedSum([1, 1])
        >>> result = basis.separate(mixture, basis.load_prior("mnist"), mixing, "average")
        >>> result.sources.mean().item(), result.residual
        (0.5, tensor([0.]))
    """

    samples: Tensor
    mixture: Tensor
    mixing: Mixing
    choice: Tensor
    scores: Tensor | None = None
    modes: tuple[Modes, ...] | None = None
    evaluations: Tensor | None = None
    assessment: Assessment | None = None
    kinds: tuple[int, ...] | None = None
    data_range: tuple[float, float] | None = None

    @property
    def sources(self) -> Tensor:
        """The chosen sample's sources, (B, K, *S)."""
        return self.samples[torch.arange(len(self.samples), device=self.samples.device), self.choice]

    @property
    def remix(self) -> Tensor:
        """The chosen sources mixed again, g(x), (B, *M)."""
        return self.mixing(self.sources)

    @property
    def residual(self) -> Tensor:
        """Reconstruction error ``‖m - g(x)‖²`` per pixel of the chosen sources, (B,), of true ones σ_y²."""
        return (self.mixture - self.remix).flatten(1).square().mean(1)

    def __repr__(self) -> str:
        count, samples, sources, *shape = self.samples.shape
        facts = [f"residual {self.residual.mean().item():.1e}"]
        if self.evaluations is not None:
            facts.append(f"{self.evaluations.float().mean().item():.0f} evaluations a source")
        worth = self.assessment
        if worth is not None and worth.plausibility is not None:
            facts.append(f"sources likelier than {worth.plausibility.mean().item():.0%} of the prior's own")
        if worth is not None and worth.doubtful:
            facts.append(f"{len(worth.doubtful)} unlikely")
        mixtures = f"{count} mixture{'' if count == 1 else 's'} {tuple(self.mixture.shape[1:])}"
        each = f"{samples} sample{'' if samples == 1 else 's'} of each"
        return f"Separation of {mixtures} into {sources} sources {tuple(shape)}, {each}\n  {', '.join(facts)}"


Stream = Generator[State, None, Separation]


class Separator(Typed, ABC):
    """A way to separate. Its fields, or constructor arguments, are its settings; nothing is kept between calls.

    Attributes:
        asks_prior: whether the sources are found with the prior, so that unlikely ones tell of an unlikely mixture.
        takes_noise: whether mixtures may have noise, see `Problem`.

    Example:
        >>> class Nothing(Separator):
        ...     def stream(self, problem, noise):
        ...         yield from ()
        ...         return separation(problem, torch.zeros(len(problem.mixture), *problem.prior.shape))
        >>> import basis
        >>> mixture, mixing = torch.ones(1, 28, 28), basis.WeightedSum([1, 1])
        >>> basis.separate(mixture, basis.load_prior("mnist"), mixing, Nothing()).residual
        tensor([1.])
    """

    asks_prior: ClassVar[bool] = True

    @classmethod
    def setting_names(cls, settings: Mapping) -> list[str]:
        """Return the names of all settings that the method has, those of its parts too, given some of them."""
        return [name for name in inspect.signature(cls).parameters if name != PARTS]

    @classmethod
    def configured(cls, settings: Mapping) -> Separator:
        """Return the method with settings by name. Those of its parts, such as a sampler's, go to them.

        Raises:
            UsageError: an unknown setting, one that is not as annotated, or one that is needed and missing.
        """
        owner = f"method '{SEPARATORS.name_of(cls)}'"
        known, own = cls.setting_names(settings), list(inspect.signature(cls).parameters)
        for name in settings:
            if name not in known:
                raise unknown(f"setting of {owner}:", name, known or ["none"])
        mine = {name: value for name, value in settings.items() if name in own}
        check(cls, mine, owner)
        check_names(cls, mine, owner)
        rest = {name: value for name, value in settings.items() if name not in own}
        return cls(**mine, **({PARTS: rest} if rest else {}))

    @property
    def takes_noise(self) -> bool:
        return False

    @abstractmethod
    def stream(self, problem: Problem, noise: Noise) -> Stream:
        """Yield the states on the way and return the separation.

        Args:
            problem: B mixtures with prior and mixing.
            noise: random streams of n = ``noise.samples`` samples of each mixture; a draw is (B · n, K, *S).
        """


SEPARATORS = Registry("method", "basis.separators", Separator)


def choose(method: str | Separator, settings: dict) -> Separator:
    """Return the separator of a name with settings; a separator is returned as it is."""
    if isinstance(method, Separator):
        if settings:
            raise UsageError(
                f"settings {sorted(settings)} go with a method's name, not with a separator",
                fix="give them to the separator itself",
            )
        return method
    return SEPARATORS.get(str(method)).configured(settings)


class Run(Iterator[State]):
    """A separation under way: iterate over its states, then read ``result``.

    Attributes:
        batches: number of batches that the mixtures are separated in, each in the steps that a state tells.

    Example:
        >>> import basis
        >>> mixture = torch.ones(1, 28, 28)
        >>> prior, mixing = basis.load_prior("mnist"), basis.WeightedSum([1, 1])
        >>> run = basis.stream(mixture, prior, mixing, "basis", levels=2, steps=1)
        >>> [round(state.sigma, 2) for state in run]
        [1.0, 0.01]
        >>> run.result.sources.shape
        torch.Size([1, 2, 1, 28, 28])
    """

    def __init__(self, stream: Stream, batches: int = 1) -> None:
        self._stream, self.batches = stream, batches
        self._result: Separation | None = None
        self._error: Exception | None = None

    def __next__(self) -> State:
        try:
            with plain_torch():
                return next(self._stream)
        except StopIteration as stop:
            self._result = self._result or stop.value
            raise StopIteration from None
        except Exception as error:
            self._error = error
            raise

    @property
    def result(self) -> Separation:
        """The separation; what is left of the run is done first."""
        for _ in self:
            pass
        if self._result is None:
            raise self._error or RuntimeError("the run was closed before its end")
        return self._result


def separation(problem: Problem, x: Tensor, choice: Tensor | None = None) -> Separation:
    """Return the result for samples x (B · n, K, *S), clamped to the prior's data range."""
    count = len(problem.mixture)
    x = x if problem.prior.data_range is None else x.clamp(*problem.prior.data_range)
    choice = torch.zeros(count, dtype=torch.int64, device=x.device) if choice is None else choice
    return Separation(x.unflatten(0, (count, -1)), problem.mixture, problem.mixing, choice)


def join(problem: Problem, parts: Sequence[Separation]) -> Separation:
    """Return the separations of parts of a problem's mixtures, in their order, as one."""

    def along(name: str) -> Tensor | None:
        found = [getattr(part, name) for part in parts]
        return None if any(one is None for one in found) else torch.cat(found)

    return Separation(
        torch.cat([part.samples for part in parts]),
        problem.mixture,
        problem.mixing,
        torch.cat([part.choice for part in parts]),
        along("scores"),
        None if any(part.modes is None for part in parts) else tuple(m for part in parts for m in part.modes or ()),
        along("evaluations"),
    )
