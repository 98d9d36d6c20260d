"""The section on images that show any number of classes."""

from __future__ import annotations

import pandas as pd

from capsbench.measures.average_precision.spec import AVERAGE_PRECISION, MEAN, OF_CLASS
from capsbench.presenting.columns import format_numbers, one_row_each, select_number
from capsbench.presenting.format import PERCENT, format_interval
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section

CLASS = "class "
"""Begins the condition of the average precision of a class."""

HARDEST, EASIEST = "hardest class", "easiest class"


def build_table(material: Material) -> pd.DataFrame:
    """Returns one row a contender: the mean average precision, and that of each class under the name of the class."""
    means = material.average_seeds(material.of_measure(AVERAGE_PRECISION))
    numbers = {f"mean average precision {PERCENT}": select_number(means, MEAN, "test")}
    table = one_row_each(means, numbers)
    of_classes = means[means["metric"] == OF_CLASS]
    for place, end in ((0, HARDEST), (-1, EASIEST)):
        ends = {name: _spell_class(material, rows, place) for name, rows in of_classes.groupby("contender", sort=False)}
        table[end] = table["contender"].map(ends).fillna("")
    return table


def _spell_class(material: Material, rows: pd.DataFrame, place: int) -> str:
    row = rows.sort_values("value", kind="stable").iloc[place]
    label = int(str(row["condition"]).removeprefix(CLASS))
    name = material.spell_class(str(row["dataset"]), label)
    return f"{name}: {format_interval(100 * row['value'], 100 * row['ci95'], 1, PERCENT)} {PERCENT}"


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as strings, with the hardest and the easiest class of each contender."""
    return format_numbers(table).assign(**{end: table[end] for end in (HARDEST, EASIEST)})


SECTION = Section(
    name=AVERAGE_PRECISION,
    title="Any number of classes an image",
    caption=(
        "Mean average precision: how well the scores of a class rank the test images that show it before the others, the mean "
        "over the classes that some test image shows, whatever their frequency. Accuracy, in the other tables, is the exact "
        "match: the share of the test images of which exactly the shown classes have a score above 0.5. Each number is the mean "
        "over n seeds ± half-width of its 95 % t-interval."
    ),
    table=build_table,
    readable=format_table,
)
