"""Contenders for which a sanity check of the attacks failed, so that their robust accuracy may be too high."""

from __future__ import annotations

from dataclasses import replace

from capsbench.attacks.effort import EFFORTS, count_tolerated
from capsbench.measures.adversarial.spec import ADVERSARIAL, SANITY_CHECK
from capsbench.measures.transfer.spec import BEYOND_WHITE_BOX, TRANSFER
from capsbench.presenting.marks import UNSOUND, with_sign
from capsbench.presenting.material import Material

OF_ALL_ATTACKS = ("adversarial images valid", "two forward passes equal")
"""Checks that all numbers of attacks need. If another one fails, only robust accuracies are doubtful."""


def find_failed_checks(material: Material) -> dict[str, list[str]]:
    """Returns contender -> the sanity checks that failed for any of its seeds, with the one by transferred attacks."""
    checks, beyond = material.of_number(ADVERSARIAL, SANITY_CHECK), material.of_number(TRANSFER, BEYOND_WHITE_BOX)
    if checks.empty and beyond.empty:
        return {}
    failed, beyond = checks[checks["value"] == 0], beyond[beyond["value"] > 0]
    found = {*zip(failed["contender"], failed["condition"], strict=True)}
    for contender, setting, images in zip(beyond["contender"], beyond["setting"], beyond["value"], strict=True):
        effort = EFFORTS.get(next(iter(EFFORTS)) if setting == "default" else setting)
        if effort is not None and images > count_tolerated(effort.images):
            found.add((contender, "transfer no stronger"))
    names = sorted({contender for contender, _ in found})
    return {name: sorted(check for contender, check in found if contender == name) for name in names}


def mark_unsound(material: Material) -> Material:
    """Returns the material with the sign of `UNSOUND` behind the name of each contender with a failed check.

    Without any it is the material itself, with all that was already worked out of it.
    """
    unsound = find_failed_checks(material)
    return replace(material, summary=with_sign(material.summary, UNSOUND, unsound)) if unsound else material
