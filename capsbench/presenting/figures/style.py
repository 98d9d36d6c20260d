"""The look of pictures: one style, and for each contender one colour, marker and line style in all of them.

The table is a summary (`capsbench.presenting.contenders`), one row a contender. A series is what is joined by a line: a capsule
network at several iterations, or one CNN.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from capsbench import registry
from capsbench.presenting.format import format_si
from capsbench.presenting.marks import with_marks

COLUMN, PAGE = 3.5, 7.16
"""Widths of a picture in inches: of a column and of a page of a two-column paper."""

DPI = 300
"""Dots per inch of a PNG."""

INK, PALE, GRID, PAPER = "#1f2328", "#59636e", "#d8dee4", "#ffffff"

NEUTRALS = {INK: "ink", PALE: "pale", GRID: "grid", PAPER: "paper"}
"""Colour -> its only purpose; a dark page replaces it."""

PALETTE = [
    *("#2d4bff", "#d27800", "#3ca587", "#d2003c", "#a578f0", "#964b96"),
    *("#3c7544", "#bc4400", "#ab1db7", "#789e65", "#765e6c", "#c077cf"),
]
"""Colours of contenders: a contrast of 3 to white and to a dark page, distinct also for the colour-blind, the first ones most."""

MISLED = PALETTE[3]
"""The colour of a wrong prediction."""

MARKERS = ["o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "h", "*"]
DASHES: list[str | tuple[int, tuple[float, ...]]] = ["-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5))]
"""Line styles of capsule networks: that of the most iterations is solid."""

CNN_DASHES: list[str | tuple[int, tuple[float, ...]]] = [(0, (2.5, 1.2)), (0, (2.5, 1.2, 1, 1.2, 1, 1.2))]
SMALL = 7.0
"""Points of the smallest text, of ticks, legends and names; the larger is 7.5."""

LINE, THIN, POINT = 1.0, 0.6, 3.5
"""Widths of lines, of bars and frames, and sizes of markers, in points."""

STYLE: dict[Any, Any] = {
    # A `matplotlibrc` of the folder that a command runs in counts for nothing: by `text.usetex` it would have LaTeX run.
    **{name: setting for name, setting in mpl.rcParamsDefault.items() if not name.startswith("backend")},
    "text.parse_math": False,  # a name on record may hold two dollar signs, and no mathematics
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
    "legend.labelspacing": 0.25,
    "legend.borderpad": 0.1,
    "legend.borderaxespad": 0.2,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": PALE,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": THIN,
    "grid.linewidth": 0.4,
    "xtick.major.width": THIN,
    "ytick.major.width": THIN,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "axes.labelpad": 2.0,
    "axes.titlepad": 3.0,
    "lines.linewidth": LINE,
    "lines.markersize": POINT,
    "lines.markeredgewidth": 0.7,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.hspace": 0.02,
    "figure.constrained_layout.wspace": 0.02,
    "figure.dpi": DPI,
    "svg.fonttype": "none",
    "svg.hashsalt": "capsbench",
}
"""The settings of matplotlib; without the salt an SVG's identifiers would be random."""


@contextmanager
def in_style() -> Iterator[None]:
    """Draws in `STYLE`, without a warning for each letter that its font lacks: whoever opens an SVG may have another font."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        yield


def add_styles(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary with marks behind its names, and the look of each row, which is that of the row in all pictures.

    A name has a colour and a marker: ``color``, ``face``, ``marker``; of more names than colours, those that pictures choose have
    one of their own. Iterations of a network have line styles (``dashes``), and a CNN's markers are hollow.
    """
    table = with_marks(summary)
    names = summary["label"]  # without marks, which a contender may have on one data set alone
    cnn = table["network"].isin(registry.names("baseline")) & table["routing"].isna()
    places = {name: place for place, name in enumerate(_order_names(summary))}
    table["color"] = [PALETTE[places[name] % len(PALETTE)] for name in names]
    table["face"] = table["color"].mask(cnn, PAPER)
    # Where colours begin anew, so do markers, but one further.
    markers = {name: (place + place // len(PALETTE)) % len(MARKERS) for name, place in places.items()}
    table["marker"] = [MARKERS[markers[name]] for name in names]
    fewer = table.groupby(["dataset", "series"])["iterations"].rank(method="first", ascending=False).fillna(1)
    cnns = {name: number for number, name in enumerate(table.loc[cnn, "series"].unique())}
    dashes = [
        CNN_DASHES[cnns[name] % len(CNN_DASHES)] if name in cnns else DASHES[int(place - 1) % len(DASHES)]
        for name, place in zip(table["series"], fewer, strict=True)
    ]
    table["dashes"] = pd.Series(dashes, index=table.index, dtype=object)
    return table


def _order_names(table: pd.DataFrame) -> list[str]:
    """Returns the names of contenders in the order in which they get colours: of many, those that pictures choose come first."""
    names = list(table["label"].unique())
    if len(names) <= len(PALETTE) or "accuracy_percent" not in table:
        return names
    best = table.groupby("dataset")["accuracy_percent"].rank(ascending=False).sort_values(kind="stable").index
    labels = dict(zip(table["contender"], table["label"], strict=True))
    ranked = table.loc[best, ["label", "baseline"]].itertuples(index=False)
    with_baselines = (name for label, baseline in ranked for name in (label, labels.get(baseline)) if name)
    return list(dict.fromkeys([*with_baselines, *names]))


def percent_axis(axes: Axes) -> None:
    """No room above 100 %, more than what a marker needs; never less than two points, so that noise does not look large."""
    low, high = axes.get_ylim()
    if high - low < 2:
        low, high = (low + high) / 2 - 1, (low + high) / 2 + 1
    high = min(high, 100 + 0.03 * (100 - low))
    axes.set_ylim(min(low, high - 2), high)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    ratio = high / low
    axis.set_major_locator(LogLocator(subs=(1,) if ratio > 100 else (1, 2, 5) if ratio > 10 else (1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: format_si(value).replace(".0", "") if value >= 1000 else format_si(value))
    )
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
