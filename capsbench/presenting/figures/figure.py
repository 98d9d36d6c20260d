"""A picture: a figure as wide as a column or a page of a paper, with its title and caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from capsbench.presenting.figures.style import PAGE, SMALL

Grid = np.ndarray[Any, Any]

LEGEND_LINE = 0.135
"""Height of a line of the legend, in inches."""

MOST_LEGEND_LINES = 4
"""Lines of a legend below a picture as wide as a column."""

HANDLE = 34.0
"""Width of what stands before a name in the legend and after it, in points."""

GAP, EDGE = 0.09, 0.03
"""Room right of and above each panel, and around the picture, in inches."""


@dataclass(frozen=True)
class Picture:
    """A figure that is laid out, and what is said beside it.

    Attributes:
        figure: without a title, for that stands on the page or in the paper.
        title: its heading, a few words.
        caption: how to read it, in sentences: what is shown, of how many seeds, with which interval, and what is left out.
    """

    figure: Figure
    title: str
    caption: str


@dataclass(frozen=True)
class Image:
    """A picture as it is written.

    Attributes:
        title, caption: as those of `Picture`.
        width: in inches.
        files: format -> content.
    """

    title: str
    caption: str
    width: float
    files: Mapping[str, bytes]


def make_panels(lines: int, columns: int, height: float, width: float, **shared: Any) -> tuple[Figure, Grid]:
    """A figure of ``[lines, columns]`` axes.

    Args:
        height: of a line of panels with its labels, in inches.
        width: of the figure: `COLUMN` or `PAGE`.
        shared: what `matplotlib.figure.Figure.subplots` takes.
    """
    figure = Figure(figsize=(width, lines * height))
    return figure, figure.subplots(lines, columns, squeeze=False, **shared)


def wrap_panels(count: int, columns: int, height: float, width: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, at most ``columns`` beside one another; see `make_panels`."""
    columns = min(count, columns)
    figure, grid = make_panels(-(-count // columns), columns, height, width, **shared)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def finish_picture(figure: Figure, title: str, caption: str, order: pd.Series | None = None) -> Picture:
    """Adds one legend below the panels, in the given order or as they were drawn, and lays out the figure.

    A figure as wide as a column gets the width of a page where its legend would be tall.
    """
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    names = list(entries) if order is None else [name for name in order.unique() if name in entries]
    lines = 0
    if names:
        columns = _count_legend_columns(names, figure.get_figwidth())
        if -(-len(names) // columns) > MOST_LEGEND_LINES:
            figure.set_figwidth(max(figure.get_figwidth(), PAGE))
            columns = _count_legend_columns(names, figure.get_figwidth())
        lines = -(-len(names) // columns)
        figure.legend([entries[name] for name in names], names, loc="lower center", ncols=columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * lines)
    _arrange_panels(figure, LEGEND_LINE * lines)
    return Picture(figure, title, caption)


def _count_legend_columns(names: Sequence[str], width: float) -> int:
    """Returns the fewest columns of the flattest legend that fits into a width in inches."""
    widths = [text_width(name) + HANDLE for name in names]
    for lines in range(1, len(names) + 1):
        columns = -(-len(names) // lines)
        parts = np.array_split(widths, columns)  # as matplotlib splits them
        if sum(part.max() for part in parts) <= 72 * width - 8:
            return columns
    return 1


def _arrange_panels(figure: Figure, below: float) -> None:
    """Gives panels equal sizes, with room between them for what stands around each, and ``below`` inches under all.

    That is measured once; matplotlib's own layouts measure many times, which takes most of a picture's time.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    panels = [(axes, axes.get_subplotspec()) for axes in figure.axes]
    placed = [(axes, where.rowspan.start, where.colspan.start) for axes, where in panels if where is not None]
    lines, columns = (1 + max(place) for place in zip(*((line, column) for _, line, column in placed), strict=True))
    around = np.zeros((4, lines, columns))  # left, below, right and above each, in inches
    for axes, line, column in placed:
        box, outer = axes.bbox, axes.get_tightbbox(renderer)
        if outer is not None:
            more = (box.x0 - outer.x0, box.y0 - outer.y0, outer.x1 - box.x1, outer.y1 - box.y1)
            around[:, line, column] = np.clip(more, 0, None) / figure.dpi
    left, right = around[0].max(axis=0), around[2].max(axis=0) + GAP
    under, above = around[1].max(axis=1), around[3].max(axis=1) + GAP
    size = figure.get_size_inches()
    width = (size[0] - EDGE - left.sum() - right.sum()) / columns
    height = (size[1] - EDGE - below - under.sum() - above.sum()) / lines
    for axes, line, column in placed:
        x = EDGE + left[: column + 1].sum() + right[:column].sum() + column * width
        y = size[1] - above[: line + 1].sum() - under[:line].sum() - (line + 1) * height
        axes.set_position((x / size[0], y / size[1], width / size[0], height / size[1]))


def lay_out(figure: Figure) -> None:
    """Lays out a figure that matplotlib would lay out again whenever it is drawn."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def text_width(text: str, size: float = SMALL) -> float:
    """The width of a line of text, in points."""
    renderer = FigureCanvasAgg(Figure(figsize=(1, 1), dpi=72)).get_renderer()
    return max(
        float(renderer.get_text_width_height_descent(line, FontProperties(size=size), False)[0])
        for line in text.split("\n")
    )


def describe_spread(table: pd.DataFrame, means: str, spreads: str) -> str:
    """``Lines: means over 3 seeds; bands: 95 % t-intervals.``"""
    low, high = table["n"].min(), table["n"].max()
    if high == 1:
        return "One seed each, so that no interval is known."
    return f"{means}: means over {low if low == high else f'{low} to {high}'} seeds; {spreads}."
