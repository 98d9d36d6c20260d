"""The sections beside adversarial robustness: transferred attacks, the part of the routing, and detection by reconstruction."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsbench.attacks.threats import Threat, bounds_of
from capsbench.reporting.curves import draw_curves
from capsbench.reporting.section import Material, NoDataError, Section
from capsbench.reporting.style import STYLE, caption_of, finish
from capsbench.reporting.text import names, with_interval


def heat(axes: Axes, values: np.ndarray[Any, Any]) -> None:
    """Numbers from 0 to 100 as a table of colours, each with its number; nothing where there is none."""
    axes.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "black" if value > 60 else "white"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=color, fontsize="small")
    axes.grid(visible=False)


def _columns(material: Material, means: pd.DataFrame, wanted: dict[str, tuple[str, str, float | None]]) -> pd.DataFrame:
    """One row a contender, in per cent: heading -> metric, condition and level, with the heading's interval beside it."""
    named = means[["contender", "dataset", "label", "n"]].drop_duplicates("contender")
    table = named.set_index("contender", drop=False)
    for heading, (metric, condition, level) in wanted.items():
        chosen = means[(means["metric"] == metric) & (means["condition"] == condition)]
        chosen = chosen if level is None else chosen[(chosen["level"] - level).abs() < 1e-6]
        chosen = chosen.drop_duplicates("contender").set_index("contender")
        table[heading], table[f"{heading}, ci95"] = 100 * chosen["value"], 100 * chosen["ci95"]
    unmeasured = [heading for heading in wanted if table[heading].isna().all()]
    table = table.drop(columns=[*unmeasured, *(f"{heading}, ci95" for heading in unmeasured)])
    return table.reset_index(drop=True).rename(columns={"label": "name"})


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    shown: dict[str, Any] = {**names(table), "n": table["n"].map(str)}
    for heading in [name for name in map(str, table) if name.endswith("%")]:
        numbers = zip(table[heading], table[f"{heading}, ci95"], strict=True)
        shown[heading] = [with_interval(value, half, 1) for value, half in numbers]
    return pd.DataFrame(shown)


# Transfer


def transfer_matrix(material: Material) -> pd.DataFrame:
    """One row a pair of contenders of a data set: ``source``, ``target``, and of the success rate the mean over pairs of cells.

    A contender's own images are those of its other seeds; of a single seed they are its own.
    """
    rows = material.of_measure("transfer")
    rows = rows[rows["metric"] == "success rate"]
    if rows.empty:
        raise NoDataError("no adversarial image was transferred")
    contender_of = material.rows.drop_duplicates("cell").set_index("cell")["contender"]
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
        raise NoDataError("there is one network alone")
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
def transfer(material: Material) -> Figure:
    """How many of the images that mislead a source mislead a target, a panel a data set."""
    matrix = transfer_matrix(material)
    labels = material.summary.set_index("contender")["label"]
    order = list(material.summary["contender"])
    datasets = list(matrix["dataset"].unique())
    counts = [matrix[matrix["dataset"] == dataset]["target"].nunique() for dataset in datasets]
    figure = Figure(
        figsize=(2.4 + 0.75 * max(counts), sum(2.2 + 0.42 * count for count in counts)), layout="constrained"
    )
    panels = figure.subplots(len(datasets), 1, squeeze=False, height_ratios=[2.2 + 0.42 * count for count in counts])[
        :, 0
    ]
    for axes, dataset in zip(panels, datasets, strict=True):
        own = matrix[matrix["dataset"] == dataset].pivot(index="source", columns="target", values="success")
        sources, targets = ([name for name in order if name in index] for index in (own.index, own.columns))
        heat(axes, 100 * own.loc[sources, targets].to_numpy(dtype=float))
        axes.set_xticks(range(len(targets)), labels[targets], rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(sources)), labels[sources])
        axes.set(title=dataset if len(datasets) > 1 else "", xlabel="shown to", ylabel="made on")
    caption = (
        "share (%) of images misled, of those right before; diagonal: other seeds of the same, of a single seed itself"
    )
    finish(figure, "Transferred attacks", caption)
    return figure


# Routing


def _routing_table(material: Material) -> pd.DataFrame:
    means = material.averaged(material.of_measure("routing-robustness"))
    level = means["dataset"].map(lambda name: bounds_of(name, Threat.LINF).headline)
    attacks = means["condition"].isin(["vote attack", "output attack"])
    means = means[~attacks | ((means["level"] - level).abs() < 1e-6)]
    iterations = sorted(means[means["condition"] == "iterations at test time"]["level"].unique())
    wanted: dict[str, tuple[str, str, float | None]] = {
        "accuracy of mean votes %": ("accuracy", "mean votes", None),
        "vote attack %": ("robust accuracy", "vote attack", None),
        "output attack %": ("robust accuracy", "output attack", None),
        **{f"at {count:g} iterations %": ("robust accuracy", "iterations at test time", count) for count in iterations},
    }
    return _columns(material, means, wanted)


@mpl.rc_context(STYLE)
def iterations(material: Material) -> Figure:
    """Clean and robust accuracy against the number of routing iterations at test time."""
    rows = material.of_measure("routing-robustness")
    table = material.averaged(rows[rows["condition"] == "iterations at test time"])
    if table.empty:
        raise NoDataError("no routing has iterations")
    datasets = list(table["dataset"].unique())
    figure = Figure(figsize=(8.6, 0.9 + 3.2 * len(datasets)), layout="constrained")
    panels = figure.subplots(len(datasets), 2, squeeze=False)
    for dataset, line in zip(datasets, panels, strict=True):
        for axes, (metric, label) in zip(
            line, {"accuracy": "clean accuracy (%)", "robust accuracy": "accuracy under PGD (%)"}.items(), strict=True
        ):
            own = table[(table["dataset"] == dataset) & (table["metric"] == metric)]
            draw_curves(axes, own)
            axes.set(xlabel="routing iterations at test time", ylabel=label, ylim=(0, 102))
            axes.set_xticks(sorted(own["level"].unique()))
            axes.set_title(dataset if len(datasets) > 1 else "")
    caption = caption_of(material.summary, "lines", "bands: 95 % t-interval") + "; attacked through the same iterations"
    finish(figure, "Iterations at test time", caption, material.summary["label"])
    return figure


# Detection


def _detection_table(material: Material) -> pd.DataFrame:
    means = material.averaged(material.of_measure("detection"))
    level = means["dataset"].map(lambda name: bounds_of(name, Threat.LINF).published)
    means = means[means["level"].isna() | ((means["level"] - level).abs() < 1e-6)]
    wanted: dict[str, tuple[str, str, float | None]] = {
        "false positives %": ("false positives", "test", None),
        "AUROC %": ("AUROC", "pgd", None),
        "PGD succeeds %": ("success rate", "pgd", None),
        "of which detected %": ("detected", "pgd", None),
        "reconstructive attack succeeds %": ("success rate", "reconstructive", None),
        "of which detected, too %": ("detected", "reconstructive", None),
        "undetected by either %": ("undetected rate", "worst case", None),
    }
    table = _columns(material, means, wanted)
    thresholds = means[means["metric"] == "threshold"].set_index("contender")["value"]
    table["threshold (L2)"] = table["contender"].map(thresholds)
    return table


def _detection_readable(table: pd.DataFrame) -> pd.DataFrame:
    return _readable(table).assign(**{"threshold (L2)": table["threshold (L2)"].map("{:.2f}".format)})


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
    readable=_readable,
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
