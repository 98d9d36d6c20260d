"""The section on overlapping objects."""

from __future__ import annotations

import pandas as pd

from capsbench.presenting.columns import format_numbers, one_row_each
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section


def _table(material: Material) -> pd.DataFrame:
    means = material.average_seeds(material.of_measure("overlap"))
    conditions = {"image error %": "image", "object error %": "object", "one found %": "at least one found"}
    return one_row_each(means, {name: means[means["condition"] == which] for name, which in conditions.items()})


SECTION = Section(
    name="overlap",
    title="Overlapping objects",
    caption="Image error: not all objects of an image are found. Object error: the share of objects that are missed.",
    table=_table,
    readable=format_numbers,
)
