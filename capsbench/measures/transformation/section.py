"""The section on networks that transform images as they are told."""

from __future__ import annotations

import pandas as pd

from capsbench.presenting.columns import HALF, format_numbers, one_row_each, select_number
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section

ERRORS = {"": "error", ", mean image": "of the mean image", ", copied input": "of the input"}
"""What the condition of a squared error ends in -> its heading."""


def _table(material: Material) -> pd.DataFrame:
    rows = material.of_measure("transformation")
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


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    headings = [str(name).removesuffix(HALF) for name in table if str(name).endswith(HALF)]
    return format_numbers(table, {heading: 1 for heading in headings if not heading.startswith("R²")})


SECTION = Section(
    name="transformation",
    title="Transformed images",
    caption=(
        "Squared error of test images transformed as the network is told, inside the range of its training and outside it, "
        "beside that of the best constant image and of the input as it is. R²: how much of the change of poses the "
        "transformation explains, the mean over its parts; 1 where poses follow."
    ),
    table=_table,
    readable=_readable,
)
