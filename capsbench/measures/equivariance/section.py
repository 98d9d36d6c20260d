"""The section on equivariance: predictions, features and poses under rotation, translation and scale."""

from __future__ import annotations

from itertools import product

import pandas as pd

from capsbench.measures.equivariance.effort import EFFORTS
from capsbench.measures.equivariance.spec import EQUIVARIANCE
from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.columns import format_numbers, one_row_each, select_number
from capsbench.presenting.figures.curves import draw_curves, get_line_style
from capsbench.presenting.figures.figure import Picture, describe_spread, finish_picture, make_panels
from capsbench.presenting.figures.style import COLUMN, PAGE, PALE, THIN, in_style
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.shortlist import choose_contenders

FAMILIES = {
    "rotation": "rotation (degrees)",
    "translation": "translation (% of the side)",
    "scale": "size (± %)",
    "quarter turns": "quarter turns (degrees)",
}
"""Family of transformations -> its name on an axis, with the unit of its levels."""

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


CLEARER = {
    "of those right before %": "consistency of right predictions %",
    "of the identity": "map error of the identity",
    "of the class means": "map error of the class means",
    "R² of a pose": "R² of the winning pose",
    "R² of the layer": "R² of the whole layer",
}
"""Heading -> the words of it in a table for people."""

TURNS = "quarter turns"
"""The family whose levels are no steps of a quantity."""

FOLLOWED = ("rotation", "translation", "scale")
"""The families whose parameters are predicted from poses."""

LOWEST = -1.0
"""The lowest R² that is drawn; a lower one is drawn here."""


def build_table(material: Material) -> pd.DataFrame:
    rows = material.of_measure(EQUIVARIANCE)
    means = material.average_seeds(rows[rows["level"].isna()])
    return one_row_each(means, {heading: select_number(means, *number) for heading, number in NUMBERS.items()})


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as strings, under headings that can be read alone."""
    return format_numbers(table).rename(columns=CLEARER)


@in_style()
def draw_level_curves(material: Material) -> Picture:
    """Draws the consistency, and the error of a linear map of features, against the level of the transformation."""
    rows = material.of_measure(EQUIVARIANCE)
    chosen_rows = choose_contenders(material, rows[rows["level"].notna()], "equivariance by level")
    table = chosen_rows.table
    lines = {
        "consistency": ("", "same prediction (%)", 100.0),
        "map error": (", ridge", "error of a linear map", 1.0),
    }
    lines = {metric: line for metric, line in lines.items() if (table["metric"] == metric).any()}
    families = {name: label for name, label in FAMILIES.items() if table["condition"].str.startswith(name).any()}
    if not lines:
        raise NoDataError("equivariance by level")
    datasets = list(table["dataset"].unique())
    width = PAGE if len(families) > 2 else COLUMN
    figure, grid = make_panels(len(lines) * len(datasets), len(families), 1.5, width, sharey="row")
    for (dataset, metric), line in zip(product(datasets, lines), grid, strict=True):
        which, label, factor = lines[metric]
        for axes, (family, title) in zip(line, families.items(), strict=True):
            is_of_panel = (chosen_rows.rows["metric"] == metric) & (chosen_rows.rows["condition"] == family + which)
            draw_curves(
                axes,
                chosen_rows.rows[is_of_panel & (chosen_rows.rows["dataset"] == dataset)],
                chosen_rows.summary,
                factor,
                joined=family != TURNS,
            )
            axes.set_xlabel(title)
            if family == TURNS:
                axes.set_xticks([90, 180, 270])
            if metric == "map error":
                axes.axhline(1, color=PALE, linewidth=THIN, linestyle=(0, (1, 2)))
        # Bands of few seeds reach far beyond what is possible.
        line[0].set(
            ylabel=f"{dataset}\n{label}" if len(datasets) > 1 else label, ylim=(0, 103 if factor == 100 else None)
        )
    caption = (
        "Above: share of test images whose prediction stays the same. Below: error of one linear map from the features f(x) of "
        "all images to the features f(gx) of the transformed images, 0 if features follow exactly, 1 for the mean "
        f"of f(gx). {describe_spread(table, 'Lines', 'bands: 95 % t-intervals')}{chosen_rows.left_out}"
    )
    return finish_picture(
        figure, "How predictions and features follow the image", caption, chosen_rows.summary["label"]
    )


@in_style()
def draw_parameters(material: Material) -> Picture:
    """Draws R² of the parameters of a transformation predicted from the winning pose, a panel a parameter."""
    rows = material.of_measure(EQUIVARIANCE)
    chosen_rows = choose_contenders(
        material, rows[(rows["metric"] == "R^2") & rows["condition"].isin(FOLLOWED)], "a regression on poses"
    )
    table = chosen_rows.table
    names = [name for name in FOLLOWED if (table["condition"] == name).any()]
    datasets = list(table["dataset"].unique())
    most = table.groupby("dataset")["contender"].nunique().max()
    width = PAGE if len(names) > 1 else COLUMN
    figure, grid = make_panels(len(datasets), len(names), 0.5 + 0.15 * most, width, sharey="row", sharex=True)
    for dataset, line in zip(datasets, grid, strict=True):
        of_dataset = table[table["dataset"] == dataset]
        labels = list(of_dataset["label"].unique())
        for axes, name in zip(line, names, strict=True):
            for row in of_dataset[of_dataset["condition"] == name].to_dict("records"):
                place, half = labels.index(row["label"]), 0.0 if pd.isna(row["ci95"]) else row["ci95"]
                low, high = max(LOWEST, row["value"] - half), max(LOWEST, min(1.0, row["value"] + half))
                axes.plot([low, high], [place, place], color=row["color"], linewidth=THIN)
                axes.plot(max(LOWEST, row["value"]), place, **get_line_style(row))
            axes.axvline(0, color=PALE, linewidth=THIN)
            axes.set(title=name if len(datasets) == 1 else f"{dataset}: {name}", xlabel="R² on other images")
            axes.grid(axis="y", visible=False)
        line[0].set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.5, -0.5))
    grid[0, 0].set_xlim(max(LOWEST - 0.04, min(-0.1, table["value"].min() - 0.1)), 1.04)
    below = f" R² below {LOWEST:g} is drawn at {LOWEST:g}." if table["value"].min() < LOWEST else ""
    caption = (
        "R² of the parameters drawn for each image, predicted by ridge regression on other images from the pose of the winning "
        f"class, or from as many numbers of a CNN's penultimate layer: 1 is perfect, 0 is no better than the mean.{below} "
        f"{describe_spread(table, 'Points', 'bars: 95 % t-intervals')}{chosen_rows.left_out}"
    )
    return finish_picture(figure, "What the winning pose knows of the transformation", caption, pd.Series(dtype=str))


SECTION = Section(
    explains={
        "predictions kept under transformations": (
            "Predictions kept: the share of the test images whose prediction, right or wrong, stays the same when the image is "
            "rotated, moved or scaled."
        )
    },
    name=EQUIVARIANCE,
    title="Equivariance",
    caption=(
        "Consistency: share of test images whose prediction stays the same under rotation, translation and scale, the mean over "
        "families and levels.",
        AboutColumn(
            "map error",
            "Map error: error of one linear map from the features of all images to those of the transformed images, relative to "
            "the error of the mean. An equivariant network has less error than the identity and than the means of the classes.",
        ),
        AboutColumn(
            "R²",
            "R²: variance of the parameters drawn for each image that is explained by the pose of the winning class, or by as "
            "many numbers of a CNN's penultimate layer.",
        ),
    ),
    table=build_table,
    readable=format_table,
    images=ImagesTaken({name: effort.images for name, effort in EFFORTS.items()}, "transformed"),
    pictures={"equivariance-curves": draw_level_curves, "equivariance-parameters": draw_parameters},
)
