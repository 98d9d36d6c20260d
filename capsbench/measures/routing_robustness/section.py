"""The section on what the routing contributes to robustness."""

from __future__ import annotations

import pandas as pd

from capsbench.attacks.effort import ATTACKED
from capsbench.attacks.threats import Threat, bounds_of
from capsbench.measures.routing_robustness.spec import ROUTING_ROBUSTNESS
from capsbench.measures.soundness import mark_unsound
from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.columns import format_numbers, one_row_each, select_number
from capsbench.presenting.figures.curves import draw_curves
from capsbench.presenting.figures.figure import Picture, describe_spread, finish_picture, make_panels
from capsbench.presenting.figures.style import COLUMN, in_style
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section
from capsbench.presenting.shortlist import choose_contenders
from capsbench.presenting.words import TIMES


def build_table(material: Material) -> pd.DataFrame:
    material = mark_unsound(material)
    means = material.average_seeds(material.of_measure(ROUTING_ROBUSTNESS))
    level = means["dataset"].map(lambda name: bounds_of(name, Threat.LINF).headline)
    attacks = means["condition"].isin(["vote attack", "output attack"])
    means = means[~attacks | ((means["level"] - level).abs() < 1e-6)]
    iterations = sorted(means[means["condition"] == "iterations at test time"]["level"].unique())
    robust = "robust accuracy"
    numbers = {
        "accuracy of mean votes %": select_number(means, "accuracy", "mean votes"),
        "vote attack %": select_number(means, robust, "vote attack"),
        "output attack %": select_number(means, robust, "output attack"),
        **{
            f"{TIMES}{count:g} at test %": select_number(means, robust, "iterations at test time", count)
            for count in iterations
        },
    }
    return one_row_each(means, numbers)


@in_style()
def draw_iterations(material: Material) -> Picture:
    """Draws the clean and robust accuracy against the number of routing iterations at test time."""
    material = mark_unsound(material)
    rows = material.of_measure(ROUTING_ROBUSTNESS)
    chosen_rows = choose_contenders(
        material, rows[rows["condition"] == "iterations at test time"], "accuracy by iterations at test time"
    )
    metrics = {"accuracy": "clean accuracy (%)", "robust accuracy": "accuracy under PGD (%)"}
    datasets = list(chosen_rows.table["dataset"].unique())
    figure, grid = make_panels(len(datasets), len(metrics), 1.75, COLUMN)
    for dataset, line in zip(datasets, grid, strict=True):
        for axes, (metric, label) in zip(line, metrics.items(), strict=True):
            rows_of_panel = chosen_rows.rows[
                (chosen_rows.rows["dataset"] == dataset) & (chosen_rows.rows["metric"] == metric)
            ]
            draw_curves(axes, rows_of_panel, chosen_rows.summary)
            axes.set(xlabel="iterations at test time", ylabel=label, ylim=(0, 102))
            axes.set_xticks(sorted(rows_of_panel["level"].unique()))
            axes.set_title(dataset if len(datasets) > 1 else "")
    caption = (
        "The same weights, routed by more or fewer iterations than in training, and attacked through them. "
        f"{describe_spread(chosen_rows.table, 'Lines', 'bands: 95 % t-intervals')}{chosen_rows.left_out}"
    )
    return finish_picture(figure, "Iterations at test time", caption, chosen_rows.summary["label"])


SECTION = Section(
    name=ROUTING_ROBUSTNESS,
    title="Attacks and the routing",
    caption=(
        "Accuracy under attack at the headline epsilon in L∞.",
        AboutColumn(
            "vote attack",
            "Vote attack: gradients of the network without its routing. If it leaves less than the same attack on the output, "
            "the routing had hidden gradients.",
        ),
        AboutColumn(
            "at test %",
            "\N{MULTIPLICATION SIGN}N at test: the same weights, routed by N iterations at test time and attacked through them.",
        ),
    ),
    images=ImagesTaken(ATTACKED, "attacked"),
    table=build_table,
    readable=format_numbers,
    pictures={"iterations-at-test": draw_iterations},
)
