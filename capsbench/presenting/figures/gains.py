"""Gains and costs in one picture: what capsule networks have more or less of than CNNs of equal size, a row each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from capsbench import registry
from capsbench.presenting.figures.figure import Picture, text_width
from capsbench.presenting.figures.style import (
    GRID,
    INK,
    LINE,
    MARKERS,
    PALE,
    PALETTE,
    PAPER,
    POINT,
    SMALL,
    STYLE,
)
from capsbench.presenting.words import TIMES
from capsbench.stats.differences import FEWEST_SEEDS
from capsbench.stats.verdicts import Outcome

SLOT, ROW_GAP, HEADING = 0.105, 0.07, 0.17
"""Heights in inches: of a point, between rows, and of a heading."""

ABOVE, UNDER, LEGEND_LINE = 0.2, 0.42, 0.14
"""Heights in inches: of a panel's title, of its axis with words below, and of a line of the legend."""

WIDTH, GAINS_WIDTH = 10.0, 5.8
"""Widths in inches: of the picture, which has the shape of a slide, and of its panel of gains."""

EDGE, GAP = 0.06, 8
"""Room around panels, in inches, and between names and axes, in points."""

NEAR = 1.0
"""Points up to which the axis of gains is linear. A claim of no advantage allows as much."""

COUNT = "count"
"""The result of a number without a spread, which needs no test: its ends are its mean."""

DOUBTFUL = "undecided"
"""The result of a number that something makes doubtful, such as a collapsed network."""

SHOWN_FULL = frozenset({str(Outcome.DIFFERENT), COUNT})


class Gain(NamedTuple):
    """A number of a capsule network against that of its CNN.

    Attributes:
        number: its title.
        on: the data set, the budget and the seeds.
        routing, iterations: of the capsule network.
        mean, low, high: the gain in points, positive where the capsule network is better, or a ratio; the ends are nan
            where no interval is known.
        result: an `Outcome`, `COUNT` or `DOUBTFUL`.
    """

    number: str
    on: str
    routing: str
    iterations: int
    mean: float
    low: float
    high: float
    result: str


@mpl.rc_context(STYLE)
def draw_gains(gains: Sequence[Gain], costs: Sequence[Gain]) -> Picture:
    """Draws gains in points beside costs as ratios, a row each data set and budget.

    Raises:
        ValueError: there is no gain, or no cost.
    """
    if not gains or not costs:
        raise ValueError("no gain or no cost to draw")
    colors = assign_colors(row.routing for row in (*gains, *costs))
    heights = find_height(gains), find_height(costs)
    names, looks = _make_handles((*gains, *costs), colors)
    legend = LEGEND_LINE * (-(-len(names) // 3) + len(looks) + 1)
    height = ABOVE + UNDER + 2 * EDGE + max(heights[0], heights[1] + legend)
    figure = Figure(figsize=(WIDTH, height), facecolor=PAPER)
    panels = (
        (gains, "What they give: points more than the CNN", EDGE, GAINS_WIDTH, _draw_points_axis),
        (costs, "What they cost: multiple of the CNN", GAINS_WIDTH + 2 * EDGE, WIDTH, _draw_ratio_axis),
    )
    for (rows, title, left, right, draw_axis), tall in zip(panels, heights, strict=True):
        room = max(text_width(row.on) for row in rows) + GAP
        x, top = left + room / 72, height - EDGE - ABOVE
        axes = figure.add_axes((x / WIDTH, (top - tall) / height, (right - 3 * EDGE - x) / WIDTH, tall / height))
        _draw_rows(axes, rows, colors, tall, room)
        draw_axis(axes, rows)
        axes.annotate(
            title,
            (0, 1),
            xycoords="axes fraction",
            xytext=(-room, 4),
            textcoords="offset points",
            va="bottom",
            fontweight="bold",
            color=INK,
        )
    middle = (GAINS_WIDTH + WIDTH) / 2 / WIDTH
    below = LEGEND_LINE * (len(looks) + 0.5) / height
    figure.add_artist(figure.legend(handles=names, loc="lower center", ncols=3, bbox_to_anchor=(middle, below)))
    figure.legend(handles=looks, loc="lower center", bbox_to_anchor=(middle, 0.0))
    return Picture(
        figure,
        "Capsule networks against CNNs of equal size",
        "Each row is a data set with its budget. The axis of points is linear to 1 and logarithmic beyond.",
    )


def assign_colors(routings: Iterable[str]) -> dict[str, str]:
    """Returns routing -> its colour, that of its place in the registry, so that further records change none."""
    known = list(registry.names("routing"))
    names = sorted(set(routings), key=lambda name: (known.index(name) if name in known else len(known), name))
    own = [name for name in names if name not in known]
    places = {name: known.index(name) if name in known else len(known) + own.index(name) for name in names}
    return {name: PALETTE[place % len(PALETTE)] for name, place in places.items()}


def group_rows(rows: Iterable[Gain]) -> dict[str, dict[str, list[Gain]]]:
    """Returns number -> budget -> its points, by routing and iterations."""
    groups: dict[str, dict[str, list[Gain]]] = {}
    for row in rows:
        groups.setdefault(row.number, {}).setdefault(row.on, []).append(row)
    return {
        number: {
            on: sorted(points, key=lambda point: (point.routing, point.iterations)) for on, points in budgets.items()
        }
        for number, budgets in groups.items()
    }


def find_height(rows: Sequence[Gain]) -> float:
    """Returns the height of the rows of a panel in inches."""
    groups = group_rows(rows)
    lines = sum(len(budgets) for budgets in groups.values())
    return HEADING * len(groups) + ROW_GAP * lines + SLOT * len(rows)


def _draw_rows(axes: Axes, rows: Sequence[Gain], colors: Mapping[str, str], height: float, room: float) -> None:
    """Draws the points of a panel from top to bottom, at heights in inches."""
    place, ticks, names = 0.0, [], []
    for number, budgets in group_rows(rows).items():
        axes.annotate(
            number,
            (0, place + HEADING / 2),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-room, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            fontstyle="italic",
            color=INK,
        )
        place += HEADING
        for on, points in budgets.items():
            ticks.append(place + SLOT * len(points) / 2)
            names.append(on)
            for point in points:
                _draw_point(axes, place + SLOT / 2, point, colors[point.routing])
                place += SLOT
            axes.axhline(place + ROW_GAP / 2, color=GRID, linewidth=0.4, zorder=0)
            place += ROW_GAP
    axes.set_ylim(height, 0)
    axes.set_yticks(ticks, names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _draw_point(axes: Axes, place: float, point: Gain, color: str) -> None:
    if not math.isnan(point.low):
        axes.plot([point.low, point.high], [place, place], color=color, linewidth=LINE, zorder=2, solid_capstyle="butt")
    face = color if point.result in SHOWN_FULL else PAPER
    marker = "x" if point.result == Outcome.NOT_TESTED else find_marker(point.iterations)
    axes.plot([point.mean], [place], marker, color=color, markerfacecolor=face, markersize=1.2 * POINT, zorder=3)


def find_marker(iterations: int) -> str:
    return MARKERS[(iterations - 1) % len(MARKERS)]


def _draw_points_axis(axes: Axes, rows: Sequence[Gain]) -> None:
    ends = [abs(end) for row in rows for end in (row.mean, row.low, row.high) if not math.isnan(end)]
    limit = min(100.0, 1.15 * max([*ends, NEAR]))
    axes.set_xscale("symlog", linthresh=NEAR, linscale=0.6)
    axes.set_xlim(-limit, limit)
    marks = [mark for mark in (0.5, 1, 2, 5, 10, 20, 50) if mark <= limit]
    axes.xaxis.set_major_locator(FixedLocator([*(-mark for mark in reversed(marks)), 0, *marks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0")
    )
    axes.axvline(0, color=INK, linewidth=LINE, zorder=1)
    axes.axvspan(0, limit, color=GRID, alpha=0.35, linewidth=0, zorder=0)
    _label_sides(axes, "points", "CNN better", "capsules better")


def _draw_ratio_axis(axes: Axes, rows: Sequence[Gain]) -> None:
    ends = [abs(math.log(end)) for row in rows for end in (row.mean, row.low, row.high) if end > 0]
    limit = math.exp(1.1 * max([*ends, math.log(2)]))
    axes.set_xscale("log")
    axes.set_xlim(limit, 1 / limit)  # less is better, which is on the right in both panels
    marks = [mark for mark in (3, 10, 30, 100, 1000) if mark <= limit][::-2]  # the labels of more would touch
    axes.xaxis.set_major_locator(FixedLocator([*(1 / mark for mark in marks), 1, *marks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}{TIMES}"))
    axes.axvline(1, color=INK, linewidth=LINE, zorder=1)
    axes.axvspan(1, 1 / limit, color=GRID, alpha=0.35, linewidth=0, zorder=0)
    _label_sides(axes, "", "dearer", "cheaper")


def _label_sides(axes: Axes, unit: str, left: str, right: str) -> None:
    axes.set_xlabel(unit, labelpad=2)
    sides = ((0.0, f"\N{LEFTWARDS ARROW} {left}", "left"), (1.0, f"{right} \N{RIGHTWARDS ARROW}", "right"))
    for x, words, side in sides:
        axes.annotate(
            words,
            (x, 0),
            xycoords="axes fraction",
            xytext=(0, -13),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=SMALL,
        )


def _make_handles(rows: Sequence[Gain], colors: Mapping[str, str]) -> tuple[list[Line2D], list[Line2D]]:
    """Returns the handles of the legend: of routings and iterations, and of results."""
    kinds = sorted({(row.routing, row.iterations) for row in rows})
    names = [
        Line2D(
            [],
            [],
            color=colors[name],
            marker=find_marker(count),
            markersize=1.2 * POINT,
            label=f"{name} {TIMES}{count}",
        )
        for name, count in kinds
    ]
    looks = [
        Line2D(
            [],
            [],
            color=PALE,
            marker=marker,
            markerfacecolor=face,
            markersize=1.2 * POINT,
            linestyle="none",
            label=words,
        )
        for marker, face, words in (
            ("o", PALE, "significant, or a count"),
            ("o", PAPER, "not significant, or in doubt"),
            ("x", PALE, f"not tested: fewer than {FEWEST_SEEDS} seeds, or a time"),
        )
    ]
    return names, looks
