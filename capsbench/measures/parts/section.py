"""The section on what the routing does with parts."""

from __future__ import annotations

import pandas as pd

from capsbench.measures.parts.effort import DEAD_BELOW, IMAGES
from capsbench.measures.parts.spec import PARTS
from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.columns import format_numbers, one_row_each
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section

HEADINGS = {
    "entropy": "coupling entropy",
    "image dependence": "image dependence",
    "effective children": "effective children",
    "dead children %": "dead children",
    "dead parents %": "dead parents",
    "vote rank": "vote rank",
    "routed vote rank": "routed vote rank",
}
"""Heading -> metric."""

DIGITS = {"entropy": 3, "image dependence": 3, "effective children": 1, "vote rank": 1, "routed vote rank": 1}
"""Heading -> digits after the point."""


def build_table(material: Material) -> pd.DataFrame:
    """Returns a row a contender and layer, the layers of a contender one below the other."""
    rows = material.of_measure(PARTS)
    means = material.average_seeds(rows[rows["level"].isna()])
    tables = []
    for _, of_contender in means.groupby("contender", sort=False):
        for layer in of_contender["condition"].drop_duplicates():
            of_layer = of_contender[of_contender["condition"] == layer]
            numbers = {heading: of_layer[of_layer["metric"] == metric] for heading, metric in HEADINGS.items()}
            tables.append(one_row_each(of_layer, numbers).assign(layer=layer))
    return pd.concat(tables, ignore_index=True)


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as strings, with the layer behind the name."""
    strings = format_numbers(table, DIGITS)
    strings["name"] = strings["name"].astype(str) + ", " + table["layer"]
    return strings


SECTION = Section(
    name=PARTS,
    title="Parts and wholes: what the routing does",
    caption=(
        "A diagnosis of each layer of capsules, in which no value is a win. Capsules count as much as they are active.",
        AboutColumn(
            "entropy",
            "Entropy of a child's coupling coefficients in the last iteration: 1 if its parents share it equally, so that the "
            "routing does nothing, 0 if one parent gets all.",
        ),
        AboutColumn(
            "image dependence",
            "Image dependence: 0 if the coefficients are the same for all images, so that the routing is a fixed weight.",
        ),
        AboutColumn(
            "effective children",
            "Effective children: the number of equal children that would give a parent's distribution over its children the same "
            "entropy. A parent with a single child agrees with itself.",
        ),
        AboutColumn("dead", f"Dead: never more active than {DEAD_BELOW:g}."),
        AboutColumn(
            "vote rank",
            "Vote rank: effective rank of the votes for a parent, 1 if all have one direction; routed, of the votes times their "
            "coefficients. A routing that selects votes that agree makes it smaller.",
        ),
    ),
    images=ImagesTaken(IMAGES, "routed"),
    table=build_table,
    readable=format_table,
)
