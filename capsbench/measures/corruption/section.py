"""The section on corrupted images."""

from __future__ import annotations

import pandas as pd

from capsbench.measures.corruption.spec import CLEAN, CORRUPTION, ERROR, IMAGES, MEAN, MEAN_ERROR
from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.columns import format_numbers, one_row_each, select_number
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section

LEAST = 0.01
"""The least error of a CNN, by which that of a capsule network is divided."""

RELATIVE = "relative to CNN %"
"""The column of the mean ratio to the baseline."""


def build_table(material: Material) -> pd.DataFrame:
    """Returns the errors without and under corruptions, and the ratios to the CNN's, in per cent."""
    means = material.average_seeds(material.of_measure(CORRUPTION))
    names = [name for name in means.loc[means["metric"] == MEAN_ERROR, "condition"].unique() if name != MEAN]
    numbers = {
        "clean %": select_number(means, ERROR, CLEAN),
        "corrupted %": select_number(means, MEAN_ERROR, MEAN),
        **{f"{name} %": select_number(means, MEAN_ERROR, name) for name in names},
    }
    table = one_row_each(means, numbers)
    ratios = 100 * compute_ratios(means)
    table[RELATIVE] = table["contender"].map(ratios.mean(axis="columns"))
    for name in ratios:
        table[f"{name}, {RELATIVE}"] = table["contender"].map(ratios[name])
    return table


def compute_ratios(means: pd.DataFrame) -> pd.DataFrame:
    """Returns the error under each corruption divided by that of the baseline; rows are contenders with one.

    Errors are summed over severities before the division (Hendrycks, Dietterich 2019); the ratio of their means is the same.
    There is no ratio where the baseline's mean error is below `LEAST`, because it would be one of a few images.
    """
    of_corruption = means[(means["metric"] == MEAN_ERROR) & (means["condition"] != MEAN)]
    errors = of_corruption.pivot_table(index="contender", columns="condition", values="value", sort=False)
    baselines = means.drop_duplicates("contender").set_index("contender")["baseline"]
    paired = [name for name in errors.index if baselines.get(name) in errors.index]
    divisors = errors.loc[[baselines[name] for name in paired]].set_axis(paired)
    return errors.loc[paired] / divisors.where(divisors >= LEAST)


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Keeps the errors of each corruption and the mean ratio; the other ratios are in the file alone."""
    strings = format_numbers(table)
    if table[RELATIVE].notna().any():
        place = [str(name) for name in strings].index("corrupted %") + 1
        spelled = ["" if pd.isna(ratio) else f"{ratio:.0f}" for ratio in table[RELATIVE]]
        strings.insert(place, RELATIVE, spelled)
    return strings


SECTION = Section(
    name=CORRUPTION,
    title="Corrupted images",
    caption=(
        "Error on test images under the corruptions of CIFAR-10-C, the mean over severities 1 to 5, or of MNIST-C, which has one "
        "severity; corrupted: the mean over them. All contenders see the same images.",
        AboutColumn(
            RELATIVE,
            "Relative to CNN: the error summed over severities, divided by that of the network's baseline; the mean over the "
            "corruptions under which the baseline's error is at least 1 %. Below 100 the capsule network makes fewer errors.",
        ),
    ),
    table=build_table,
    readable=format_table,
    images=ImagesTaken(IMAGES, "corrupted"),
    explains={
        "error under corruptions, mean": "Error under corruptions: the mean over corruptions and their severities."
    },
)
