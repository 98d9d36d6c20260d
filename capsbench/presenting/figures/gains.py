"""Gains and costs on one slide: what capsule networks have more or less of than CNNs of equal size, a row a number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Transform

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
    THIN,
    in_style,
)
from capsbench.presenting.words import TIMES
from capsbench.stats.differences import FEWEST_SEEDS
from capsbench.stats.verdicts import Outcome

SLOT, ROW_GAP, LEAST_ROW = 0.085, 0.1, 0.3
"""Heights in inches: of a point, between rows, and of a row of few points, which two lines of text fill."""

ABOVE, UNDER, LEGEND_LINE = 0.24, 0.42, 0.14
"""Heights in inches: of a panel's title, of its axis with words below, and of a line of the legend."""

WIDTH, GAINS_WIDTH, LEAST_HEIGHT = 10.0, 6.1, 5.6
"""Widths in inches: of the picture and of its panel of gains. With the least height it has the shape of a slide."""

EDGE, GAP = 0.06, 8
"""Room around panels, in inches, and between names and axes, in points."""

NEAR = 1.0
"""Points up to which the axis of gains is linear. A claim of no advantage allows as much."""

COUNT = "count"
"""The result of a number without a spread, which needs no test: its ends are its mean."""

DOUBTFUL = "undecided"
"""The result of a number that something makes doubtful, such as a collapsed network."""

RESULTS = ("better", "worse", "undecided", "cheaper", "dearer", "not tested")
"""What a row counts, in this order."""

TINY, LARGE = 5.5, 7.5
"""Points of the names beside points, which are on neighbouring slots, and of those of rows."""

SHOWN_FULL = frozenset({str(Outcome.DIFFERENT), COUNT})


class Gain(NamedTuple):
    """A number of a capsule network against that of its CNN.

    Attributes:
        number: its title.
        data: the data set and the size.
        on: the data set, the budget and the seeds.
        routing, iterations: of the capsule network.
        mean, low, high: the gain in points, positive where the capsule network is better, or a ratio; the ends are nan
            where no interval is known.
        result: an `Outcome`, `COUNT` or `DOUBTFUL`.
    """

    number: str
    data: str
    on: str
    routing: str
    iterations: int
    mean: float
    low: float
    high: float
    result: str


@in_style()
def draw_gains(gains: Sequence[Gain], costs: Sequence[Gain]) -> Picture:
    """Draws gains in points beside costs as ratios, a row a number, the smallest first.

    Raises:
        ValueError: there is no gain, or no cost.
    """
    tested = [point for point in gains if not math.isnan(point.low)]
    if not tested or not costs:
        raise ValueError("no gain or no cost to draw")
    colors = assign_colors(point.routing for point in (*tested, *costs))
    names, looks = _make_handles((*tested, *costs), colors)
    legend = LEGEND_LINE * (-(-len(names) // 3) + len(looks) + 1)
    panels = (
        (group_points(tested), "What they give: points more than a CNN of equal size", _draw_points_axis),
        (group_points(costs), "What they cost: multiple of that CNN", _draw_ratio_axis),
    )
    heights = [sum(map(find_height, rows.values())) for rows, _, _ in panels]
    body = max(LEAST_HEIGHT - ABOVE - UNDER - 2 * EDGE, heights[0], heights[1] + UNDER + legend)
    heights[0] = body
    height = body + ABOVE + UNDER + 2 * EDGE
    figure = Figure(figsize=(WIDTH, height), facecolor=PAPER)
    sides = (EDGE, GAINS_WIDTH), (GAINS_WIDTH + 2 * EDGE, WIDTH)
    for (rows, title, draw_axis), (left, right), tall in zip(panels, sides, heights, strict=True):
        room = max(text_width(number, LARGE) for number in rows) + GAP
        x, top = left + room / 72, height - EDGE - ABOVE
        axes = figure.add_axes((x / WIDTH, (top - tall) / height, (right - 3 * EDGE - x) / WIDTH, tall / height))
        _draw_rows(axes, rows, colors, tall, room)
        draw_axis(axes, [point for points in rows.values() for point in points])
        _write(axes, title, (0, 1), (-room, 6), axes.transAxes, va="bottom", fontweight="bold", color=INK)
    middle = (GAINS_WIDTH + WIDTH) / 2 / WIDTH
    below = LEGEND_LINE * (len(looks) + 0.5) / height
    figure.add_artist(figure.legend(handles=names, loc="lower center", ncols=3, bbox_to_anchor=(middle, below)))
    figure.legend(handles=looks, loc="lower center", bbox_to_anchor=(middle, 0.0))
    return Picture(
        figure,
        "Capsule networks against CNNs of equal size",
        "Each point is a capsule network on a data set; that of a significant difference is named. The axis of points is linear "
        f"to {NEAR:g} and logarithmic beyond. Differences over fewer than {FEWEST_SEEDS} seeds are left out.",
    )


def assign_colors(routings: Iterable[str]) -> dict[str, str]:
    """Returns routing -> its colour, that of its place in the registry, so that further records change none."""
    known = list(registry.names("routing"))
    names = sorted(set(routings), key=lambda name: (known.index(name) if name in known else len(known), name))
    own = [name for name in names if name not in known]
    places = {name: known.index(name) if name in known else len(known) + own.index(name) for name in names}
    return {name: PALETTE[place % len(PALETTE)] for name, place in places.items()}


def group_points(points: Iterable[Gain]) -> dict[str, list[Gain]]:
    """Returns number -> its points, by their means."""
    groups: dict[str, list[Gain]] = {}
    for point in points:
        groups.setdefault(point.number, []).append(point)
    return {number: sorted(group, key=lambda point: point.mean) for number, group in groups.items()}


def find_height(points: Sequence[Gain]) -> float:
    """Returns the height of a row in inches."""
    return ROW_GAP + max(LEAST_ROW, SLOT * len(points))


def count_results(points: Iterable[Gain]) -> str:
    """Returns how many points are better, worse and undecided: ``1 better, 5 undecided``."""
    counts = Counter(name_result(point) for point in points)
    return ", ".join(f"{counts[name]} {name}" for name in RESULTS if counts[name])


def name_result(point: Gain) -> str:
    if point.result == COUNT:
        return "cheaper" if point.mean < 1 else "dearer"
    if point.result == Outcome.DIFFERENT:
        return "better" if point.mean > 0 else "worse"
    return "not tested" if point.result == Outcome.NOT_TESTED else "undecided"


def _draw_rows(
    axes: Axes, rows: Mapping[str, Sequence[Gain]], colors: Mapping[str, str], height: float, room: float
) -> None:
    """Draws the rows of a panel from top to bottom, at heights in inches; what is left of the panel's is shared by all."""
    spare = (height - sum(map(find_height, rows.values()))) / len(rows)
    top = 0.0
    for number, points in rows.items():
        bottom = top + find_height(points) + spare
        middle = (top + bottom) / 2
        _write(
            axes, number, (0, middle), (-room, 1), axes.get_yaxis_transform(), va="bottom", fontsize=LARGE, color=INK
        )
        _write(
            axes,
            count_results(points),
            (0, middle),
            (-room, -1),
            axes.get_yaxis_transform(),
            va="top",
            fontsize=SMALL,
            color=PALE,
        )
        for place, point in enumerate(points):
            _draw_point(axes, middle + SLOT * (place - (len(points) - 1) / 2), point, colors[point.routing])
        axes.axhline(bottom, color=GRID, linewidth=THIN, zorder=0)
        top = bottom
    axes.set_ylim(height, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _draw_point(axes: Axes, place: float, point: Gain, color: str) -> None:
    is_full = point.result in SHOWN_FULL
    if not math.isnan(point.low):
        width = LINE if is_full else THIN
        axes.plot(
            [point.low, point.high], [place, place], color=color, linewidth=width, zorder=2, solid_capstyle="butt"
        )
    marker = "x" if point.result == Outcome.NOT_TESTED else find_marker(point.iterations)
    face = color if is_full else PAPER
    axes.plot([point.mean], [place], marker, color=color, markerfacecolor=face, markersize=POINT, zorder=3)
    if point.result == Outcome.DIFFERENT:  # on the side of no difference, where nothing else is drawn
        end, shift, side = (point.high, 4, "left") if point.mean < 0 else (point.low, -4, "right")
        _write(
            axes, point.data, (end, place), (shift, 0), axes.transData, ha=side, va="center", fontsize=TINY, color=INK
        )


def _write(
    axes: Axes, words: str, at: tuple[float, float], shift: tuple[float, float], transform: Transform, **look: Any
) -> None:
    axes.annotate(words, at, xycoords=transform, xytext=shift, textcoords="offset points", **look)


def find_marker(iterations: int) -> str:
    return MARKERS[(iterations - 1) % len(MARKERS)]


def _draw_points_axis(axes: Axes, rows: Sequence[Gain]) -> None:
    ends = [abs(end) for row in rows for end in (row.mean, row.low, row.high) if not math.isnan(end)]
    limit = min(100.0, 1.15 * max([*ends, NEAR]))
    axes.set_xscale("symlog", linthresh=NEAR, linscale=0.6)
    axes.set_xlim(-limit, limit)
    marks = [mark for mark in (1, 3, 10, 30, 100) if mark <= limit]
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
        _write(axes, words, (x, 0), (0, -13), axes.transAxes, ha=side, va="top", fontsize=SMALL)


def _make_handles(rows: Sequence[Gain], colors: Mapping[str, str]) -> tuple[list[Line2D], list[Line2D]]:
    """Returns the handles of the legend: of routings and iterations, and of results."""
    kinds = sorted({(row.routing, row.iterations) for row in rows})
    names = [
        Line2D(
            [],
            [],
            color=colors[name],
            marker=find_marker(count),
            markersize=POINT,
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
            markersize=POINT,
            linestyle="none",
            label=words,
        )
        for marker, face, words in (
            ("o", PALE, "significant, or a count"),
            ("o", PAPER, "not significant, or in doubt"),
            ("x", PALE, "a time, not tested"),
        )
    ]
    return names, looks
