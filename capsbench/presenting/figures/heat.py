"""Numbers as a table of colours."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

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
    import seaborn as sns  # takes a second, which only those who draw should wait

    sns.heatmap(
        table.rename_axis(index=None, columns=None),  # seaborn would write them beside the axes
        vmin=0,
        vmax=most,
        cmap="viridis",
        annot=size > 0,
        fmt=".0f",
        annot_kws=dict(fontsize=size),
        cbar=False,
        edgecolors=PAPER,
        linewidths=0.6,
        ax=axes,
    )
    for number in axes.texts:  # seaborn's white is the paper's, for which a dark page puts its own colour
        number.set_color(ON_LIGHT if float(number.get_text()) > 0.6 * most else ON_DARK)
    for line, column in np.argwhere(table.isna().to_numpy()) if absent else ():
        axes.text(column + 0.5, line + 0.5, absent, ha="center", va="center", fontsize=size, color=PALE)
    axes.grid(visible=False)
    axes.tick_params(length=0, labelrotation=0)
