"""Curves of a number against its level, a line a contender, with its interval over seeds as a band."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes


def draw_curves(axes: Axes, table: pd.DataFrame, factor: float = 100.0) -> None:
    """Draws each contender of a table of `capsbench.reporting.section.Material.averaged`, in its colour and line style.

    Args:
        table: rows of one metric and condition, with a ``level``.
        factor: multiplies the values; by default fractions become per cent.
    """
    for _, line in table.groupby("contender", sort=False):
        line = line.sort_values("level")
        style, half = line.iloc[0], factor * line["ci95"].fillna(0).astype(float)
        level, value = line["level"].astype(float), factor * line["value"].astype(float)
        axes.plot(
            level,
            value,
            color=style["shade"],
            linestyle=style["dashes"],
            marker=style["marker"],
            markersize=4.5,
            markeredgewidth=0,
            linewidth=1.5,
            label=style["label"],
        )
        if np.any(half > 0):
            axes.fill_between(level, value - half, value + half, color=style["shade"], alpha=0.12, linewidth=0)
