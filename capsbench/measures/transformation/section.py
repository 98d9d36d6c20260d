"""The section on networks that transform images."""

from __future__ import annotations

import pandas as pd

from capsbench.measures.transformation.spec import TRANSFORMATION
from capsbench.presenting.columns import HALF, format_numbers, one_row_each, select_number
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section

ERRORS = {"": "error", ", mean image": "of the mean image", ", copied input": "of the input"}
"""The ending of a squared error's condition -> its heading."""


def build_table(material: Material) -> pd.DataFrame:
    rows = material.of_measure(TRANSFORMATION)
    parts = rows[(rows["metric"] == "R^2") & ~rows["condition"].str.contains("capsule")]
    where = parts["condition"].str.partition(", ")[0]
    of_poses = parts.assign(condition=where).groupby(["contender", "seed", "condition"], as_index=False, sort=False)
    followed = of_poses.agg({"measure": "first", "metric": "first", "level": "first", "unit": "first", "value": "mean"})
    means = material.average_seeds(pd.concat([rows[rows["metric"] == "squared error"], followed], ignore_index=True))
    places = ("inside", "outside")
    numbers = {
        f"{heading} {where}": select_number(means, "squared error", where + ending)
        for where in places
        for ending, heading in ERRORS.items()
    }
    return one_row_each(
        means, numbers | {f"R² of poses {where}": select_number(means, "R^2", where) for where in places}
    )


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    headings = [str(name).removesuffix(HALF) for name in table if str(name).endswith(HALF)]
    return format_numbers(table, {heading: 1 for heading in headings if not heading.startswith("R²")})


SECTION = Section(
    name=TRANSFORMATION,
    title="Transformed images",
    caption=(
        "Squared error of transformed test images, with transformations inside the range of the training and outside it. For "
        "comparison: the error of the mean image, and of the input. R²: variance of the change of poses that the transformation "
        "explains, the mean over its parts; 1 if poses follow."
    ),
    table=build_table,
    readable=format_table,
)
