"""The section on novel viewpoints."""

from __future__ import annotations

import pandas as pd

from capsbench.presenting.columns import format_numbers, one_row_each
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section


def _table(material: Material) -> pd.DataFrame:
    means = material.average_seeds(material.of_measure("viewpoint"))
    conditions = ("novel", "familiar", "difference")
    return one_row_each(means, {f"{name} %": means[means["condition"] == name] for name in conditions})


SECTION = Section(
    name="viewpoint",
    title="Novel viewpoints",
    caption=(
        "Error on test toys as seen from viewpoints that training leaves out, and from those it has. Networks are to be compared "
        "at equal error on the familiar ones."
    ),
    images=ImagesTaken({"default": None}, "seen from novel viewpoints"),
    table=_table,
    readable=format_numbers,
)
