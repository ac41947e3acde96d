"""What can be chosen by name, and what can be set of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from basis.core.dataset import DATASETS
from basis.core.errors import unknown
from basis.core.fields import fields
from basis.core.metric import METRICS
from basis.core.mixing import MIXINGS
from basis.core.posterior import POSTERIORS
from basis.core.registry import Registry
from basis.core.sampler import SAMPLERS
from basis.core.separator import PARTS, SEPARATORS
from basis.io.checkpoint import PRIORS
from basis.io.format import FORMATS
from basis.io.presets import names, resolve, summaries
from basis.paper.experiment import EXPERIMENTS

KINDS: dict[str, Registry] = {
    "methods": SEPARATORS,
    "mixings": MIXINGS,
    "samplers": SAMPLERS,
    "posteriors": POSTERIORS,
    "kinds of prior": PRIORS,
    "formats": FORMATS,
    "data sets": DATASETS,
    "metrics": METRICS,
    "tables and figures": EXPERIMENTS,
}


class Choice(NamedTuple):
    """One of what can be chosen by name; each setting has a name, type, default, whether it is required, a meaning."""

    kind: str
    name: str
    summary: str
    settings: list[dict[str, Any]]


def choices(name: str) -> list[Choice]:
    """Return what can be chosen by a name, for instance the method and the data set that are called so.

    The defaults of a preset are its own settings.

    Raises:
        UsageError: nothing is called so.
    """
    found = []
    if name in names():
        method, own = resolve(name, {})
        found.append(
            Choice("preset", name, f"{summaries()[name]} Method {method}.", _settings(SEPARATORS.get(str(method)), own))
        )
    for registry in KINDS.values():
        if name in registry.names():
            cls = registry.get(name)
            found.append(Choice(registry.kind, name, registry.describe()[name], _settings(cls, {})))
    if not found:
        raise unknown("choice", name, {*names(), *(each for registry in KINDS.values() for each in registry.names())})
    return found


def _settings(make: Callable, own: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of a choice, with values of its own in place of defaults."""
    found = [
        {
            "name": field.name,
            "type": field.kind,
            "default": own.get(field.name, field.default),
            "required": field.required and field.name not in own,
            "meaning": field.meaning,
        }
        for field in fields(make)
        if field.name != PARTS
    ]
    further = {name: value for name, value in own.items() if name not in {one["name"] for one in found}}
    return found + [
        {"name": name, "type": "", "default": value, "required": False, "meaning": "of the posterior or the sampler."}
        for name, value in further.items()
    ]
