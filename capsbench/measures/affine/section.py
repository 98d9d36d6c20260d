"""The section on warped images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from capsbench.measures.affine.effort import IMAGES
from capsbench.measures.affine.spec import AFFINE
from capsbench.presenting.columns import format_numbers, one_row_each
from capsbench.presenting.figures.curves import draw_curves
from capsbench.presenting.figures.figure import Picture, describe_spread, finish_picture, make_panels
from capsbench.presenting.figures.mosaic import draw_mosaic, make_mosaic
from capsbench.presenting.figures.style import PAGE, PAPER, SMALL, in_style
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.shortlist import choose_contenders, choose_most_accurate
from capsbench.presenting.words import TIMES
from capsbench.records.artifacts import are_correct

Kept = Mapping[str, NDArray[Any]]
"""The tensors that the measure kept of a cell."""


class Scale(NamedTuple):
    """The values on an axis for the levels of a family: ``first + factor * level``."""

    label: str
    factor: float = 1.0
    first: float = 0.0


PERCENT_OF_RANGES = Scale("% of its ranges", 100.0)

SCALES = {
    "rotation": Scale("degrees"),
    "translation": Scale("% of the side", 100.0),
    "scale": Scale("times larger or smaller", first=1.0),
    "shear": Scale("pixels right for one down"),
    **dict.fromkeys(("Euclidean", "similarity", "affine", "projective"), PERCENT_OF_RANGES),
}
"""Family -> the scale of its levels."""

MOST_SHOWN = 6
"""The most contenders whose predictions fit below an image."""

MOST_LINES = 6
"""The most images, a line each."""


def build_table(material: Material) -> pd.DataFrame:
    """Returns the accuracy on unwarped images, and the area under the curve and retained accuracy of each family, in per cent."""
    means = material.average_seeds(material.of_measure(AFFINE))
    unwarped = means[(means["metric"] == "accuracy") & (means["level"] == 0)].drop_duplicates("contender")
    numbers = {"unwarped %": unwarped}
    for heading, metric in (("%", "area under the curve"), ("retained %", "retained accuracy")):
        rows = means[means["metric"] == metric]
        numbers |= {f"{name} {heading}": rows[rows["condition"] == name] for name in SCALES}
    return one_row_each(means, numbers)


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    strings = format_numbers(table)
    return strings.drop(
        columns=[name for name in strings if str(name).endswith("retained %")]
    )  # these are in the file alone


@in_style()
def draw_accuracy_curves(material: Material) -> Picture:
    """Draws the accuracy against the level of the warp, a panel a family."""
    rows = material.of_measure(AFFINE)
    chosen = choose_contenders(material, rows[rows["level"].notna()], "accuracy by level")
    table = chosen.table
    datasets = list(table["dataset"].unique())
    figure, grid = make_panels(2 * len(datasets), 4, 1.45, PAGE, sharey=True)
    for dataset, lines in zip(datasets, grid.reshape(-1, 2, 4), strict=True):
        for axes, (family, scale) in zip(lines.flat, SCALES.items(), strict=True):
            rows_of_panel = chosen.rows[(chosen.rows["dataset"] == dataset) & (chosen.rows["condition"] == family)]
            draw_curves(
                axes, rows_of_panel.assign(level=scale.first + scale.factor * rows_of_panel["level"]), chosen.summary
            )
            axes.set(title=family, xlabel=scale.label)
        for axes in lines[:, 0]:
            axes.set_ylabel("accuracy (%)" if len(datasets) == 1 else f"{dataset}: accuracy (%)")
    grid[0, 0].set_ylim(0, 102)
    caption = (
        "Accuracy on the same test images at increasing levels of warps: above by one parameter, to either side; below by all "
        "parameters of a group, each drawn from that part of its range. "
        f"{describe_spread(table, 'Lines', 'bands: 95 % t-intervals')}"
    )
    return finish_picture(figure, "Accuracy under warps", caption + chosen.left_out, chosen.summary["label"])


@in_style()
def draw_examples(material: Material) -> Picture:
    """Draws some warped test images, and below each the contenders that classify it correctly."""
    rows = material.of_measure(AFFINE)
    summary, left_out = choose_most_accurate(material.summary, rows["contender"].unique(), MOST_SHOWN)
    cells = rows[rows["contender"].isin(summary["contender"])].drop_duplicates("cell")
    parts = [
        (name, _find_tensors(material, summary, cells[cells["dataset"] == name]))
        for name in summary["dataset"].unique()
    ]
    pictured = [(dataset, part) for dataset, part in parts if part]
    if not pictured:
        raise NoDataError("warped images", "were not kept")
    largest = {str(family): float(levels.max()) for family, levels in rows.groupby("condition")["level"]}
    figure, grid = make_panels(len(pictured), 1, 1.0, PAGE)
    height = 0.0
    for axes, (dataset, part) in zip(grid[:, 0], pictured, strict=True):
        height += PAGE * _draw_images(axes, part, summary, largest, max(2, MOST_LINES // len(pictured))) + 0.2
        axes.set_title(dataset if len(pictured) > 1 else "")
    figure.set_figheight(height)
    caption = (
        "For each family, half its largest warp and the largest. Below an image is a mark for each network, as in the legend: "
        f"filled if most seeds are correct, otherwise hollow.{left_out}"
    )
    return finish_picture(figure, "Test images, warped", caption, summary["label"])


def _find_tensors(material: Material, summary: pd.DataFrame, cells: pd.DataFrame) -> dict[str, list[Kept]]:
    """Returns contender -> the tensors of each seed, of the cells that kept the same images."""
    tensors_of: dict[str, list[Kept]] = {}
    first: NDArray[Any] | None = None
    cells_of = {str(name): part["cell"] for name, part in cells.groupby("contender")}
    for contender in summary["contender"]:
        for cell in cells_of.get(contender, ()):
            tensors = material.kept(AFFINE, cell)
            if not tensors:
                continue
            first = tensors["picture.images"] if first is None else first
            if np.array_equal(tensors["picture.images"], first):
                tensors_of.setdefault(contender, []).append(tensors)
    return tensors_of


def _draw_images(
    axes: Axes, tensors_of: dict[str, list[Kept]], summary: pd.DataFrame, largest: Mapping[str, float], lines: int
) -> float:
    """Draws a column of unwarped images and two a family, with the contenders' marks below each image.

    Returns:
        The height relative to the width.
    """
    tiles = next(iter(tensors_of.values()))[0]["picture.images"][:, :lines].swapaxes(0, 1)
    columns = tiles.shape[1]
    tight = [0.0 if column == 0 else 0.3 if column % 2 else 0.06 for column in range(columns)]
    placed = make_mosaic(tiles, tight, below=0.3)
    unit, left = placed.width, np.array(placed.left)
    above = 0.75 * unit
    draw_mosaic(axes, placed, above)
    look = summary.set_index("contender")
    below = np.array(placed.top) + placed.height + 0.14 * unit
    for number, (contender, cells) in enumerate(tensors_of.items()):
        correct = [
            are_correct(tensors["picture.predictions"], tensors["picture.labels"])[:, :lines] for tensors in cells
        ]
        mostly = np.mean(correct, axis=0) > 0.5
        x, y = np.meshgrid(left + unit * (number + 0.5) / len(tensors_of), below, indexing="ij")
        color, label = look.loc[contender, "color"], look.loc[contender, "label"]
        mark: dict[str, Any] = dict(marker=look.loc[contender, "marker"], markersize=2.6, linestyle="none", color=color)
        axes.plot(x[mostly], y[mostly], label=label, markeredgewidth=0.5, **mark)
        axes.plot(x[~mostly], y[~mostly], markerfacecolor=PAPER, markeredgewidth=0.5, **mark)
    words: dict[str, Any] = dict(ha="center", va="bottom", fontsize=SMALL)
    for number, (family, scale) in enumerate(SCALES.items()):
        first, last = left[1 + 2 * number], left[2 + 2 * number] + unit
        axes.text((first + last) / 2, -0.38 * unit, family, **words)
        for part in (0, 1):
            level = scale.first + scale.factor * largest[family] * (part + 1) / 2
            axes.text(left[1 + 2 * number + part] + unit / 2, -0.06 * unit, _format_level(family, level), **words)
    axes.text(unit / 2, -0.06 * unit, "as it is", **words)
    height, width = placed.pixels.shape[:2]
    return float((height + above) / width)


def _format_level(family: str, level: float) -> str:
    """Returns a level as the heading of its column."""
    unit = {"rotation": "°", "translation": " %", "scale": "", "shear": ""}.get(family, " %")
    return f"{TIMES if family == 'scale' else ''}{level:g}{unit}"


SECTION = Section(
    explains={
        "accuracy under warps, mean of families": "Accuracy under warps: the mean accuracy from no warp to the largest, over all "
        "families of warps, such as rotation and scale."
    },
    name=AFFINE,
    title="Affine generalisation",
    caption=(
        "All contenders get the same test images and warps. The number of a family is the area under its curve, from no "
        "warp to the largest, divided by the range: a mean accuracy. Warps by one parameter have exactly the level, to either "
        "side; in a group each parameter is uniform within its range."
    ),
    table=build_table,
    readable=format_table,
    images=ImagesTaken(IMAGES, "warped"),
    pictures={"affine-curves": draw_accuracy_curves, "affine-images": draw_examples},
)
