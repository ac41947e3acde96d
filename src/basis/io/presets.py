"""Presets and budgets: from a name to the method and settings that suit priors and mixing."""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from basis.core.errors import UsageError, unknown
from basis.core.mixing import Mixing, unequal, weights_of
from basis.core.presets import NAMES, Presets, split
from basis.core.prior import Prior
from basis.core.separator import SEPARATORS, Separator

OFTEN = ("basis", "sample", "search")  # methods that a setting may have been meant for
FOLDER = Path(__file__).parents[1] / "assets" / "presets"
PAPER, BEST = "paper", "quality"
"""What `separate` does where neither a method nor a budget is named, see `preferred`."""

IN_WIDTHS = ("sigma_max", "sigma_min", "refine_sigma", "same")
"""Settings that tables give in widths of the data range."""

UNEQUAL = {"balanced": True, "reorder": True, "bounded_variance": True}
"""What is added where the weights differ and sources are projected, see `Sample` and `DDNM`."""

COSTLY = (
    "steps", "repeats", "candidates", "batch", "agree", "rounds", "offspring", "refine_steps", "rank", "posterior",
    "iterations", "sampler", "corrections", "sequential", "denoise",
)  # fmt: skip
"""Settings that say how many evaluations a separation takes: with a budget they are not free."""


@functools.cache
def table(name: str = "default") -> Presets:
    """Return a bundled table by name; raises `UsageError` with near matches where there is none.

    Example:
        >>> table("photographs").preset("fast", sources=2)[1]["posterior"]
        'mmps'
    """
    file = FOLDER / f"{name}.toml"
    if name == "published" or not file.is_file():
        names = (path.stem for path in FOLDER.glob("*.toml"))
        raise unknown("table of presets", str(name), [each for each in names if each != "published"])
    return Presets(name, tomllib.loads(file.read_text(encoding="utf-8")))


def presets_of(entry: object, card: str) -> Presets | None:
    """Return the presets that a card states: the name of a bundled table, or a table; None where it states none."""
    if entry is None or isinstance(entry, str):
        return None if entry is None else table(entry)
    return Presets(card, entry if isinstance(entry, Mapping) else {})


@functools.cache
def published() -> Mapping[str, Mapping]:
    """Return the published loops by name: tables with a summary, a method and its settings."""
    return tomllib.loads((FOLDER / "published.toml").read_text(encoding="utf-8"))


def names() -> list[str]:
    """Return the names of all presets."""
    return [*published(), *NAMES]


def summaries() -> dict[str, str]:
    """Return what each preset does, by name."""
    entries = {**published(), **{name: table().tables["any"][name] for name in NAMES}}
    return {name: entry["summary"] for name, entry in entries.items()}


def preferred(priors: Sequence[Prior]) -> str:
    """Return the preset for priors where the method is left open.

    "quality" where they take any noise level and have a data range, which it makes use of; "paper" for others, such as
    an NCSN with its ten levels.

    Example:
        >>> from basis import load_prior
        >>> preferred([load_prior("mnist")]), preferred([load_prior("ncsn-mnist")])
        ('quality', 'paper')
    """
    return BEST if all(prior.levels is None and prior.data_range is not None for prior in priors) else PAPER


def resolve(
    method: str | Separator | None,
    settings: dict,
    budget: int | None = None,
    priors: Sequence[Prior] = (),
    mixing: Mixing | None = None,
) -> tuple[str | Separator, dict]:
    """Return the method and the settings that a preset's name, or a budget, stands for.

    Args:
        method: name of a preset or of a separator, or a separator; None for what is `preferred`, or with a budget.
        settings: settings of the method, which take precedence over those of the preset.
        budget: evaluations of the prior that may be spent for each source, everything included.
        priors: one for each source. Their card says which table of presets they take (`Prior.presets`), and noise
            levels widen with their data range. The published presets stay as they are.
        mixing: how the sources were mixed. Where their weights differ, presets and budgets that project take `UNEQUAL`
            too.

    Raises:
        UsageError: a budget below 1, or beside a method or settings that decide on the cost; a name that is neither a
            preset's nor a method's; a setting that the method does not have.

    Example:
        >>> resolve("fast", {"steps": 30})[1]["steps"]
        30
        >>> resolve(None, {}, budget=50)[0]
        'sample'
    """
    tables = {prior.presets or table() for prior in priors}
    presets = tables.pop() if len(tables) == 1 else table()
    if budget is not None:
        if method is not None:
            raise UsageError("a budget chooses the method", fix="give a method or a budget, not both")
        if chosen := [name for name in COSTLY if name in settings]:
            raise UsageError(
                f"a budget chooses {', '.join(chosen)} itself", fix="give a budget, or a method and its settings"
            )
        method, preset = presets.within(budget, len(priors))
        return method, _known(method, _suited(method, preset, settings, priors, mixing), settings, "a budget")
    if method is None:
        method, owner = preferred(priors), f"the default here, preset '{preferred(priors)}'"
    elif not isinstance(method, str):
        return method, settings
    else:
        owner = f"preset '{method}'" if method in names() else f"method '{method}'"
    found = settings
    if method in published():
        method, preset = split(published()[method])
        found = {**preset, **settings}
    elif method in NAMES:
        method, preset = presets.preset(method, len(priors))
        found = _suited(method, preset, settings, priors, mixing)
    elif method not in (known := SEPARATORS.names()):
        raise unknown("method", method, [*names(), *known])
    return method, _known(method, found, settings, owner)


def _known(method: str, found: dict, given: dict, owner: str) -> dict:
    """Return those settings that the method has: with another posterior, say, a preset's own may not apply.

    Raises:
        UsageError: a setting that the user gave is not one of the method's.
    """
    known = SEPARATORS.get(method).setting_names(found)
    for name in given:
        if name not in known:
            others = [other for other in OFTEN if name in SEPARATORS.get(other).setting_names({})]
            if others:
                raise UsageError(
                    f"{owner} has no setting '{name}'", fix=f"take method {' or '.join(others)}, which has"
                )
            raise unknown(f"setting of {owner}:", name, known or ["none"])
    return {name: value for name, value in found.items() if name in known}


def _suited(method: str, preset: dict, settings: dict, priors: Sequence[Prior], mixing: Mixing | None) -> dict:
    """Return a preset's settings in units of the data, with those that suit the weights, and those that were given."""
    width = max((prior.data_range[1] - prior.data_range[0] for prior in priors if prior.data_range), default=1.0)
    found = {name: value * width if name in IN_WIDTHS else value for name, value in preset.items()}
    if _projects(method, {**preset, **settings}, priors) and mixing is not None:
        shape = (len(priors), *priors[0].shape)
        found |= UNEQUAL if unequal(weights_of(mixing, shape, priors[0].device)) else {}
    return {**found, **settings}


def _projects(method: str, settings: dict, priors: Sequence[Prior]) -> bool:
    """Return whether several sources are projected at any noise level, with fresh noise alone, as `UNEQUAL` needs."""
    usual = {"posterior": "ddnm", "sampler": "ancestral", "eta": math.inf}
    free = all(prior.levels is None and prior.data_range is not None for prior in priors)
    same = all(settings.get(name, value) == value for name, value in usual.items())
    return method in ("sample", "search") and len(priors) > 1 and free and same
