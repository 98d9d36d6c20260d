"""The sections on warped images, on novel viewpoints and on overlapping objects."""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from capsbench.data.warps import FAMILIES
from capsbench.reporting.curves import draw_curves
from capsbench.reporting.section import Material, NoDataError, Section
from capsbench.reporting.style import STYLE, TIMES, caption_of, finish
from capsbench.reporting.text import names, with_interval


class Scale(NamedTuple):
    """What a family's levels are on an axis: ``first + factor * level``."""

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
"""Family -> its levels as people read them."""

MOST_SHOWN = 8
"""Contenders whose predictions fit below an image."""


def _table(material: Material) -> pd.DataFrame:
    """Accuracy on unwarped images, area under the curve by family, and what of the first is retained, all in per cent."""
    means = material.averaged(material.of_measure("affine"))
    unwarped = means[(means["metric"] == "accuracy") & (means["level"] == 0)].drop_duplicates("contender")
    numbers = {"unwarped %": unwarped}
    for heading, metric in (("%", "area under the curve"), ("retained %", "retained accuracy")):
        own = means[means["metric"] == metric]
        numbers |= {f"{name} {heading}": own[own["condition"] == name] for name in FAMILIES}
    return _in_percent(means, numbers)


def _viewpoint(material: Material) -> pd.DataFrame:
    means = material.averaged(material.of_measure("viewpoint"))
    conditions = ("novel", "familiar", "difference")
    return _in_percent(means, {f"{name} %": means[means["condition"] == name] for name in conditions})


def _overlap(material: Material) -> pd.DataFrame:
    means = material.averaged(material.of_measure("overlap"))
    conditions = {"image error %": "image", "object error %": "object", "one found %": "at least one found"}
    return _in_percent(means, {name: means[means["condition"] == which] for name, which in conditions.items()})


def _in_percent(means: pd.DataFrame, numbers: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a contender of averaged rows: its name, its seeds and each number with its interval, times 100."""
    table = means.drop_duplicates("contender").set_index("contender")
    made = table[["dataset", "label", "n"]].rename(columns={"label": "name"})
    for heading, rows in numbers.items():
        own = rows.set_index("contender")
        made[heading], made[f"{heading}, ci95"] = 100 * own["value"], 100 * own["ci95"]
    return made.reset_index(drop=True)


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    shown: dict[str, Any] = {**names(table), "n": table["n"].map(str)}
    for heading in table.columns[3::2]:
        if not heading.endswith("retained %"):  # these are in the file alone
            halves = table[f"{heading}, ci95"]
            shown[heading] = [with_interval(*pair, 1) for pair in zip(table[heading], halves, strict=True)]
    return pd.DataFrame(shown)


@mpl.rc_context(STYLE)
def curves(material: Material) -> Figure:
    """Accuracy against how far images are warped, a panel a family."""
    rows = material.of_measure("affine")
    table = material.averaged(rows[rows["level"].notna()])
    datasets = list(table["dataset"].unique())
    layout = ConstrainedLayoutEngine(h_pad=0.1)  # titles apart from what the axes above them are
    figure = Figure(figsize=(11.5, 0.9 + 4.6 * len(datasets)), layout=layout)
    panels = figure.subplots(2 * len(datasets), 4, squeeze=False, sharey=True)
    for dataset, lines in zip(datasets, panels.reshape(-1, 2, 4), strict=True):
        for axes, (family, scale) in zip(lines.flat, SCALES.items(), strict=True):
            own = table[(table["dataset"] == dataset) & (table["condition"] == family)]
            draw_curves(axes, own.assign(level=scale.first + scale.factor * own["level"]))
            axes.set(title=family, xlabel=scale.label)
        for axes in lines[:, 0]:
            axes.set_ylabel("accuracy (%)" if len(datasets) == 1 else f"{dataset}: accuracy (%)")
    panels[0, 0].set_ylim(0, 102)
    finish(
        figure,
        "Accuracy under warps",
        caption_of(material.summary, "lines", "bands: 95 % t-interval"),
        material.summary["label"],
    )
    return figure


@mpl.rc_context(STYLE)
def images(material: Material) -> Figure:
    """Some test images as they were warped, and below each which contenders classify it right."""
    rows = material.of_measure("affine")
    shown = [(dataset, part) for dataset, own in rows.groupby("dataset", sort=False) if (part := _kept(material, own))]
    if not shown:
        raise NoDataError("no warped images were kept")
    figure = Figure(figsize=(11.5, 0.9 + 4.9 * len(shown)), layout="constrained")
    for axes, (dataset, kept) in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
        _draw_images(axes, kept, material)
        axes.set_title(dataset if len(shown) > 1 else "")
    finish(
        figure,
        "Test images, warped",
        "of each family: half its largest level, and that; below: right (filled) or wrong (hollow), for most seeds",
        material.summary["label"],
    )
    return figure


def _kept(material: Material, rows: pd.DataFrame) -> dict[str, list[dict[str, torch.Tensor]]]:
    """What was kept of some contenders' cells, where they kept the same images: contender -> one entry a seed."""
    kept: dict[str, list[dict[str, torch.Tensor]]] = {}
    first: torch.Tensor | None = None
    for contender in [name for name in material.summary["contender"] if name in set(rows["contender"])]:
        for cell in rows.loc[rows["contender"] == contender, "cell"].unique():
            tensors = material.kept("affine", cell)
            if not tensors:
                continue
            first = tensors["picture.images"] if first is None else first
            if torch.equal(tensors["picture.images"], first):
                kept.setdefault(contender, []).append(tensors)
    return dict(list(kept.items())[:MOST_SHOWN])


def _draw_images(axes: Axes, kept: dict[str, list[dict[str, torch.Tensor]]], material: Material) -> None:
    """A column for images as they are and two a family, a row a class; the contenders' dots below each image."""
    pictures = next(iter(kept.values()))[0]["picture.images"]
    columns, rows, channels, height, width = pictures.shape
    # In widths of an image: the gaps between columns, the wider ones between families, and the room for dots.
    left = np.array([column * 1.06 + 0.3 * ((column + 1) // 2) for column in range(columns)])
    pitch = height / width + 0.26
    for column, tiles in enumerate(pictures):
        for row, tile in enumerate(tiles):
            picture = tile.permute(1, 2, 0) if channels == 3 else tile[0]
            place = (left[column], left[column] + 1, row * pitch + height / width, row * pitch)
            axes.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=255, extent=place, interpolation="nearest")
    style = material.summary.set_index("contender")
    for number, (contender, cells) in enumerate(kept.items()):
        right = torch.stack([_right(each) for each in cells]).double().mean(dim=0) > 0.5
        x, y = np.meshgrid(
            left + (number + 0.5) / len(kept), np.arange(rows) * pitch + height / width + 0.11, indexing="ij"
        )
        color, filled = str(style.loc[contender, "shade"]), right.numpy()
        dot: dict[str, Any] = {"s": 13, "marker": style.loc[contender, "marker"], "linewidths": 0.8}
        axes.scatter(x[filled], y[filled], color=color, label=style.loc[contender, "label"], **dot)
        axes.scatter(x[~filled], y[~filled], facecolors="none", edgecolors=color, **dot)
    axes.text(0.5, -0.1, "unwarped", ha="center", va="bottom", fontsize=8)
    for number, (family, scale) in enumerate(SCALES.items()):
        start = left[1 + 2 * number]
        axes.text(start + 1.03, -0.42, family, ha="center", va="bottom", fontsize=9, fontweight="bold")
        for part in (0, 1):
            level = scale.first + scale.factor * FAMILIES[family].largest * (part + 1) / 2
            axes.text(start + 0.5 + 1.06 * part, -0.1, _level(family, level), ha="center", va="bottom", fontsize=8)
    axes.set(xlim=(-0.05, left[-1] + 1.05), ylim=(rows * pitch, -0.8), aspect="equal")
    axes.axis("off")


def _level(family: str, level: float) -> str:
    """A level as it stands above its column."""
    unit = {"rotation": "°", "translation": " %", "scale": "", "shear": ""}.get(family, " %")
    return f"{TIMES if family == 'scale' else ''}{level:g}{unit}"


def _right(kept: dict[str, torch.Tensor]) -> torch.Tensor:
    """Which of the pictures ``[columns, classes]`` are classified right."""
    predictions, labels = kept["picture.predictions"], kept["picture.labels"]
    if labels.dim() == 1:
        return predictions == labels
    return (predictions == labels.sort(dim=1).values).all(dim=2)


SECTION = Section(
    name="affine",
    title="Affine generalisation",
    caption=(
        "The same test images, warped alike for all contenders. Under each family's name: the area under its curve of accuracy "
        "from no warp to the largest, divided by the range: a mean accuracy. Warps by one parameter have the level itself, to "
        "either side; in a group each parameter is uniform within its range."
    ),
    table=_table,
    readable=_readable,
    pictures={"affine-curves": curves, "affine-images": images},
)

VIEWPOINT = Section(
    name="viewpoint",
    title="Novel viewpoints",
    caption=(
        "Error on test toys as seen from viewpoints that training leaves out, and from those it has. Networks are to be compared "
        "at equal error on the familiar ones."
    ),
    table=_viewpoint,
    readable=_readable,
)

OVERLAP = Section(
    name="overlap",
    title="Overlapping objects",
    caption="Image error: not all objects of an image are found. Object error: the share of objects that are missed.",
    table=_overlap,
    readable=_readable,
)
