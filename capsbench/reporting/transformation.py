"""The section on networks that transform images as they are told."""

from __future__ import annotations

from typing import Any

import pandas as pd

from capsbench.reporting.section import Material, Section
from capsbench.reporting.text import names, with_interval

ERRORS = {"": "error", ", mean image": "of the mean image", ", copied input": "of the input"}
"""What the condition of a squared error ends in -> its heading."""


def _table(material: Material) -> pd.DataFrame:
    rows = material.of_measure("transformation")
    parts = rows[(rows["metric"] == "R^2") & ~rows["condition"].str.contains("capsule")]
    where = parts["condition"].str.partition(", ")[0]
    of_poses = parts.assign(condition=where).groupby(["contender", "seed", "condition"], as_index=False, sort=False)
    followed = of_poses.agg({"measure": "first", "metric": "first", "level": "first", "unit": "first", "value": "mean"})
    means = material.averaged(pd.concat([rows[rows["metric"] == "squared error"], followed], ignore_index=True))
    table = means[["contender", "dataset", "label", "n"]].drop_duplicates("contender").set_index("contender")
    wanted = {
        f"{heading} {where}": ("squared error", where + ending)
        for where in ("inside", "outside")
        for ending, heading in ERRORS.items()
    }
    wanted |= {f"R² of poses {where}": ("R^2", where) for where in ("inside", "outside")}
    for heading, (metric, condition) in wanted.items():
        chosen = means[(means["metric"] == metric) & (means["condition"] == condition)].set_index("contender")
        table[heading], table[f"{heading}, ci95"] = chosen["value"], chosen["ci95"]
    return table.reset_index(drop=True).rename(columns={"label": "name"})


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    shown: dict[str, Any] = {**names(table), "n": table["n"].map(str)}
    headings = [str(name).removesuffix(", ci95") for name in table if str(name).endswith(", ci95")]
    for heading in headings:
        digits = 2 if heading.startswith("R²") else 1
        numbers = zip(table[heading], table[f"{heading}, ci95"], strict=True)
        shown[heading] = [with_interval(value, half, digits) for value, half in numbers]
    return pd.DataFrame(shown)


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
