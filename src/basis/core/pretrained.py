"""The verbs by which users of Hugging Face load, save and publish models."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from basis.core.errors import UsageError


def _pretrained() -> ModuleType:
    """Return what loads and saves priors. The core finds it by name, as registries do."""
    return import_module("basis.io.pretrained")


class Pretrained:
    """What priors can do with folders and with the hub of Hugging Face.

    Attributes:
        made_from: positional and keyword arguments that the prior was made from.
    """

    made_from: tuple[tuple, dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the arguments that the prior is made from, for `save_pretrained`."""
        self = super().__new__(cls)
        self.__dict__["made_from"] = (args, kwargs)
        return self

    @classmethod
    def from_pretrained(cls, source: str | Path | object, device: str = "cpu") -> Self:
        """Load a prior by bundled name, folder, file, or from the hub of Hugging Face.

        Args:
            source: what `basis.load_prior` takes; or "OWNER/NAME" or "hub:OWNER/NAME[@REVISION]", what `push_to_hub`
                or diffusers wrote there.
            device: where to compute, for instance "cpu" or "cuda".

        Raises:
            UsageError: no such prior, or of another class than the one that this is called on.
            DataError: it is damaged, or cannot be downloaded.

        Example:
            >>> from basis import Prior
            >>> Prior.from_pretrained("mnist").shape
            (1, 28, 28)
        """
        found = _pretrained().load(source, device)
        if not isinstance(found, cls):
            raise UsageError(
                f"{source} is a {type(found).__name__}, expected a {cls.__name__}", fix="use Prior.from_pretrained"
            )
        return found

    def save_pretrained(self, folder: str | Path, card: dict | None = None, *, overwrite: bool = False) -> Path:
        """Write a folder from which `from_pretrained` and `basis.load_prior` make the prior again.

        The class and the arguments that the prior was made from are kept with its weights, see `basis.save_prior`.

        Args:
            folder: folder to write.
            card: what a reader should know: data, command, scores.
            overwrite: whether to replace a prior that was saved there before.

        Returns:
            The folder.

        Raises:
            UsageError: as `basis.save_prior`; or the prior was made from what a file does not hold, such as a module.
        """
        return _pretrained().save(self, folder, card, overwrite=overwrite)

    def push_to_hub(self, repository: str, *, private: bool = False, revision: str | None = None) -> str:
        """Save the prior to the hub of Hugging Face, with huggingface_hub, and as the user who is logged in there.

        Args:
            repository: "OWNER/NAME"; it is made where it is not there.
            private: whether a repository that is made is private.
            revision: branch to write to; "main" by default.

        Returns:
            The address of the commit.

        Raises:
            UsageError: as `save_pretrained`; or huggingface_hub is not installed.
            DataError: the hub refuses or cannot be reached.
        """
        return _pretrained().push(self, repository, private=private, revision=revision)
