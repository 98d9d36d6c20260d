"""Pictures beside the headline table, as matplotlib figures that belong to no notebook: accuracy, cost, training.

The summary is that of `capsbench.reporting.section.Material`.
"""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capsbench.reporting.labels import Point, label_points
from capsbench.reporting.section import NoDataError
from capsbench.reporting.style import STYLE, caption_of, finish, log_ticks, percent_axis


@mpl.rc_context(STYLE)
def accuracy_against_iterations(summary: pd.DataFrame) -> Figure:
    """Test accuracy with its interval at each count of iterations; the matched baseline as a level with its band."""
    summary = _with_accuracy(summary)
    capsules = summary[summary["routing"].notna()]
    if capsules.empty:
        raise NoDataError("no capsule network was measured")
    datasets = list(capsules["dataset"].unique())
    figure = Figure(figsize=(1.9 + 3.9 * len(datasets), 4.2), layout="constrained")
    panels = figure.subplots(1, len(datasets), squeeze=False)[0]
    iterations = sorted(capsules["iterations"].unique())
    series = list(capsules["series"].unique())
    for axes, dataset in zip(panels, datasets, strict=True):
        shown = capsules[capsules["dataset"] == dataset]
        levels = summary[summary["contender"].isin(shown["baseline"])]
        for row in levels.to_dict("records"):
            mean, half = row["accuracy_percent"], row["accuracy_ci95"]
            axes.axhline(mean, color=row["color"], linestyle=row["dashes"], label=row["label"], zorder=1.5)
            axes.axhspan(mean - half, mean + half, color=row["color"], alpha=0.1, linewidth=0)
        for name, part in shown.groupby("series", sort=False):
            aside = min(0.07, 0.7 / len(series)) * (series.index(name) - (len(series) - 1) / 2)
            axes.errorbar(
                [iterations.index(count) + aside for count in part["iterations"]],
                part["accuracy_percent"],
                yerr=part["accuracy_ci95"],
                color=part["color"].iloc[0],
                marker=part["marker"].iloc[0],
                label=name,
                markersize=6,
                linewidth=1.4,
                capsize=3,
                elinewidth=1,
            )
        axes.set(title=dataset, xlabel="routing iterations", xlim=(-0.5, len(iterations) - 0.5))
        axes.set_xticks(range(len(iterations)), [str(count) for count in iterations])
        axes.grid(axis="x", visible=False)
        percent_axis(axes)
    panels[0].set_ylabel("test accuracy (%)")
    caption = caption_of(summary, "points and levels", "bars and bands: 95 % t-interval")
    finish(figure, "Test accuracy against routing iterations", caption, summary["series"])
    return figure


@mpl.rc_context(STYLE)
def accuracy_against_cost(summary: pd.DataFrame) -> Figure:
    """Test accuracy against the time of a training step and the FLOPs of an image's inference, a marker a contender."""
    summary = _with_accuracy(summary)
    costs = {"training_step_ms": "training step (ms per batch)", "flops": "inference (FLOPs per image)"}
    costs = {name: label for name, label in costs.items() if name in summary and summary[name].notna().any()}
    if not costs:
        raise NoDataError("speed was not measured")
    # Records of one folder may differ in what was measured: a data set without any speed gets no panel.
    summary = summary[summary[list(costs)].notna().any(axis=1)]
    datasets = list(summary["dataset"].unique())
    figure = Figure(figsize=(5.6 * len(costs), 0.6 + 4.1 * len(datasets)), layout="constrained")
    panels = figure.subplots(len(datasets), len(costs), squeeze=False)
    for dataset, line in zip(datasets, panels, strict=True):
        for axes, (cost, label) in zip(line, costs.items(), strict=True):
            shown = summary[(summary["dataset"] == dataset) & summary[cost].notna()]
            for _, part in shown.groupby("series", sort=False):
                axes.errorbar(
                    part[cost],
                    part["accuracy_percent"],
                    yerr=part["accuracy_ci95"],
                    color=part["color"].iloc[0],
                    marker=part["marker"].iloc[0],
                    markersize=7,
                    linewidth=0.8,
                    elinewidth=0.6,
                )
            axes.set(xlabel=label, title=dataset)
            if not shown.empty:
                _cost_axis(axes, shown[cost])
                percent_axis(axes)
        line[0].set_ylabel("test accuracy (%)")
    caption = caption_of(summary, "points", "bars: 95 % t-interval")
    finish(figure, "Test accuracy against cost", caption, summary["label"])
    for (dataset, cost), axes in zip([(d, c) for d in datasets for c in costs], panels.flat, strict=True):
        shown = summary[(summary["dataset"] == dataset) & summary[cost].notna()]
        if shown.empty:
            continue
        label_points(
            axes, [Point(r[cost], r["accuracy_percent"], r["label"], r["color"]) for r in shown.to_dict("records")]
        )
    return figure


@mpl.rc_context(STYLE)
def training_curves(summary: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """What each epoch was judged by, and its training loss: the mean over seeds and the range from least to most."""
    known = {
        "validation_accuracy": "validation accuracy (%)",
        "validation_loss": "validation loss (each network's own)",
        "loss": "training loss (each network's own)",
    }
    values = {name: label for name, label in known.items() if name in curves}
    if not values:
        raise NoDataError("no training history is on record")
    if "validation_accuracy" in values:
        curves = curves.assign(validation_accuracy=100 * curves["validation_accuracy"])
    datasets = list(summary["dataset"].unique())
    figure = Figure(figsize=(5.75 * len(values), 0.6 + 3.6 * len(datasets)), layout="constrained")
    panels = figure.subplots(len(datasets), len(values), squeeze=False)
    for dataset, line in zip(datasets, panels, strict=True):
        for axes, (value, label) in zip(line, values.items(), strict=True):
            for row in summary[summary["dataset"] == dataset].to_dict("records"):
                own = curves[curves["contender"] == row["contender"]].dropna(subset=value)
                if own.empty:
                    continue
                sns.lineplot(
                    own,
                    x="epoch",
                    y=value,
                    errorbar=("pi", 100),
                    color=row["shade"],
                    linestyle=row["dashes"],
                    marker=row["marker"] if own["epoch"].max() <= 12 else None,
                    markersize=5,
                    markeredgewidth=0,
                    linewidth=1.5,
                    err_kws={"alpha": 0.12, "linewidth": 0},
                    label=row["label"],
                    legend=False,
                    ax=axes,
                )
            axes.set(xlabel="epoch", ylabel=label, title=dataset)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if value == "validation_accuracy":
                percent_axis(axes)
            elif (curves[value].dropna() > 0).all():
                axes.set(yscale="log")
                log_ticks(axes.yaxis, *axes.get_ylim())
    caption = caption_of(summary, "lines", "bands: from the lowest to the highest")
    finish(figure, "Training curves", caption, summary["label"])
    return figure


def _with_accuracy(summary: pd.DataFrame) -> pd.DataFrame:
    if "accuracy_percent" not in summary:
        raise NoDataError("test accuracy was not measured")
    return summary.dropna(subset="accuracy_percent")


def _cost_axis(axes: Axes, costs: pd.Series) -> None:
    """A logarithmic axis with room for names and numbers on it, however narrow the range."""
    low, high = costs.min(), costs.max()
    widen = max(1.5, (6 / (high / low)) ** 0.5)
    axes.set(xscale="log", xlim=(low / widen, high * widen))
    log_ticks(axes.xaxis, low, high)
