"""Curves of a number against its level, a line a contender, with its interval over seeds as a band."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from capsbench.measures.spec import SHARE
from capsbench.presenting.figures.style import THIN
from capsbench.presenting.format import PERCENT, cut_interval
from capsbench.stats.differences import estimate_interval

BAND = 0.13
"""Opacity of a band."""

ErrorBar = Callable[[pd.Series], tuple[float, float]] | tuple[str, float]
"""A band around a mean as seaborn takes it: a function from the values at one x to its ends, or one of seaborn's own."""


def get_line_style(row: Mapping[Any, Any] | pd.Series) -> dict[str, Any]:
    """Returns the arguments of `matplotlib.axes.Axes.plot` for a contender of a styled summary."""
    return dict(
        color=row["color"],
        linestyle=row["dashes"],
        marker=row["marker"],
        markerfacecolor=row["face"],
        markeredgecolor=row["color"],
        label=row["label"],
    )


def draw_curves(
    axes: Axes, rows: pd.DataFrame, summary: pd.DataFrame, factor: float = 100.0, *, joined: bool = True
) -> None:
    """Draws each contender's mean over seeds with its 95 % t-interval, in the contender's colour and line style.

    Args:
        rows: one row a cell and ``level``, of one metric and condition, with its ``step``.
        summary: the contenders, each with its look.
        factor: multiplies the values; by default fractions become per cent.
        joined: as in `draw_means`.
    """
    few_ticks(axes)
    percent = factor == 100 and rows["unit"].eq(SHARE).all()
    errorbar = partial(t_interval, step=factor * rows["step"].max(), unit=PERCENT if percent else "")
    draw_means(axes, rows.assign(value=factor * rows["value"]), "level", "value", summary, errorbar, joined=joined)


def draw_means(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    y: str,
    summary: pd.DataFrame,
    errorbar: ErrorBar,
    *,
    joined: bool = True,
) -> None:
    """Draws each contender's mean of a column at each value of another as a line, with a band where there are several seeds.

    Args:
        joined: false if the values are no steps of a quantity: then points have bars, and no line joins them.
    """
    import seaborn as sns  # takes a second, which only those who draw should wait

    looks = summary[summary["contender"].isin(rows["contender"])].set_index("contender")
    if looks.empty:
        return
    sns.lineplot(
        rows,
        x=x,
        y=y,
        hue="contender",
        hue_order=list(looks.index),
        palette=looks["color"].to_dict(),
        errorbar=errorbar,
        err_style="band" if joined else "bars",
        err_kws=dict(alpha=BAND, linewidth=0) if joined else dict(elinewidth=THIN),
        legend=False,
        ax=axes,
    )
    lines = axes.lines if joined else axes.lines[:: len(axes.lines) // len(looks)]  # seaborn draws bars as lines, too
    for line, row in zip(lines, looks.to_dict("records"), strict=True):
        line.set(**{**get_line_style(row), **({} if joined else {"linestyle": "none"})})
    axes.set(xlabel="", ylabel="")  # where seaborn wrote the names of the columns


def t_interval(values: pd.Series, step: float | None = None, unit: str = "") -> tuple[float, float]:
    """Returns the ends of the 95 % t-interval of a mean over seeds, cut at the bounds of its unit.

    Args:
        step: as in `capsbench.stats.differences.estimate_interval`.
        unit: as in `capsbench.presenting.format.cut_interval`.
    """
    return cut_interval(*estimate_interval(values.to_list(), step), unit)


def few_ticks(axes: Axes, across: int = 5, up: int = 5) -> None:
    """As many ticks as a small panel has room for."""
    axes.xaxis.set_major_locator(MaxNLocator(across, steps=[1, 2, 2.5, 3, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(up, steps=[1, 2, 2.5, 5, 10]))
