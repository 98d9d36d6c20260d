"""How pictures look: one style, and for each contender one colour, marker and line style in all of them.

The table is a summary (`capsbench.reporting.tables`), one row a contender. A series is what is joined by a line: a capsule
network at several iterations, or one CNN.
"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from capsbench import registry
from capsbench.reporting.tables import MATCHED, varying_columns
from capsbench.reporting.text import option, short, si, value

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


def styled(summary: pd.DataFrame) -> pd.DataFrame:
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
    beside = table["network"].isin(registry.names("baseline"))  # a CNN is one, whatever its options
    for column in varying_columns(table):
        told = f", {option(column)} " + table[column].map(value, na_action="ignore").astype(str)
        rest += told.where(table[column].notna() & ~beside, "")
    if "parameters" in table and table.assign(series=name + rest)[~capsule].duplicated(["dataset", "series"]).any():
        rest += (", " + table["parameters"].map(si)).where(~capsule, "")
    iterations = (f" {TIMES}" + table["iterations"].astype(str)).where(capsule, "")
    return table.assign(series=name + rest, label=name + iterations + rest)


def percent_axis(axes: Axes) -> None:
    """No room above 100 %, more than what a marker needs."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100 + 0.03 * (100 - low)))


def log_ticks(axis: Axis, low: float, high: float) -> None:
    ratio = high / low
    axis.set_major_locator(LogLocator(subs=(1,) if ratio > 100 else (1, 2, 5) if ratio > 10 else (1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: si(value).replace(".0", "") if value >= 1000 else si(value))
    )
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def caption_of(summary: pd.DataFrame, means: str, spreads: str) -> str:
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
