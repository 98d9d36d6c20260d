"""Pictures beside the headline table, as matplotlib figures that belong to no notebook: accuracy, cost, training.

The summary is that of `capsbench.presenting.material.Material`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from capsbench import registry
from capsbench.errors import FOREIGN
from capsbench.measures.speed.spec import SPEED
from capsbench.presenting.contenders import BASELINE
from capsbench.presenting.figures.curves import BAND, draw_means, few_ticks, get_line_style
from capsbench.presenting.figures.figure import (
    Picture,
    describe_spread,
    finish_picture,
    make_panels,
    text_width,
    wrap_panels,
)
from capsbench.presenting.figures.labels import Point, label_points
from capsbench.presenting.figures.style import COLUMN, GRID, PAGE, PALE, THIN, in_style, log_ticks, percent_axis
from capsbench.presenting.format import cut_interval
from capsbench.presenting.material import NoDataError
from capsbench.presenting.shortlist import choose_most_accurate

CUT = " The axis of accuracy is cut to what was measured."
MOST_NAMED = 8
"""Contenders of a data set whose names fit beside their points."""

LONGEST_NAME = 90
"""The longest name beside its point, in typographic points; longer ones are in a legend."""

MARKED_EPOCHS = 12
"""Up to so many epochs each has its marker."""

FULL_RANGE = ("pi", 100)
"""The band from the least to the greatest value: seaborn's interval of percentiles that holds all of them."""


@in_style()
def accuracy_against_iterations(summary: pd.DataFrame) -> Picture:
    """Draws test accuracies with their intervals at each count of iterations; CNNs as levels with their bands."""
    summary = _with_accuracy(summary)
    summary = _keep_several_iterations(summary)
    datasets = list(summary["dataset"].unique())
    chosen, left_out = choose_most_accurate(summary, by="series")
    capsules = chosen[chosen["routing"].notna()]
    iterations = sorted(capsules["iterations"].unique())
    series = list(capsules["series"].unique())
    figure, grid = wrap_panels(len(datasets), 3, 2.1, width=PAGE if len(datasets) > 1 else COLUMN)
    for axes, dataset in zip(grid, datasets, strict=True):
        for row in chosen[(chosen["dataset"] == dataset) & chosen["routing"].isna()].to_dict("records"):
            mean, half = row["accuracy_percent"], row["accuracy_ci95"]
            axes.axhline(mean, color=row["color"], linestyle=row["dashes"], label=row["label"], zorder=1.5)
            if half > 0:
                axes.axhspan(*cut_interval(mean, half), color=row["color"], alpha=BAND, linewidth=0)
        for name, part in capsules[capsules["dataset"] == dataset].groupby("series", sort=False):
            aside = min(0.07, 0.7 / len(series)) * (series.index(name) - (len(series) - 1) / 2)
            across = [iterations.index(count) + aside for count in part["iterations"]]
            axes.plot(across, part["accuracy_percent"], color=PALE, linewidth=THIN, zorder=1.9)
            for x, row in zip(across, part.to_dict("records"), strict=True):
                _draw_point(axes, x, row)
        few_ticks(axes)
        axes.set(title=dataset if len(datasets) > 1 else "", xlabel="routing iterations")
        axes.set(xlim=(-0.5, len(iterations) - 0.5))
        axes.set_xticks(range(len(iterations)), [str(count) for count in iterations])
        axes.grid(axis="x", visible=False)
        percent_axis(axes)
    for axes in grid[::3]:
        axes.set_ylabel("test accuracy (%)")
    spread = describe_spread(chosen, "Points and levels", "bars and bands: 95 % t-intervals")
    caption = f"Grey lines join a capsule network at its iterations; networks without routing are levels. {spread}{CUT}{left_out}"
    return finish_picture(figure, "Test accuracy against routing iterations", caption, chosen["label"])


@in_style()
def accuracy_against_cost(summary: pd.DataFrame) -> Picture:
    """Test accuracy against the time of a training step and the FLOPs of an image's inference, a marker a contender."""
    summary = _with_accuracy(summary)
    costs = {"training_step_ms": "training step (ms per batch)", "flops": "inference (FLOPs per image)"}
    costs = {name: label for name, label in costs.items() if name in summary and summary[name].notna().any()}
    if not costs:
        raise NoDataError(SPEED)
    # Records of one folder may differ in what was measured: a data set without any speed gets no panel.
    summary = summary[summary[list(costs)].notna().any(axis=1)]
    chosen, left_out = choose_most_accurate(summary, most=MOST_NAMED)
    datasets = list(summary["dataset"].unique())
    cells = list(product(datasets, costs.items()))
    across = len(costs) if len(costs) > 1 else 3
    figure, grid = wrap_panels(len(cells), across, 2.3, width=PAGE if len(cells) > 1 else COLUMN)
    for axes, (dataset, (cost, label)) in zip(grid, cells, strict=True):
        measured = summary[(summary["dataset"] == dataset) & summary[cost].notna()]
        others = measured[~measured["contender"].isin(chosen["contender"])]
        if len(others):
            axes.plot(others[cost], others["accuracy_percent"], "o", markersize=2, color=GRID, zorder=1.5)
        named_here = chosen[(chosen["dataset"] == dataset) & chosen[cost].notna()]
        for _, part in named_here.groupby("series", sort=False):
            axes.plot(part[cost], part["accuracy_percent"], color=PALE, linewidth=THIN, zorder=1.9)
        for row in named_here.to_dict("records"):
            _draw_point(axes, row[cost], row)
        few_ticks(axes)
        axes.set(xlabel=label, title=dataset if len(datasets) > 1 else "")
        if measured.empty:
            axes.remove()
            continue
        _cost_axis(axes, measured[cost])
        percent_axis(axes)
    for axes in grid[::across]:
        axes.set_ylabel("test accuracy (%)")
    grey = " Others are pale." if left_out else ""
    caption = (
        "Up and to the left is better; a grey line joins a network at several iterations. "
        f"{describe_spread(chosen, 'Points', 'bars: 95 % t-intervals')}{CUT}{left_out}{grey}"
    )
    title = "Test accuracy against cost"
    beside = max(map(text_width, chosen["label"])) < LONGEST_NAME
    if beside:
        picture = finish_picture(figure, title, caption, chosen["label"][:0])
        named = [
            (axes, _list_points(chosen, dataset, cost)) for axes, (dataset, (cost, _)) in zip(grid, cells, strict=True)
        ]
        if label_points([(axes, points) for axes, points in named if points]):
            return picture
    return finish_picture(figure, title, caption, chosen["label"])


def _list_points(summary: pd.DataFrame, dataset: str, cost: str) -> list[Point]:
    """The contenders of a data set as points, against one of their costs."""
    rows = summary[(summary["dataset"] == dataset) & summary[cost].notna()].to_dict("records")
    half = "accuracy_ci95"
    return [
        Point(r[cost], r["accuracy_percent"], r["label"], r["color"], 0.0 if pd.isna(r[half]) else r[half])
        for r in rows
    ]


@in_style()
def training_curves(summary: pd.DataFrame, curves: pd.DataFrame, changing: Mapping[str, str] | None = None) -> Picture:
    """Draws the number that each epoch was judged by, and the training loss: the mean over seeds and the range.

    Args:
        changing: contender -> what its loss does over a training by itself (`changing_losses`).
    """
    known = {
        "validation_accuracy": "validation accuracy (%)",
        "validation_loss": "validation loss",
        "loss": "training loss",
    }
    values = {name: label for name, label in known.items() if name in curves}
    if not values:
        raise NoDataError("training history", "is not on record")
    chosen, left_out = choose_most_accurate(summary, curves["contender"].unique())
    curves = curves[curves["contender"].isin(chosen["contender"])]
    if curves["epoch"].max() < 2:
        raise NoDataError("a second epoch", "is not on record")
    values = {name: label for name, label in values.items() if curves[name].notna().any()}
    if "validation_accuracy" in values:
        curves = curves.assign(validation_accuracy=100 * curves["validation_accuracy"])
    datasets = list(chosen["dataset"].unique())
    figure, grid = make_panels(len(datasets), len(values), 2.0, width=PAGE if len(values) > 1 else COLUMN)
    for (dataset, (value, label)), axes in zip(product(datasets, values.items()), grid.flat, strict=True):
        values_of = curves[curves["dataset"] == dataset].dropna(subset=value)
        if values_of.empty:
            axes.remove()
            continue
        few_ticks(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        draw_means(axes, values_of, "epoch", value, chosen, FULL_RANGE)
        axes.set(xlabel="epoch", ylabel=label, title=dataset if len(datasets) > 1 else "")
        for line in axes.lines:
            line.set_markevery(-(-len(line.get_xydata()) // MARKED_EPOCHS))
        if value == "validation_accuracy":
            percent_axis(axes)
        elif (curves[value].dropna() > 0).all():
            axes.set(yscale="log")
            log_ticks(axes.yaxis, *axes.get_ylim())
    about_losses = " A loss is each network's own: not to be compared between kinds." if len(values) > 1 else ""
    spread = describe_spread(chosen, "Lines", "bands: from the least to the most of them")
    themselves = [
        f" The loss of {', '.join(alike['series'].unique())} {what}: a curve that rises is no divergence."
        for what, alike in chosen.groupby(chosen["contender"].map(changing or {}), sort=False)
    ]
    return finish_picture(
        figure, "Training curves", f"{spread}{about_losses}{''.join(themselves)}{left_out}", chosen["label"]
    )


def changing_losses(cells: pd.DataFrame) -> dict[str, str]:
    """Contender -> what its loss does over a training by itself, of losses that say so; a record's own loss is not imported."""
    contenders = cells.reindex(columns=["contender", "loss"]).dropna().drop_duplicates().set_index("contender")["loss"]
    words = {name: _changing_words(str(name)) for name in contenders.unique()}
    return {str(contender): words[name] for contender, name in contenders.items() if words[name]}


def _changing_words(loss: str) -> str:
    try:
        return str(registry.get("loss", loss).changing) if registry.is_trusted(loss) else ""
    except FOREIGN:  # of an earlier capsbench, or a user's own that is not here
        return ""


def _keep_several_iterations(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns the networks with several numbers of iterations, and their baselines; raises NoDataError if there is none."""
    counts = summary.groupby(["dataset", "series"])["iterations"].transform("nunique")
    several = summary[counts > 1]
    if several.empty:
        raise NoDataError("a capsule network at several numbers of iterations")
    beside = several.filter(like=BASELINE).to_numpy().flat
    return summary[(counts > 1) | summary["contender"].isin(list(beside))]


def _draw_point(axes: Axes, x: float, row: Mapping[Any, Any]) -> None:
    """Draws the accuracy of a contender, with a bar if its interval is known."""
    bars = None if pd.isna(row["accuracy_ci95"]) else _measure_bars(pd.DataFrame([row]))
    axes.errorbar(x, row["accuracy_percent"], yerr=None, **{**get_line_style(row), "linestyle": "none"})
    if bars is not None:
        # Apart from the point, so that the legend shows no bar.
        axes.errorbar(x, row["accuracy_percent"], yerr=bars, fmt="none", ecolor=row["color"], elinewidth=THIN)


def _measure_bars(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Returns the lengths of the intervals below and above accuracies ``[2, N]``; 0 without an interval."""
    numbers = zip(rows["accuracy_percent"], rows["accuracy_ci95"].fillna(0), strict=True)
    return np.array([[mean - low, high - mean] for mean, half in numbers for low, high in [cut_interval(mean, half)]]).T


def _with_accuracy(summary: pd.DataFrame) -> pd.DataFrame:
    if "accuracy_percent" not in summary:
        raise NoDataError("test accuracy")
    return summary.dropna(subset="accuracy_percent")


def _cost_axis(axes: Axes, costs: pd.Series) -> None:
    """A logarithmic axis with room for names and numbers on it, however narrow the range."""
    low, high = costs.min(), costs.max()
    widen = max(1.5, (6 / (high / low)) ** 0.5)
    axes.set(xscale="log", xlim=(low / widen, high * widen))
    log_ticks(axes.xaxis, low, high)
