"""The section on novel viewpoints."""

from __future__ import annotations

import pandas as pd

from capsbench.measures.viewpoint.spec import VIEWPOINT
from capsbench.presenting.columns import format_numbers, one_row_each
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section


def build_table(material: Material) -> pd.DataFrame:
    means = material.average_seeds(material.of_measure(VIEWPOINT))
    conditions = ("novel", "familiar", "difference")
    return one_row_each(means, {f"{name} %": means[means["condition"] == name] for name in conditions})


SECTION = Section(
    name=VIEWPOINT,
    title="Novel viewpoints",
    caption=(
        "Error on test images from viewpoints that training leaves out, and from those of the training. Compare networks that "
        "have the same error on the familiar ones."
    ),
    images=ImagesTaken({"default": None}, "seen from novel viewpoints"),
    table=build_table,
    readable=format_numbers,
)
