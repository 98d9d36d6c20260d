"""The section on overlapping objects."""

from __future__ import annotations

import pandas as pd

from capsbench.measures.overlap.spec import OVERLAP
from capsbench.presenting.columns import format_numbers, one_row_each
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section


def build_table(material: Material) -> pd.DataFrame:
    means = material.average_seeds(material.of_measure(OVERLAP))
    conditions = {"image error %": "image", "object error %": "object", "one found %": "at least one found"}
    return one_row_each(means, {name: means[means["condition"] == which] for name, which in conditions.items()})


SECTION = Section(
    name=OVERLAP,
    title="Overlapping objects",
    caption="Image error: share of images in which not all objects are found. Object error: share of objects that are missed.",
    table=build_table,
    readable=format_numbers,
)
