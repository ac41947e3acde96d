"""Figures: what the experiments share. matplotlib is imported when something is drawn, and not before."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from basis.core.errors import UsageError

BAR, MARK, INK = "#4c78a8", "#d1495b", "#333333"
COLOURS = ("#4c78a8", "#e08a2e", "#54a24b", "#b279a2")
TILE = 0.75  # inches of an image
DPI = 200  # of PNG files
SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100,
    "savefig.dpi": DPI,
    "pdf.fonttype": 42,  # letters stay letters in the PDF
}


def subplots(width: float, height: float, rows: int = 1, columns: int = 1, **settings) -> tuple[Any, Any]:
    """Return a matplotlib figure of a size in inches with axes, independent of any window system; for `render`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **settings)


def render(draw: Callable[[], Any]) -> dict[str, bytes]:
    """Return what a function draws as files, "png" and "pdf"; the same bytes for the same figure.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UsageError("figures need matplotlib", fix="pip install 'basis-separation[figures]'") from error
    found, without = {}, {"png": {"Software": None}, "pdf": {"CreationDate": None}}
    with mpl.rc_context(SETTINGS):
        figure = draw()
        for kind, metadata in without.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            found[kind] = buffer.getvalue()
    return found


def panel(columns: Sequence[tuple[str, Tensor]], groups: Sequence[int] = ()) -> Any:
    """Return images in labelled columns as a matplotlib figure.

    Args:
        columns: a label and images (N, C, H, W) in [0, 1] for each column, all of one N.
        groups: numbers of columns, counted from 0, before which there is a gap.
    """
    rows, gaps = len(columns[0][1]), set(groups)
    widths, places = [], []
    for number in range(len(columns)):
        if number in gaps:
            widths.append(0.25)
        places.append(len(widths))
        widths.append(1.0)
    figure, grid = subplots(
        TILE * sum(widths), TILE * rows + 0.3, rows, len(widths), squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    for axes in grid.flat:
        axes.axis("off")
    for place, (label, images) in zip(places, columns, strict=True):
        grid[0, place].set_title(label, fontsize=7, color=INK)
        for axes, image in zip(grid[:, place], images, strict=True):
            array = np.clip(image.cpu().numpy().transpose(1, 2, 0), 0, 1)
            axes.imshow(array[..., 0] if array.shape[2] == 1 else array, cmap="gray", vmin=0, vmax=1)
    return figure
