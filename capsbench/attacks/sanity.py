"""Sanity checks of attacks, after Carlini 2019 and Athalye 2018.

An attack gives an upper bound of robust accuracy. If an attack fails because gradients are masked, and not because the network
is robust, at least one of these checks is likely to fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from capsbench.attacks.adapter import has_zero_gradient
from capsbench.attacks.campaign import Campaign
from capsbench.attacks.effort import count_tolerated
from capsbench.attacks.plan import UNBOUNDED, Plan
from capsbench.attacks.threats import Threat
from capsbench.training.evaluate import compute_scores


class Check(NamedTuple):
    """The name of a check, its result, and the numbers (fractions of the images) behind the result."""

    name: str
    held: bool
    evidence: Mapping[str, float]


def run_checks(plan: Plan, zero: Mapping[tuple[str, str], Tensor]) -> list[Check]:
    """Runs all checks on the attacks of a completed plan under L-inf.

    The checks compare counts of images and tolerate one image in a hundred (`count_tolerated`).

    Args:
        zero: maps (reading, loss) to images whose gradient is 0 (`find_zero_gradients`).
    """
    campaign, epsilon = plan.campaign, plan.bounds.headline
    count = len(campaign.labels)
    slack = count_tolerated(count)

    def to_share(images: float) -> float:
        return images / count

    grey, free = (count - int(campaign.find_broken(Threat.LINF, bound).sum()) for bound in UNBOUNDED)
    largest_class = int(campaign.labels.bincount().max())

    one_step = max(int(run.broken.sum()) for run in plan.list_table_runs("fgsm"))
    iterated = max(int(run.broken.sum()) for run in plan.list_table_runs("pgd"))

    strongest = plan.strongest[0]
    swept = {
        run.attack.epsilon: int(run.broken.sum())
        for run in campaign.runs
        if run.own and (run.attack.name, run.attack.loss, run.reading) == strongest and run.attack.threat is Threat.LINF
    }
    counts = [swept[bound] for bound in sorted(swept)]
    drop = max((before - after for before, after in pairwise(counts)), default=0)

    white = campaign.find_broken(Threat.LINF, epsilon, campaign.list_white_box())
    black = [run for run in campaign.runs if run.attack.threat is Threat.BLACK_BOX and run.attack.epsilon == epsilon]
    only_black = int((campaign.find_broken(Threat.LINF, epsilon, black) & ~white).sum())

    noisy = [run for run in campaign.runs if run.attack.name == "noise"]
    by_noise = int((campaign.find_broken(Threat.LINF, epsilon, noisy) & ~campaign.wrong).sum())
    by_attacks = int((white & ~campaign.wrong).sum())

    vanishing = max(int(images.sum()) for images in zero.values())
    images = campaign.pixels.from_unit(campaign.images)
    first, second = (compute_scores(campaign.cell, campaign.network, images) for _ in range(2))
    unequal = int((first != second).any(dim=1).sum())
    invalid = int(torch.stack([run.invalid for run in campaign.runs]).any(dim=0).sum())

    more_steps, more_restarts = plan.gains["steps"], plan.gains["restarts"]
    return [
        Check(
            "unbounded attack",
            grey <= max(largest_class, slack) and free <= slack,
            {"robust accuracy at epsilon 0.5": to_share(grey), "robust accuracy at epsilon 1": to_share(free)},
        ),
        Check(
            "PGD at least as strong as FGSM",
            iterated >= one_step - slack,
            {"broken by FGSM": to_share(one_step), "broken by PGD": to_share(iterated)},
        ),
        Check("success monotone in epsilon", drop <= slack, {"greatest drop of success": to_share(max(0, drop))}),
        Check("doubled steps", more_steps <= slack, {"broken by the last doubling of steps": to_share(more_steps)}),
        Check(
            "doubled restarts",
            more_restarts <= slack,
            {"broken by the last doubling of restarts": to_share(more_restarts)},
        ),
        Check("black box no stronger", only_black <= slack, {"broken by the black box alone": to_share(only_black)}),
        Check(
            "noise far weaker",
            by_noise <= max(by_attacks / 2, slack),
            {"broken by uniform noise": to_share(by_noise), "broken by gradients": to_share(by_attacks)},
        ),
        Check("gradients not zero", vanishing <= slack, {"zero gradients, most": to_share(vanishing)}),
        Check("two forward passes equal", unequal == 0, {"images with unequal scores": to_share(unequal)}),
        Check("adversarial images valid", invalid == 0, {"images with an invalid attack": to_share(invalid)}),
    ]


def find_zero_gradients(campaign: Campaign, losses: Iterable[str]) -> dict[tuple[str, str], Tensor]:
    """Maps (reading, loss) to a mask ``[N]`` of correctly classified images whose gradient is 0 in every pixel."""
    right = ~campaign.wrong
    masks = {}
    for name, reading in campaign.readings.items():
        for loss in losses:
            zero = torch.zeros_like(right)
            zero[right] = has_zero_gradient(reading, campaign.images[right], campaign.labels[right], loss)
            masks[name, loss] = zero
    return masks
