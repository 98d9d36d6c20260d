"""Numbers as a table of colours."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from capsbench.presenting.figures.style import PAPER, SMALL

ON_DARK, ON_LIGHT = "#fafafa", "#101010"
"""Colours of a number in a cell, whose colours a dark page keeps."""


def draw_heat(axes: Axes, table: pd.DataFrame) -> None:
    """Draws numbers from 0 to 100, the first row above, each in its cell; nothing where there is none.

    The ticks are the names of the table's rows and columns.
    """
    import seaborn as sns  # takes a second, which only those who draw should wait

    sns.heatmap(
        table.rename_axis(index=None, columns=None),  # seaborn would write them beside the axes
        vmin=0,
        vmax=100,
        cmap="viridis",
        annot=True,
        fmt=".0f",
        annot_kws=dict(fontsize=SMALL),
        cbar=False,
        edgecolors=PAPER,
        linewidths=0.6,
        ax=axes,
    )
    for number in axes.texts:  # seaborn's white is the paper's, for which a dark page puts its own colour
        number.set_color(ON_LIGHT if float(number.get_text()) > 60 else ON_DARK)
    axes.grid(visible=False)
    axes.tick_params(length=0, labelrotation=0)
