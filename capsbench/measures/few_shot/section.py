"""The section on new characters from a few examples."""

from __future__ import annotations

import pandas as pd

from capsbench.measures.few_shot.spec import FEW_SHOT, HARDEST, RUNS, SHOTS, SPEC, WAYS, WHOLE, WIDTH, name_episodes
from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.columns import format_numbers, one_row_each, select_number
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section

NUMBERS = {
    **{f"{name_episodes(n, k)} %": ("accuracy", name_episodes(n, k)) for n in WAYS for k in SHOTS},
    "over episodes ± %": ("half-width", HARDEST),
    f"error of the {RUNS} %": ("error", RUNS),
    "width": ("width", "features"),
    **{f"{name_episodes(n, k)}{WHOLE} %": ("accuracy", name_episodes(n, k) + WHOLE) for n in WAYS for k in SHOTS},
    f"error of the {RUNS}{WHOLE} %": ("error", RUNS + WHOLE),
    f"width{WHOLE}": ("width", "features" + WHOLE),
}
"""Heading -> metric and condition."""

DIGITS = {"width": 0, f"width{WHOLE}": 0}
"""Heading -> digits after the point."""


def build_table(material: Material) -> pd.DataFrame:
    rows = material.of_measure(FEW_SHOT)
    rows = rows[rows["metric"] != "drawings"]
    if rows.empty:
        raise NoDataError("Omniglot's files in the data folder, and class capsules with poses")
    means = material.average_seeds(rows)
    return one_row_each(means, {heading: select_number(means, *number) for heading, number in NUMBERS.items()})


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as strings; the details of the whole layer are in the file alone, but for the compared ones."""
    strings = format_numbers(table, DIGITS)
    shown = (f"{HARDEST}{WHOLE} %", f"width{WHOLE}")
    return strings.drop(columns=[name for name in strings if WHOLE in str(name) and name not in shown])


SECTION = Section(
    explains={
        SPEC.metrics[0]
        .contests[0]
        .title: "New characters: the accuracy on characters of Omniglot that the network was not "
        "trained on, from one example of each of 20, by the nearest class mean of its features."
    },
    name=FEW_SHOT,
    title="New characters from a few examples",
    caption=(
        f"Accuracy on characters of Omniglot from alphabets that no network has seen: N characters, K examples of each, by the "
        f"nearest class mean of the features of the frozen network. All networks are compared by at most {WIDTH} features, those "
        "along which drawings of other alphabets vary most. Chance is 1 / N.",
        AboutColumn(
            "over episodes", f"Over episodes: the half-width of the 95 % interval of {HARDEST} over its episodes."
        ),
        AboutColumn("error of", "Error: of the 20 runs of one-shot classification of Lake 2015; chance is 95 %."),
        AboutColumn(
            "whole layer",
            "Whole layer: with all poses of the class capsules, or all inputs of the last layer of a CNN.",
        ),
    ),
    table=build_table,
    readable=format_table,
)
