"""Which settings suit a prior: a table that its card names, for one source or several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from basis.core.errors import DataError, UsageError
from basis.core.settings import Count, takes

RANKING = 6  # evaluations that rank a candidate of a search, with the rank "few"
MOST = 1_000_000  # evaluations of a budget
NAMES = ("fast", "quality")
WORDS = ("summary", "method", "up_to", "chain")  # entries that are no settings


@dataclass(frozen=True, eq=False)
class Presets:
    """Methods with settings, by name and by what they may cost.

    Args:
        name: of the table.
        tables: "any", and "one" where a single source wants other settings. Each has the presets `NAMES` and a list
            "budget". An entry has a method and its settings. An entry of the list also has ``up_to``, the largest
            budget that it is for, and one of a search has ``chain``, the evaluations of a candidate.

    Example:
        >>> chain = {"method": "sample", "rho": 1.0}
        >>> table = Presets("mine", {"any": {"fast": chain, "quality": chain, "budget": [chain]}})
        >>> table.within(20, sources=2)
        ('sample', {'rho': 1.0, 'steps': 20})
    """

    name: str
    tables: Mapping[str, Mapping]

    def __post_init__(self) -> None:
        entries = [entry for part in self.tables.values() for entry in (*map(part.get, NAMES), *part.get("budget", []))]
        good = all(isinstance(entry, Mapping) and isinstance(entry.get("method"), str) for entry in entries)
        if "any" not in self.tables or not good or not all(part.get("budget") for part in self.tables.values()):
            raise DataError(
                f"the presets '{self.name}' lack a table 'any' with {', '.join(NAMES)} and budget, each with a method",
                fix="see src/basis/assets/presets/default.toml",
            )

    def preset(self, name: str, sources: int) -> tuple[str, dict]:
        """Return the method and settings of a preset for K sources."""
        return split(self._part(sources)[name])

    def within(self, budget: int, sources: int) -> tuple[str, dict]:
        """Return the method and settings that make the most of a number of evaluations of the prior for each source.

        Raises:
            UsageError: a budget below 1, or one that a step of the method exceeds.
        """
        if not takes(Count, budget) or budget > MOST:
            raise UsageError(
                f"expected a budget of at least 1 evaluation and at most {MOST:,}, got {budget}",
                fix="for instance budget=300",
            )
        entry = next(each for each in self._part(sources)["budget"] if budget <= each.get("up_to", MOST))
        method, settings = split(entry)
        step = 1 + settings.get("iterations", 0)  # a backward pass costs one evaluation
        if budget < step:
            raise UsageError(f"a step takes {step} evaluations with this prior, got budget {budget}", fix="give more")
        if method != "search":
            return method, {**settings, "steps": budget // step}
        candidates = max(2, round(budget / entry["chain"]))
        steps = (budget // candidates - RANKING) // step
        return method, {**settings, "candidates": candidates, "batch": candidates, "steps": steps}

    def _part(self, sources: int) -> Mapping:
        return self.tables["one"] if sources == 1 and "one" in self.tables else self.tables["any"]


def split(entry: Mapping) -> tuple[str, dict]:
    """Return the method of an entry and its settings."""
    return entry["method"], {name: value for name, value in entry.items() if name not in WORDS}
