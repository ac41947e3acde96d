"""Foreign formats: checkpoints that other programs wrote, read as priors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from basis.core.prior import Prior
from basis.core.registry import Registry
from basis.core.settings import Typed
from basis.io.presets import presets_of


@dataclass(frozen=True)
class Foreign:
    """A prior that was read from a foreign format, with what `save_prior` needs to store it as ours.

    Attributes:
        prior: in evaluation mode, on the CPU.
        arguments: keyword arguments of its class that build it, JSON values.
        card: what the checkpoint says of itself.
    """

    prior: Prior
    arguments: dict
    card: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        """These formats hold models of images; those in colour are of photographs, unless the card says otherwise."""
        if len(self.prior.shape) == len("CHW") and self.prior.shape[0] == len("RGB"):
            self.card.setdefault("presets", "photographs")
        self.prior.presets = presets_of(self.card.get("presets"), "the card")


class Format(Typed, ABC):
    """A checkpoint format of another program; constructor arguments say what a checkpoint does not.

    Example:
        >>> from basis.priors.gaussian import GaussianMixture
        >>> class Text(Format):
        ...     def accepts(self, source):
        ...         return str(source).endswith(".txt")
        ...     def read(self, source):
        ...         arguments = dict(weights=[1.0], means=[[0.5]], covariances=[[[1.0]]])
        ...         return Foreign(GaussianMixture(**arguments), arguments)
        >>> Text().read("unit.txt").prior.shape
        (1,)
    """

    @abstractmethod
    def accepts(self, source: object) -> bool:
        """Return whether `load_prior` should read the source (path, "hub:…" or object) directly; judged cheaply."""

    @abstractmethod
    def read(self, source: Any) -> Foreign:
        """Return the prior.

        Raises:
            DataError: the source is not of this format, or damaged; lists what is missing, left over or misshapen.
            UsageError: there is no such source, or a setting does not suit it.
        """


FORMATS = Registry("format", "basis.formats", Format)
