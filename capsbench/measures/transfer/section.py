"""The section on transferred attacks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from capsbench.attacks.effort import ATTACKED
from capsbench.measures.soundness import mark_unsound
from capsbench.measures.transfer.spec import BEYOND_WHITE_BOX, TRANSFER
from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.figures.figure import Picture, finish_picture, make_panels, text_width
from capsbench.presenting.figures.heat import draw_heat
from capsbench.presenting.figures.style import COLUMN, PAGE, in_style
from capsbench.presenting.format import name_column
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.shortlist import choose_most_accurate


def build_matrix(material: Material) -> pd.DataFrame:
    """Returns one row a pair of contenders of a data set: ``source``, ``target``, and the mean success rate over pairs of cells.

    The images of a contender for itself are those of its other seeds; with a single seed, they are its own.
    """
    rows = material.of_measure(TRANSFER)
    rows = rows[rows["metric"] == "success rate"]
    if rows.empty:
        raise NoDataError("the success rate of transfer")
    contender_of = material.cells.set_index("cell")["contender"]
    pairs = rows.assign(source=rows["condition"].map(contender_of), target=rows["contender"])
    itself = pairs["condition"] == pairs["cell"]
    others = pairs[~itself].groupby("target")["source"].agg(set)
    alone = pd.Series([target not in others.get(target, ()) for target in pairs["target"]], index=pairs.index)
    pairs = pairs[~itself | alone]
    table = pairs.groupby(["dataset", "source", "target"], sort=False)["value"].agg(success="mean", pairs="count")
    return table.reset_index()


def build_table(material: Material) -> pd.DataFrame:
    matrix = build_matrix(material)
    material = mark_unsound(material)
    labels = material.summary.set_index("contender")["label"]
    rows = material.of_measure(TRANSFER)
    beyond = rows[rows["metric"] == BEYOND_WHITE_BOX].groupby("contender")["value"].max()
    lines = []
    for (dataset, target), pairs in matrix.groupby(["dataset", "target"], sort=False):
        others = pairs[pairs["source"] != target]["success"]
        if len(others):
            lines.append(
                {
                    "dataset": dataset,
                    "contender": target,
                    "name": labels[str(target)],
                    "sources": len(others),
                    "mean success of others %": 100 * others.mean(),
                    "greatest %": 100 * others.max(),
                    "beyond white box": beyond.get(target, np.nan),
                }
            )
    if not lines:
        raise NoDataError("a second network")
    return pd.DataFrame(lines)


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **name_column(table),
            "sources": table["sources"].map(str),
            "mean success of others %": table["mean success of others %"].map("{:.1f}".format),
            "greatest %": table["greatest %"].map("{:.1f}".format),
            "beyond white box": table["beyond white box"].map(
                lambda images: "" if pd.isna(images) else f"{images:.0f} images"
            ),
        }
    )


@in_style()
def draw_matrix(material: Material) -> Picture:
    """Draws the share of the images that mislead a source and mislead a target too, a panel a data set."""
    matrix = build_matrix(material)
    material = mark_unsound(material)
    summary, left_out = choose_most_accurate(material.summary, {*matrix["source"], *matrix["target"]})
    matrix = matrix[matrix["source"].isin(summary["contender"]) & matrix["target"].isin(summary["contender"])]
    labels = summary.set_index("contender")["label"]
    datasets = list(matrix["dataset"].unique())
    most = matrix.groupby("dataset")["target"].nunique().max()
    widest = max(text_width(label) for label in labels) / 72
    width = COLUMN if widest + 0.28 * most < COLUMN - 0.25 else PAGE
    figure, grid = make_panels(len(datasets), 1, 0.35 + 0.6 * widest + 0.17 * most, width)
    for axes, dataset in zip(grid[:, 0], datasets, strict=True):
        rates = matrix[matrix["dataset"] == dataset].pivot(index="source", columns="target", values="success")
        sources, targets = ([name for name in labels.index if name in index] for index in (rates.index, rates.columns))
        draw_heat(axes, 100 * rates.loc[sources, targets].rename(index=labels, columns=labels))
        for name in axes.get_xticklabels():
            name.set(rotation=35, ha="right", rotation_mode="anchor")
        axes.set(title=dataset if len(datasets) > 1 else "", xlabel="shown to", ylabel="made on")
    caption = (
        "Share (%) of adversarial images of the network of the line that mislead the network of the column, of those that "
        "mislead the first and that the second classifies correctly without the attack; the mean over pairs of seeds. The "
        "diagonal is of other seeds of the same network; with one seed, of the network itself."
    )
    return finish_picture(figure, "Transferred attacks", caption + left_out)


SECTION = Section(
    name=TRANSFER,
    title="Transferred attacks",
    caption=(
        "Adversarial images of one network are shown to another one. They misled the first, and the second classifies them "
        "correctly without the attack.",
        AboutColumn(
            "images",
            "Beyond white box: the most images of one source that misled a target although no attack on the target itself did. "
            "Above 0, those attacks were too weak.",
        ),
    ),
    images=ImagesTaken(ATTACKED, "attacked"),
    table=build_table,
    readable=format_table,
    pictures={TRANSFER: draw_matrix},
)
