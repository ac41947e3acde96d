"""What can be chosen by name: one file in a plural folder is one choice, other packages add theirs by entry points.

The name of a choice is the name of its file; the class is the one public subclass that the file defines.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from basis.core.errors import UsageError, unknown
from basis.core.settings import check, check_names


@dataclass(frozen=True)
class Registry:
    """The choices of one kind.

    Args:
        kind: singular noun for messages, for instance "sampler".
        package: package whose modules are the choices, and group of entry points, for instance "basis.samplers".
        base: class that every choice derives from.
        joint: what stands for "_" of a file's name in its choice's: "fashion-mnist" is "fashion_mnist.py" with "-".
    """

    kind: str
    package: str
    base: type
    joint: str = "_"

    def names(self) -> list[str]:
        """Return the names that can be chosen, sorted."""
        return sorted({*self._bundled(), *self._foreign()})

    def get(self, name: str) -> Any:
        """Return the class of that name; raises `UsageError` with near matches where there is none."""
        foreign = self._foreign()
        if name in foreign:
            return foreign[name].load()
        if name.replace("_", self.joint) not in self._bundled():
            raise unknown(self.kind, name, self.names())
        module = importlib.import_module(f"{self.package}.{name.replace(self.joint, '_')}")
        found = [
            cls
            for key, cls in vars(module).items()
            if inspect.isclass(cls) and issubclass(cls, self.base) and cls.__module__ == module.__name__
            if not inspect.isabstract(cls) and not key.startswith("_")
        ]
        if not found:
            raise UsageError(f"{module.__file__} defines no {self.base.__name__}", fix="derive its class from it")
        return found[0]

    def make(self, name: str, settings: Mapping) -> Any:
        """Return the choice of that name made with settings.

        Raises:
            UsageError: no such choice, a setting that it does not have or that is not what it takes, or one that it
                needs and that is not given.
        """
        cls, owner = self.get(name), f"{self.kind} '{name}'"
        check_names(cls, settings, owner)
        check(cls, settings, owner)
        return cls(**settings)

    def name_of(self, cls: type) -> str:
        """Return the name under which the class is found: the inverse of `get`."""
        for name, entry in self._foreign().items():
            if entry.value.replace(":", ".") == f"{cls.__module__}.{cls.__qualname__}":
                return name
        return cls.__module__.rpartition(".")[2].replace("_", self.joint)

    def describe(self) -> dict[str, str]:
        """Return the first docstring line of every choice."""
        return {name: (self.get(name).__doc__ or "(no description)").splitlines()[0] for name in self.names()}

    def _bundled(self) -> list[str]:
        path = importlib.import_module(self.package).__path__
        files = [module.name for module in pkgutil.iter_modules(path) if not module.ispkg]
        return [name.replace("_", self.joint) for name in files if not name.startswith("_")]

    def _foreign(self) -> dict:
        return _entries(entry_points, self.package, tuple(sys.path))


@functools.lru_cache
def _entries(find: Callable, group: str, path: tuple[str, ...]) -> dict:
    """Return the entry points of a group by name; looking through all packages on a path takes milliseconds."""
    return {entry.name: entry for entry in find(group=group)}
