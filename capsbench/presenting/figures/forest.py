"""Forest plots: differences with their intervals, one row each, about a line at zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from capsbench.presenting.figures.figure import Picture, text_width
from capsbench.presenting.figures.style import COLUMN, GRID, INK, LINE, PALE, PALETTE, PAPER, POINT, SMALL, in_style

ROW, TITLE, ABOVE, UNDER = 0.155, 0.24, 0.03, 0.4
"""Heights in inches: of a row, of a panel's title, of the room above a panel without one, and of its axis with words below."""

GAP, EDGE = 6, 0.03
"""Room between names and axes, in points, and around the picture, in inches."""

BELOW = 13
"""From the axis down to the words on its sides, in points: the line of its unit."""

LEGEND = 0.2
"""Height of the legend, in inches."""

LOOKS = {
    "better": (PALETTE[0], PALETTE[0], "significantly better"),
    "worse": (PALETTE[3], PALETTE[3], "significantly worse"),
    "not significant": (PALE, PAPER, "not significantly different"),
    "other": (PALE, PALE, "not tested"),
}
"""Result -> colour of the row, inside of its marker, and words of the legend."""


class ForestRow(NamedTuple):
    """A difference: its name, mean and ends of its interval (nan if unknown), to the right where it is an advantage."""

    name: str
    mean: float
    low: float
    high: float
    result: str


class ForestBlock(NamedTuple):
    """Rows under a heading."""

    title: str
    rows: list[ForestRow]


class ForestPanel(NamedTuple):
    """Blocks on one axis."""

    title: str
    unit: str
    blocks: list[ForestBlock]

    @property
    def rows(self) -> list[ForestRow]:
        return [row for block in self.blocks for row in block.rows]

    @property
    def lines(self) -> int:
        """The lines that the blocks take, headings included."""
        return sum(len(block.rows) + 1 for block in self.blocks)

    @property
    def above(self) -> float:
        return TITLE if self.title else ABOVE

    @property
    def rows_height(self) -> float:
        return ROW * self.lines

    @property
    def height(self) -> float:
        """The height with all that is around the axes, in inches."""
        return self.above + self.rows_height + UNDER


@in_style()
def draw_forest(panels: Sequence[ForestPanel], title: str, caption: str) -> Picture:
    """Draws panels one above the other, each as high as its rows need, and one legend of the results that occur."""
    rows = [row for panel in panels for row in panel.rows]
    room = max(text_width(row.name) for row in rows) + GAP
    height = sum(panel.height for panel in panels) + LEGEND
    figure = Figure(figsize=(COLUMN, height))
    left, top = room / 72 + EDGE, height
    for panel in panels:
        top -= panel.above
        box = (
            left / COLUMN,
            (top - panel.rows_height) / height,
            1 - (left + EDGE) / COLUMN,
            panel.rows_height / height,
        )
        draw_panel(figure.add_axes(box), panel, room)
        top -= panel.rows_height + UNDER
    results = {_find_look(row) for row in rows}
    handles = [_make_handle(look) for look in LOOKS if look in results]
    # Four do not fit beside one another.
    figure.legend(handles=handles, loc="lower center", ncols=2 if len(handles) in (2, 4) else len(handles))
    return Picture(figure, title, caption)


def draw_panel(axes: Axes, panel: ForestPanel, room: float) -> None:
    """Draws the rows of a panel from top to bottom; an arrow ends an interval that the axis cuts.

    Args:
        room: the width left of the axes, for names, in points.
    """
    limit = find_limit(panel.rows)
    place, ticks, names = 0, [], []
    for block in panel.blocks:
        axes.annotate(
            block.title,
            (0, place),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-room, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            fontweight="bold",
            color=INK,
            bbox=dict(facecolor=PAPER, edgecolor="none", alpha=0.7, pad=0.5),
        )
        for row in block.rows:
            place += 1
            ticks.append(place)
            names.append(row.name)
            _draw_row(axes, place, row, limit)
        place += 1
    axes.axvline(0, color=INK, linewidth=LINE, zorder=1)
    axes.set_xlim(-1.04 * limit, 1.04 * limit)
    axes.set_ylim(panel.lines - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_yticks(ticks, names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.axvspan(0, 1.04 * limit, color=GRID, alpha=0.4, linewidth=0, zorder=0)
    axes.set_xlabel(panel.unit, labelpad=2)
    sides = {0.0: ("\N{LEFTWARDS ARROW} worse", "left"), 1.0: ("better \N{RIGHTWARDS ARROW}", "right")}
    for x, (words, side) in sides.items():
        axes.annotate(
            words,
            (x, 0),
            xycoords="axes fraction",
            xytext=(0, -BELOW),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=SMALL,
        )
    if panel.title:
        axes.annotate(
            panel.title,
            (0, 1),
            xycoords="axes fraction",
            xytext=(-room, 4),
            textcoords="offset points",
            va="bottom",
            color=INK,
        )


def find_limit(rows: Sequence[ForestRow]) -> float:
    """Returns the end of the axis: all means are inside, and intervals as far as none of them dwarfs the others."""
    means = max((abs(row.mean) for row in rows), default=0.0)
    ends = [max(abs(row.low), abs(row.high)) for row in rows if not math.isnan(row.low)]
    if not ends:
        return 1.1 * means or 1.0
    return 1.1 * max(means, min(max(ends), max(3 * means, median(ends)))) or 1.0


def is_cut(rows: Sequence[ForestRow]) -> bool:
    """Returns true if the axis of some rows cuts an interval."""
    limit = find_limit(rows)
    return any(max(abs(row.low), abs(row.high)) > limit for row in rows if not math.isnan(row.low))


def _draw_row(axes: Axes, place: int, row: ForestRow, limit: float) -> None:
    color, face, _ = LOOKS[_find_look(row)]
    if not math.isnan(row.low):
        low, high = max(row.low, -limit), min(row.high, limit)
        axes.plot([low, high], [place, place], color=color, linewidth=1.2 * LINE, zorder=2, solid_capstyle="butt")
        for end, marker in ((low, "<"), (high, ">")):
            if abs(end) >= limit:
                axes.plot([end], [place], marker, color=color, markersize=POINT, zorder=3)
    shape = "x" if _find_look(row) == "other" else "o"
    axes.plot([row.mean], [place], shape, color=color, markerfacecolor=face, markersize=1.3 * POINT, zorder=4)


def _find_look(row: ForestRow) -> str:
    return row.result if row.result in LOOKS else "other"


def _make_handle(look: str) -> Line2D:
    color, face, words = LOOKS[look]
    is_tested = look != "other"
    return Line2D(
        [],
        [],
        color=color,
        marker="o" if is_tested else "x",
        markerfacecolor=face,
        markersize=1.3 * POINT,
        linestyle="-" if is_tested else "none",
        label=words,
    )
