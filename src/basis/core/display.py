"""What a separation shows of itself, in notebooks and in files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def _view() -> ModuleType:
    """Return what draws and writes separations. The core finds it by name, as registries do."""
    return import_module("basis.runs.view")


class Displayed:
    """The pictures of a `Separation`, and its files."""

    def _repr_html_(self) -> str:
        return _view().html(self)

    def _repr_png_(self) -> bytes:
        return _view().png(self)

    def plot(self, index: int = 0) -> Image:
        """Return the panel of one mixture as a picture of PIL, which notebooks show: sources, re-mix, error, figures.

        Raises `UsageError` for another index.
        """
        return _view().picture(self, index)

    def to_pil(self, index: int = 0) -> list[Image]:
        """Return the K chosen sources of one mixture as pictures of PIL; errors are those of `plot`."""
        return _view().pictures(self, index)

    def save(self, folder: str | Path) -> Path:
        """Write the files that `basis separate` writes, without the animation: `sources.npy`, `panel.png` and so on.

        Args:
            folder: a new or empty folder, which is returned. Of several mixtures each has its own in it: 00000, ….

        Raises:
            UsageError: the folder holds something already.
        """
        return _view().save(self, folder)
