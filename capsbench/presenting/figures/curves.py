"""Curves of a number against its level, a line a contender, with its interval over seeds as a band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import MaxNLocator

BAND = 0.13
"""Opacity of a band."""


def look(row: dict[str, Any] | pd.Series) -> dict[str, Any]:
    """What `matplotlib.axes.Axes.plot` is told of a contender of a styled summary."""
    return dict(
        color=row["color"],
        linestyle=row["dashes"],
        marker=row["marker"],
        markerfacecolor=row["face"],
        markeredgecolor=row["color"],
        label=row["label"],
    )


def draw_curves(axes: Axes, table: pd.DataFrame, factor: float = 100.0) -> None:
    """Draws each contender of a table of `capsbench.presenting.material.Material.averaged`, in its colour and line style.

    Args:
        table: rows of one metric and condition, with a ``level``.
        factor: multiplies the values; by default fractions become per cent.
    """
    table = table.sort_values("level", kind="stable")
    level = table["level"].to_numpy(dtype=float)
    value, half = factor * table["value"].to_numpy(dtype=float), factor * table["ci95"].fillna(0).to_numpy(dtype=float)
    bands, colors = [], []
    for places in table.groupby("contender", sort=False).indices.values():
        row = table.iloc[places[0]]
        axes.plot(level[places], value[places], **look(row))
        if np.any(half[places] > 0):
            bands.append(band(level[places], value[places] - half[places], value[places] + half[places]))
            colors.append(row["color"])
    draw_bands(axes, bands, colors)
    few_ticks(axes)


def band(at: np.ndarray[Any, Any], low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The outline ``[2 N, 2]`` of what lies between two lines."""
    return np.concatenate([np.column_stack([at, low]), np.column_stack([at, high])[::-1]])


def draw_bands(axes: Axes, outlines: Sequence[np.ndarray[Any, Any]], colors: Sequence[str]) -> None:
    """Bands around lines, all at once, which is quicker than one by one."""
    if outlines:
        axes.add_collection(PolyCollection(outlines, facecolors=colors, alpha=BAND, linewidths=0), autolim=True)


def few_ticks(axes: Axes, across: int = 5, up: int = 5) -> None:
    """As many ticks as a small panel has room for."""
    axes.xaxis.set_major_locator(MaxNLocator(across, steps=[1, 2, 2.5, 3, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(up, steps=[1, 2, 2.5, 5, 10]))
