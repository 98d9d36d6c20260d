"""Numbers as a table of colours."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis

from capsbench.presenting.figures.style import PALE, PAPER, SMALL

ON_DARK, ON_LIGHT = "#fafafa", "#101010"
"""Colours of a number in a cell, whose colours a dark page keeps."""


NOT_MEASURED = "\N{EN DASH}"
"""Stands in a cell without a number."""


def draw_heat(
    axes: Axes, table: pd.DataFrame, most: float = 100.0, absent: str = NOT_MEASURED, size: float = SMALL
) -> None:
    """Draws numbers from 0 to ``most``, the first row above, each in its cell.

    The ticks are the names of the table's rows and columns.

    Args:
        absent: stands in a cell without a number, which has no colour.
        size: of the numbers, in points; 0 for none.
    """
    # Not seaborn's heat map, which draws the whole figure to see whether names overlap.
    values = table.to_numpy(dtype=float)
    axes.pcolormesh(values, vmin=0, vmax=most, cmap="viridis", edgecolors=PAPER, linewidths=0.6)
    lines, columns = values.shape
    axes.set(xlim=(0, columns), ylim=(lines, 0))
    _name_cells(axes.xaxis, table.columns, axes.bbox.width)
    _name_cells(axes.yaxis, table.index, axes.bbox.height)
    for (line, column), value in np.ndenumerate(values) if size else ():
        text = absent if np.isnan(value) else f"{value:.0f}"
        colour = PALE if np.isnan(value) else ON_LIGHT if float(text) > 0.6 * most else ON_DARK
        axes.text(column + 0.5, line + 0.5, text, ha="center", va="center", fontsize=size, color=colour)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(length=0)


def _name_cells(axis: Axis, names: pd.Index, pixels: float) -> None:
    """Writes the names of rows or columns beside a side of so many pixels: each, or every second or third where they are many."""
    (tick,) = axis.set_ticks([0])
    assert axis.axes.figure is not None
    most = max(1, int(pixels * 72 / axis.axes.figure.dpi // float(tick.label1.get_fontsize())))
    shown = np.arange(0, len(names), len(names) // most + 1)
    axis.set_ticks(shown + 0.5, [str(name) for name in names[shown]])
