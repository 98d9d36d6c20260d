"""Contenders for which a sanity check of the attacks failed, so that their robust accuracy may be too high."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from capsbench.attacks.effort import EFFORTS, count_tolerated
from capsbench.measures.adversarial.spec import ADVERSARIAL, SANITY_CHECK
from capsbench.measures.transfer.spec import BEYOND_WHITE_BOX
from capsbench.presenting.marks import UNSOUND, with_sign
from capsbench.presenting.material import Material

OF_ALL_ATTACKS = ("adversarial images valid", "two forward passes equal")
"""Checks that all numbers of attacks need. If another one fails, only robust accuracies are doubtful."""


def find_failed_checks(material: Material) -> dict[str, list[str]]:
    """Returns contender -> the sanity checks that failed for any of its seeds, with the one by transferred attacks."""
    rows = material.rows
    if rows.empty:
        return {}
    checks = (rows["measure"] == ADVERSARIAL) & (rows["metric"] == SANITY_CHECK)
    failed = material.select_rows(checks & (rows["value"] == 0))
    beyond = material.select_rows((rows["metric"] == BEYOND_WHITE_BOX) & (rows["value"] > 0))
    let_pass = {setting: count_tolerated(effort.images) for setting, effort in EFFORTS.items()}
    setting = beyond["setting"].replace("default", next(iter(EFFORTS)))
    beyond = beyond[beyond["value"] > setting.map(let_pass).astype(float)]
    failed = pd.concat([failed, beyond.assign(condition="transfer no stronger")])
    return {str(name): sorted(rows["condition"].unique()) for name, rows in failed.groupby("contender")}


def mark_unsound(material: Material) -> Material:
    """Returns the material with the sign of `UNSOUND` behind the name of each contender with a failed check."""
    return replace(material, summary=with_sign(material.summary, UNSOUND, find_failed_checks(material)))
