"""Pictures of a summary, as matplotlib figures that belong to no notebook: accuracy, cost, training.

The tables are those of `capsbench.reporting.tables`: ``summary`` has one row a contender, ``curves`` one row a cell and
epoch. A series is what is joined by a line: a capsule network at several iterations, or one CNN.
"""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from capsbench.reporting.labels import Point, label_points
from capsbench.reporting.tables import MATCHED, varying_columns
from capsbench.reporting.text import option, short, si

MARKERS = ["o", "s", "D", "^", "v", "P"]
PALETTE = [sns.color_palette("colorblind").as_hex()[i] for i in (0, 3, 2, 1, 4, 5, 9)]
CNN = "#404040"
TIMES = "\N{MULTIPLICATION SIGN}"
DASHES = ["--", ":", "-.", (0, (6, 1, 1, 1)), (0, (1, 3)), (0, (8, 3))]
"""Line styles of CNNs; a capsule network's line is solid."""

STYLE = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("notebook", font_scale=0.8),
    "figure.titleweight": "bold",
    "legend.frameon": False,
    "axes.linewidth": 0.8,
    "grid.linewidth": 0.6,
}


class NoDataError(ValueError):
    """What a picture needs was not measured; the message says what."""


@mpl.rc_context(STYLE)
def accuracy_against_iterations(summary: pd.DataFrame) -> Figure:
    """Test accuracy with its interval at each count of iterations; the matched baseline as a level with its band."""
    summary = _with_accuracy(_series(summary))
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
        _percent_axis(axes)
    panels[0].set_ylabel("test accuracy (%)")
    caption = _caption(summary, "points and levels", "bars and bands: 95 % t-interval")
    finish(figure, "Test accuracy against routing iterations", caption, summary["series"])
    return figure


@mpl.rc_context(STYLE)
def accuracy_against_cost(summary: pd.DataFrame) -> Figure:
    """Test accuracy against the time of a training step and the FLOPs of an image's inference, a marker a contender."""
    summary = _with_accuracy(_series(summary))
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
                _percent_axis(axes)
        line[0].set_ylabel("test accuracy (%)")
    caption = _caption(summary, "points", "bars: 95 % t-interval")
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
    summary = _series(summary)
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
                _percent_axis(axes)
            elif (curves[value].dropna() > 0).all():
                axes.set(yscale="log")
                _log_ticks(axes.yaxis, *axes.get_ylim())
    caption = _caption(summary, "lines", "bands: from the lowest to the highest")
    finish(figure, "Training curves", caption, summary["label"])
    return figure


def _with_accuracy(summary: pd.DataFrame) -> pd.DataFrame:
    if "accuracy_percent" not in summary:
        raise NoDataError("test accuracy was not measured")
    return summary.dropna(subset="accuracy_percent")


def _series(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary with what a picture needs of each row: names, ``color``, ``shade``, ``marker`` and ``dashes``."""
    table = _named(summary)
    capsule = table["routing"].notna()
    networks, cnns = list(table.loc[capsule, "series"].unique()), list(table.loc[~capsule, "series"].unique())
    number = table["series"].map((networks + cnns).index)
    table["marker"] = [MARKERS[i % len(MARKERS)] for i in number]
    table["dashes"] = ["-" if i < len(networks) else DASHES[(i - len(networks)) % len(DASHES)] for i in number]
    table["color"] = [PALETTE[i % len(PALETTE)] if i < len(networks) else CNN for i in number]
    users = table.groupby("baseline")["color"].agg(set)
    for baseline, colors in users[users.map(len) == 1].items():
        table.loc[table["contender"] == baseline, "color"] = colors.pop()
    table["shade"] = table["color"]
    for _, part in table[capsule].groupby(["dataset", "series"]):
        shades = sns.light_palette(part["color"].iloc[0], 2 * len(part)).as_hex()[len(part) :]
        table.loc[part.sort_values("iterations").index, "shade"] = shades
    return table


def _named(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary with ``series``, what tells each row apart but for the iterations, and ``label``, with them."""
    table = summary.copy()
    capsule = table["routing"].notna()
    network, routing = table["network"].map(short), table["routing"].map(short, na_action="ignore")
    ambiguous = table[capsule].groupby("routing")["network"].nunique().gt(1).any()
    cnn = network.replace(MATCHED, f"{MATCHED} CNN")
    name = (network + " " + routing if ambiguous else routing).where(capsule, cnn)
    rest = pd.Series("", index=table.index)
    if table["size"].nunique() > 1:
        rest += ", " + table["size"]
    if "train_size" in table and table["train_size"].nunique(dropna=False) > 1:
        rest += ", " + table["train_size"].map(str, na_action="ignore").astype(object).fillna("all") + " images"
    for column in varying_columns(table):
        rest += (f", {option(column)} " + table[column].astype(str)).where(table[column].notna() & capsule, "")
    if "parameters" in table and table.assign(series=name + rest)[~capsule].duplicated(["dataset", "series"]).any():
        rest += (", " + table["parameters"].map(si)).where(~capsule, "")
    iterations = (f" {TIMES}" + table["iterations"].astype(str)).where(capsule, "")
    return table.assign(series=name + rest, label=name + iterations + rest)


def _percent_axis(axes: Axes) -> None:
    """No room above 100 %, more than what a marker needs."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100 + 0.03 * (100 - low)))


def _cost_axis(axes: Axes, costs: pd.Series) -> None:
    """A logarithmic axis with room for names and numbers on it, however narrow the range."""
    low, high = costs.min(), costs.max()
    widen = max(1.5, (6 / (high / low)) ** 0.5)
    axes.set(xscale="log", xlim=(low / widen, high * widen))
    _log_ticks(axes.xaxis, low, high)


def _log_ticks(axis: Axis, low: float, high: float) -> None:
    ratio = high / low
    axis.set_major_locator(LogLocator(subs=(1,) if ratio > 100 else (1, 2, 5) if ratio > 10 else (1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: si(value).replace(".0", "") if value >= 1000 else si(value))
    )
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _caption(summary: pd.DataFrame, means: str, spreads: str) -> str:
    low, high = summary["n"].min(), summary["n"].max()
    if high == 1:
        return "one seed"
    return f"{means}: mean over {low if low == high else f'{low} to {high}'} seeds; {spreads}"


def finish(figure: Figure, title: str, caption: str, order: pd.Series | None = None) -> None:
    """Title, caption and one legend for all panels, its entries in the order of the table, or as they were drawn."""
    figure.suptitle(title)
    figure.supxlabel(caption, fontsize="small", color="0.35")
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    shown = list(entries) if order is None else [name for name in order.unique() if name in entries]
    if shown:
        figure.legend([entries[name] for name in shown], shown, loc="outside right center", fontsize="small")


PICTURES: dict[str, Callable[[pd.DataFrame, pd.DataFrame], Figure]] = {
    "accuracy-iterations": lambda summary, _: accuracy_against_iterations(summary),
    "accuracy-cost": lambda summary, _: accuracy_against_cost(summary),
    "training-curves": training_curves,
}
"""File name without ending -> what draws it from a summary and its training curves."""


def pictures(summary: pd.DataFrame, curves: pd.DataFrame) -> tuple[dict[str, Figure], list[str]]:
    """Each of `PICTURES` that there is data for, and a line for each other one."""
    figures, notes = {}, []
    for name, draw in PICTURES.items():
        try:
            figures[name] = draw(summary, curves)
        except NoDataError as error:
            notes.append(f"no picture {name}: {error}")
    return figures, notes
