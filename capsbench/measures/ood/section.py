"""The section on out-of-distribution images."""

from __future__ import annotations

import pandas as pd

from capsbench.measures.ood.spec import (
    ACTIVATION,
    IMAGES,
    MEAN,
    OOD,
    RECONSTRUCTION,
    SCORES,
    SHARE,
    name_auroc,
    name_fpr,
)
from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.columns import HALF, format_numbers, one_row_each, select_number
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section

LEFT_OUT = "left out"
"""The column of the sets that were left out."""

MEANS = {
    f"AUROC {MEAN} %": name_auroc(ACTIVATION),
    "by share %": name_auroc(SHARE),
    "by reconstruction %": name_auroc(RECONSTRUCTION),
    f"FPR {MEAN} %": name_fpr(ACTIVATION),
}
"""Heading of a mean over the sets -> its metric."""


def build_table(material: Material) -> pd.DataFrame:
    """Returns the means over the sets, and the AUROC and the false positive rate by each score and set, in per cent."""
    rows = material.of_measure(OOD)
    is_count = rows["metric"] == "images"
    means = material.average_seeds(rows[~is_count])
    sets = [name for name in means["condition"].unique() if name != MEAN]
    numbers = {heading: (metric, MEAN) for heading, metric in MEANS.items()}
    numbers |= {f"{name} %": (name_auroc(ACTIVATION), name) for name in sets}
    for score in SCORES:
        numbers |= {f"{name_auroc(score)}, {name} %": (name_auroc(score), name) for name in sets if score != ACTIVATION}
        numbers |= {f"{name_fpr(score)}, {name} %": (name_fpr(score), name) for name in sets}
    table = one_row_each(means, {heading: select_number(means, *number) for heading, number in numbers.items()})
    absent: dict[str, dict[str, None]] = {}
    for row in rows[is_count & (rows["value"] == 0)].itertuples():
        absent.setdefault(str(row.contender), {})[str(row.condition)] = None
    return table.assign(**{LEFT_OUT: [", ".join(absent.get(name, ())) for name in table["contender"]]})


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Keeps the means and the AUROC by activation of each set; the rest is in the file alone."""
    details = [str(name) for name in table if str(name).removesuffix(HALF).startswith(("AUROC by", "FPR at"))]
    strings = format_numbers(table.drop(columns=details))
    return strings.assign(**{LEFT_OUT: table[LEFT_OUT]}) if table[LEFT_OUT].any() else strings


SECTION = Section(
    name=OOD,
    title="Out-of-distribution images",
    caption=(
        "Test images against images that show none of the classes. AUROC: the probability that a test image has the larger "
        "maximum activation; of a CNN, the larger maximum logit. 50 % is chance. FPR: the share of the other images that are "
        "accepted at a threshold that accepts 95 % of the test images. Uniform noise and shuffled pixels are synthetic.",
        AboutColumn(
            "by share", "By share: the activation divided by the sum of all; of a CNN, the softmax probability."
        ),
        AboutColumn(
            "by reconstruction", "By reconstruction: the L2 distance to the reconstruction from the winning capsule."
        ),
        AboutColumn(
            LEFT_OUT,
            "Left out: sets whose files were not in the data folder. Compare only contenders with the same sets.",
        ),
    ),
    table=build_table,
    readable=format_table,
    images=ImagesTaken(IMAGES, "scored"),
    explains={
        "AUROC by maximum activation, mean of sets": "AUROC by maximum activation: the mean over the out-of-distribution sets "
        "of the probability that a test image has the larger maximum class score."
    },
)
