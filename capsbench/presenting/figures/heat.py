"""Numbers as a table of colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from capsbench.presenting.figures.style import PAPER, SMALL

ON_DARK, ON_LIGHT = "#fafafa", "#101010"
"""Of a number, on the colours of a cell, which a dark page leaves as they are."""


def heat(axes: Axes, values: np.ndarray[Any, Any]) -> None:
    """Numbers from 0 to 100 ``[rows, columns]``, the first row above, each in its cell; nothing where there is none."""
    rows, columns = values.shape
    edges = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5
    axes.pcolormesh(
        *edges, np.ma.masked_invalid(values), cmap="viridis", vmin=0, vmax=100, edgecolors=PAPER, linewidth=0.6
    )
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = ON_LIGHT if value > 60 else ON_DARK
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=color, fontsize=SMALL)
    axes.set(ylim=(rows - 0.5, -0.5))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
