"""The section on detection by reconstruction."""

from __future__ import annotations

import pandas as pd

from capsbench.attacks.effort import ATTACKED
from capsbench.attacks.threats import Threat, bounds_of
from capsbench.measures.detection.spec import DETECTION
from capsbench.measures.soundness import mark_unsound
from capsbench.presenting.caption import AboutColumn
from capsbench.presenting.columns import format_numbers, one_row_each, select_number
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material
from capsbench.presenting.section import Section


def build_table(material: Material) -> pd.DataFrame:
    material = mark_unsound(material)
    means = material.average_seeds(material.of_measure(DETECTION))
    level = means["dataset"].map(lambda name: bounds_of(name, Threat.LINF).published)
    means = means[means["level"].isna() | ((means["level"] - level).abs() < 1e-6)]
    wanted = {
        "false positives %": ("false positives", "test"),
        "AUROC %": ("AUROC", "pgd"),
        "PGD succeeds %": ("success rate", "pgd"),
        "of which detected %": ("detected", "pgd"),
        "reconstructive attack succeeds %": ("success rate", "reconstructive"),
        "of which detected, too %": ("detected", "reconstructive"),
        "undetected by either %": ("undetected rate", "worst case"),
    }
    table = one_row_each(means, {heading: select_number(means, *number) for heading, number in wanted.items()})
    thresholds = means[means["metric"] == "threshold"].set_index("contender")["value"]
    table["threshold (L2)"] = table["contender"].map(thresholds)
    return table


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    return format_numbers(table).assign(**{"threshold (L2)": table["threshold (L2)"].map("{:.2f}".format)})


SECTION = Section(
    name=DETECTION,
    title="Detection by reconstruction",
    caption=(
        "An image counts as adversarial if it is farther from its reconstruction than 95 % of the validation images. Attacks are "
        "in L∞ at the published epsilon, on images that are correct without them.",
        AboutColumn("reconstructive", "The reconstructive attack takes the detector into account."),
        "A decoder that reconstructs little has a large threshold and detects nothing.",
    ),
    images=ImagesTaken(ATTACKED, "attacked"),
    table=build_table,
    readable=format_table,
)
