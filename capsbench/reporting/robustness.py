"""The sections beside adversarial robustness: transferred attacks, the part of the routing, and detection by reconstruction."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd

from capsbench.attacks.threats import Threat, bounds_of
from capsbench.reporting.columns import chosen, one_row_each, readable
from capsbench.reporting.curves import draw_curves
from capsbench.reporting.heat import heat
from capsbench.reporting.picture import Picture, finish, panels, spread_of, text_width
from capsbench.reporting.section import Material, NoDataError, Section
from capsbench.reporting.selection import choose, most_accurate
from capsbench.reporting.style import COLUMN, PAGE, STYLE
from capsbench.reporting.text import names

# Transfer


def transfer_matrix(material: Material) -> pd.DataFrame:
    """One row a pair of contenders of a data set: ``source``, ``target``, and of the success rate the mean over pairs of cells.

    A contender's own images are those of its other seeds; of a single seed they are its own.
    """
    rows = material.of_measure("transfer")
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


def _transfer_table(material: Material) -> pd.DataFrame:
    matrix = transfer_matrix(material)
    labels = material.summary.set_index("contender")["label"]
    rows = material.of_measure("transfer")
    beyond = rows[rows["metric"] == "beyond white box"].groupby("contender")["value"].max()
    made = []
    for (dataset, target), own in matrix.groupby(["dataset", "target"], sort=False):
        others = own[own["source"] != target]["success"]
        if len(others):
            made.append(
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
    if not made:
        raise NoDataError("a second network")
    return pd.DataFrame(made)


def _transfer_readable(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **names(table),
            "sources": table["sources"].map(str),
            "mean success of others %": table["mean success of others %"].map("{:.1f}".format),
            "greatest %": table["greatest %"].map("{:.1f}".format),
            "beyond white box": table["beyond white box"].map(
                lambda images: "" if pd.isna(images) else f"{images:.0f} images"
            ),
        }
    )


@mpl.rc_context(STYLE)
def transfer(material: Material) -> Picture:
    """How many of the images that mislead a source mislead a target, a panel a data set."""
    matrix = transfer_matrix(material)
    summary, left_out = most_accurate(material.summary, {*matrix["source"], *matrix["target"]})
    matrix = matrix[matrix["source"].isin(summary["contender"]) & matrix["target"].isin(summary["contender"])]
    labels = summary.set_index("contender")["label"]
    datasets = list(matrix["dataset"].unique())
    most = matrix.groupby("dataset")["target"].nunique().max()
    widest = max(text_width(label) for label in labels) / 72
    width = COLUMN if widest + 0.28 * most < COLUMN - 0.25 else PAGE
    figure, grid = panels(len(datasets), 1, 0.35 + 0.6 * widest + 0.17 * most, width)
    for axes, dataset in zip(grid[:, 0], datasets, strict=True):
        own = matrix[matrix["dataset"] == dataset].pivot(index="source", columns="target", values="success")
        sources, targets = ([name for name in labels.index if name in index] for index in (own.index, own.columns))
        heat(axes, 100 * own.loc[sources, targets].to_numpy(dtype=float))
        axes.set_xticks(range(len(targets)), labels[targets], rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(sources)), labels[sources])
        axes.set(title=dataset if len(datasets) > 1 else "", xlabel="shown to", ylabel="made on")
    caption = (
        "Share (%) of adversarial images, made on the network of the line, that mislead that of the column, of those that "
        "mislead the first and that the second has right as they are; the mean over pairs of seeds. On the diagonal other seeds "
        "of the same network; where there is one seed, the very network."
    )
    return finish(figure, "Transferred attacks", caption + left_out)


# Routing


def _routing_table(material: Material) -> pd.DataFrame:
    means = material.averaged(material.of_measure("routing-robustness"))
    level = means["dataset"].map(lambda name: bounds_of(name, Threat.LINF).headline)
    attacks = means["condition"].isin(["vote attack", "output attack"])
    means = means[~attacks | ((means["level"] - level).abs() < 1e-6)]
    iterations = sorted(means[means["condition"] == "iterations at test time"]["level"].unique())
    robust = "robust accuracy"
    numbers = {
        "accuracy of mean votes %": chosen(means, "accuracy", "mean votes"),
        "vote attack %": chosen(means, robust, "vote attack"),
        "output attack %": chosen(means, robust, "output attack"),
        **{
            f"at {count:g} iterations %": chosen(means, robust, "iterations at test time", count)
            for count in iterations
        },
    }
    return one_row_each(means, numbers)


@mpl.rc_context(STYLE)
def iterations(material: Material) -> Picture:
    """Clean and robust accuracy against the number of routing iterations at test time."""
    rows = material.of_measure("routing-robustness")
    shown = choose(
        material, rows[rows["condition"] == "iterations at test time"], "accuracy by iterations at test time"
    )
    table = shown.table
    metrics = {"accuracy": "clean accuracy (%)", "robust accuracy": "accuracy under PGD (%)"}
    datasets = list(table["dataset"].unique())
    figure, grid = panels(len(datasets), len(metrics), 1.75, COLUMN)
    for dataset, line in zip(datasets, grid, strict=True):
        for axes, (metric, label) in zip(line, metrics.items(), strict=True):
            own = table[(table["dataset"] == dataset) & (table["metric"] == metric)]
            draw_curves(axes, own)
            axes.set(xlabel="iterations at test time", ylabel=label, ylim=(0, 102))
            axes.set_xticks(sorted(own["level"].unique()))
            axes.set_title(dataset if len(datasets) > 1 else "")
    caption = (
        "The same weights, routed by more or fewer iterations than they were trained with, and attacked through the same. "
        f"{spread_of(table, 'Lines', 'bands: 95 % t-intervals')}{shown.left_out}"
    )
    return finish(figure, "Iterations at test time", caption, shown.summary["label"])


# Detection


def _detection_table(material: Material) -> pd.DataFrame:
    means = material.averaged(material.of_measure("detection"))
    level = means["dataset"].map(lambda name: bounds_of(name, Threat.LINF).published)
    means = means[means["level"].isna() | ((means["level"] - level).abs() < 1e-6)]
    wanted = {
        "false positives %": ("false positives", "test"),
        "AUROC %": ("AUROC", "pgd"),
        "PGD succeeds %": ("success rate", "pgd"),
        "of which detected %": ("detected", "pgd"),
        "reconstructive attack succeeds %": ("success rate", "reconstructive"),
        "of which detected, too %": ("detected", "reconstructive"),
        "undetected by either %": ("undetected rate", "worst case"),
    }
    table = one_row_each(means, {heading: chosen(means, *number) for heading, number in wanted.items()})
    thresholds = means[means["metric"] == "threshold"].set_index("contender")["value"]
    table["threshold (L2)"] = table["contender"].map(thresholds)
    return table


def _detection_readable(table: pd.DataFrame) -> pd.DataFrame:
    return readable(table).assign(**{"threshold (L2)": table["threshold (L2)"].map("{:.2f}".format)})


TRANSFER = Section(
    name="transfer",
    title="Transferred attacks",
    caption=(
        "Images made on one network and shown to another, of those that misled the first and that the second has right as they "
        "are. Beyond white box: the most images by which one source misled a target though no attack on the target itself did; "
        "above 0, those attacks were too weak."
    ),
    table=_transfer_table,
    readable=_transfer_readable,
    pictures={"transfer": transfer},
)

ROUTING = Section(
    name="routing-robustness",
    title="Attacks and the routing",
    caption=(
        "Accuracy left at the headline epsilon in L∞. Vote attack: gradients of the network without its routing; where it leaves "
        "less than the same attack on the output, routing had hidden gradients. At N iterations: the same weights routed by so "
        "many at test time, attacked through them."
    ),
    table=_routing_table,
    readable=readable,
    pictures={"iterations-at-test": iterations},
)

DETECTION = Section(
    name="detection",
    title="Detection by reconstruction",
    caption=(
        "An image farther from its reconstruction than 95 % of the validation images is taken to be adversarial. At the "
        "published epsilon in L∞, of the images that are right as they are. The reconstructive attack knows of the detector. "
        "A decoder that reconstructs little has a large threshold, and lets everything pass."
    ),
    table=_detection_table,
    readable=_detection_readable,
)
