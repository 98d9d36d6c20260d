"""The picture at the head of a report: the test accuracy of each contender with its interval, the best above."""

from __future__ import annotations

from textwrap import wrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capsbench.presenting.figures.figure import Picture, describe_spread, text_width
from capsbench.presenting.figures.style import COLUMN, POINT, THIN, in_style
from capsbench.presenting.format import PERCENT, cut_interval
from capsbench.presenting.material import NoDataError
from capsbench.presenting.shortlist import choose_most_accurate
from capsbench.presenting.words import TIED

LETTERS = 30
"""Letters of a name beyond which it is broken into lines."""

LINE_HEIGHT, BETWEEN = 0.125, 0.06
"""Heights in inches: of a line of a name, and of the room between two contenders."""

ABOVE, BELOW, EDGE = 0.2, 0.36, 0.14
"""Heights in inches around a panel: of its title and of its axis; and the room at the right edge."""

NAME_GAP = 12
"""Room around a name beside the axis, in points: fonts of browsers differ."""

LEAST_RANGE = 2.0
"""The least range of an axis, in points, so that noise does not look large."""


@in_style()
def draw_accuracies(summary: pd.DataFrame) -> Picture:
    """Draws a row for each contender, a panel for each data set, one above the other."""
    if "accuracy_percent" not in summary or summary["accuracy_percent"].isna().all():
        raise NoDataError("test accuracy")
    chosen, left_out = choose_most_accurate(summary.dropna(subset="accuracy_percent"))
    chosen = chosen.assign(name=[_break_name(label) for label in chosen["label"]])
    datasets = list(chosen["dataset"].unique())
    above = ABOVE if len(datasets) > 1 else EDGE
    lines = {name: _count_lines(chosen[chosen["dataset"] == name]) for name in datasets}
    heights = [lines[name] * LINE_HEIGHT + BETWEEN * (chosen["dataset"] == name).sum() for name in datasets]
    figure = Figure(figsize=(COLUMN, sum(heights) + len(datasets) * (above + BELOW)))
    width, height = figure.get_size_inches()
    left, top = (max(map(text_width, chosen["name"])) + NAME_GAP) / 72, height
    for dataset, room in zip(datasets, heights, strict=True):
        top -= above + room
        axes = figure.add_axes((left / width, top / height, 1 - (left + EDGE) / width, room / height))
        _draw_panel(axes, chosen[chosen["dataset"] == dataset])
        axes.set_title(dataset if len(datasets) > 1 else "")
        top -= BELOW
    spread = describe_spread(chosen, "Points", "bars: 95 % t-intervals")
    return Picture(figure, "Test accuracy", f"{spread} The axis is cut to what was measured.{left_out}")


def _break_name(label: str) -> str:
    """Returns a name in lines, which end behind its commas as far as there is room."""
    tied = ", ".join(part.replace(" ", TIED) if len(part) < LETTERS else part for part in label.split(", "))
    return "\n".join(wrap(tied, LETTERS)).replace(TIED, " ")


def _count_lines(rows: pd.DataFrame) -> int:
    return sum(name.count("\n") + 1 for name in rows["name"])


def _draw_panel(axes: Axes, rows: pd.DataFrame) -> None:
    """Draws the contenders of a data set, the best above."""
    ranked = rows.sort_values("accuracy_percent", ascending=False, kind="stable").to_dict("records")
    place, places, ends = 0.0, [], []
    for row in ranked:
        size = (row["name"].count("\n") + 1) * LINE_HEIGHT + BETWEEN
        mean, half = row["accuracy_percent"], row["accuracy_ci95"]
        low, high = (mean, mean) if pd.isna(half) else cut_interval(mean, half, PERCENT)
        places.append(place + size / 2)
        ends += [low, high]
        axes.plot([low, high], [places[-1]] * 2, color=row["color"], linewidth=2 * THIN, solid_capstyle="butt")
        look = dict(marker=row["marker"], color=row["color"], markerfacecolor=row["face"], markersize=1.3 * POINT)
        axes.plot([mean], [places[-1]], **look)
        place += size
    middle, reach = (min(ends) + max(ends)) / 2, max(LEAST_RANGE, max(ends) - min(ends)) / 2
    axes.set_xlim(max(middle - 1.1 * reach, -2), min(middle + 1.1 * reach, 100 + 0.06 * reach))
    axes.set_ylim(place, 0)
    axes.set_yticks(places, [row["name"] for row in ranked])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel(f"test accuracy ({PERCENT})", labelpad=2)
