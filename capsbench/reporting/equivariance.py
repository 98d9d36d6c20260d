"""The section on equivariance: whether predictions and poses follow an image as it is turned, moved and sized."""

from __future__ import annotations

from itertools import product
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from capsbench.reporting.curves import draw_curves
from capsbench.reporting.section import Material, NoDataError, Section
from capsbench.reporting.style import STYLE, caption_of, finish
from capsbench.reporting.text import names, with_interval

FAMILIES = {
    "rotation": "rotation (degrees)",
    "translation": "translation (% of the side)",
    "scale": "size (± %)",
    "quarter turns": "quarter turns (degrees)",
}
"""Family of transformations -> what its levels are."""

NUMBERS = {
    "consistency %": ("consistency", "all"),
    "of those right before %": ("consistency", "all, right before"),
    "map error": ("map error", "all, ridge"),
    "of the identity": ("map error", "all, identity"),
    "of the class means": ("map error", "all, class mean"),
    "R² of a pose": ("R^2", "all"),
    "R² of the layer": ("R^2", "all, whole layer"),
}
"""Heading -> metric and condition."""


def _table(material: Material) -> pd.DataFrame:
    rows = material.of_measure("equivariance")
    means = material.averaged(rows[rows["level"].isna()])
    table = means[["contender", "dataset", "label", "n"]].drop_duplicates("contender").set_index("contender")
    for heading, (metric, condition) in NUMBERS.items():
        chosen = means[(means["metric"] == metric) & (means["condition"] == condition)].set_index("contender")
        table[heading], table[f"{heading}, ci95"] = chosen["value"], chosen["ci95"]
    return table.reset_index(drop=True).rename(columns={"label": "name"})


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    shown: dict[str, Any] = {**names(table), "n": table["n"].map(str)}
    for heading in NUMBERS:
        factor, digits = (100, 1) if heading.endswith("%") else (1, 2)
        shown[heading] = [
            with_interval(factor * value, factor * half, digits)
            for value, half in zip(table[heading], table[f"{heading}, ci95"], strict=True)
        ]
    return pd.DataFrame(shown)


@mpl.rc_context(STYLE)
def curves(material: Material) -> Figure:
    """Consistency, and the error of a linear map of features, against how far images are transformed."""
    rows = material.of_measure("equivariance")
    table = material.averaged(rows[rows["level"].notna()])
    lines = {
        "consistency": ("", "same prediction (%)", 100.0),
        "map error": (", ridge", "error of a linear map f(x) → f(gx)", 1.0),
    }
    lines = {metric: line for metric, line in lines.items() if (table["metric"] == metric).any()}
    families = {name: label for name, label in FAMILIES.items() if table["condition"].str.startswith(name).any()}
    if not lines:
        raise NoDataError("no curves of equivariance were measured")
    datasets = list(table["dataset"].unique())
    height = 0.8 + 2.5 * len(lines) * len(datasets)
    figure = Figure(figsize=(1.9 + 2.6 * len(families), height), layout="constrained")
    panels = figure.subplots(len(lines) * len(datasets), len(families), squeeze=False, sharey="row")
    for (dataset, metric), line in zip(product(datasets, lines), panels, strict=True):
        which, label, factor = lines[metric]
        for axes, (family, title) in zip(line, families.items(), strict=True):
            chosen = (table["metric"] == metric) & (table["condition"] == family + which)
            draw_curves(axes, table[chosen & (table["dataset"] == dataset)], factor)
            axes.set_xlabel(title)
            if family == "quarter turns":
                axes.set_xticks([90, 180, 270])
            if metric == "map error":
                axes.axhline(1, color="0.5", linewidth=0.8, linestyle=(0, (1, 2)))
        # Bands of few seeds reach far beyond what is possible.
        line[0].set(
            ylabel=f"{dataset}\n{label}" if len(datasets) > 1 else label, ylim=(0, 103 if factor == 100 else None)
        )
    caption = caption_of(material.summary, "lines", "bands: 95 % t-interval") + "; a map error of 1 is that of the mean"
    finish(figure, "How predictions and features follow the image", caption, material.summary["label"])
    return figure


@mpl.rc_context(STYLE)
def parameters(material: Material) -> Figure:
    """What the pose of the winning class knows of the transformation."""
    rows = material.of_measure("equivariance")
    table = material.averaged(rows[(rows["metric"] == "R^2") & ~rows["condition"].str.contains("whole layer")])
    if table.empty:
        raise NoDataError("no poses were regressed on")
    if table["dataset"].nunique() > 1:
        table["label"] = table["dataset"] + ": " + table["label"]
    labels = list(table["label"].unique())
    figure = Figure(figsize=(8.6, 1.5 + 0.32 * len(labels)), layout="constrained")
    names = [name for name in ("rotation", "translation", "scale") if (table["condition"] == name).any()]
    for axes, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        own = table[table["condition"] == name]
        for row in own.to_dict("records"):
            place = len(labels) - 1 - labels.index(row["label"])
            half = 0 if pd.isna(row["ci95"]) else row["ci95"]
            axes.errorbar(
                row["value"],
                place,
                xerr=half,
                color=row["shade"],
                marker=row["marker"],
                markersize=6,
                capsize=3,
                elinewidth=1,
            )
        axes.axvline(0, color="0.5", linewidth=0.8)
        axes.set(title=name, xlabel="R² on other images", xlim=(min(-0.1, own["value"].min() - 0.1), 1.02))
        axes.set_yticks(range(len(labels)), labels[::-1])
        axes.grid(axis="y", visible=False)
    caption = caption_of(material.summary, "points", "bars: 95 % t-interval") + "; 16 numbers of each network"
    finish(figure, "What the winning pose knows of the transformation", caption)
    return figure


SECTION = Section(
    name="equivariance",
    title="Equivariance",
    caption=(
        "Consistency: test images that keep their prediction when they are turned, moved or sized, the mean over families and "
        "levels. Map error: of one linear map from the features of all images to those of the transformed ones, as a part of "
        "the error of the mean; an equivariant network has less than the identity and than the means of the classes. R²: what "
        "the pose of the winning class, of a CNN as many numbers of its penultimate layer, explains of the parameters drawn for "
        "each image."
    ),
    table=_table,
    readable=_readable,
    pictures={"equivariance-curves": curves, "equivariance-parameters": parameters},
)
