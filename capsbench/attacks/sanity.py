"""Whether what attacks found can be believed: the checks of Carlini 2019 and Athalye 2018, each by name.

An attack finds an upper bound of robust accuracy. Where it fails since gradients are hidden rather than since a network
withstands it, at least one of these is likely to fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from capsbench.attacks.adapter import zero_gradient
from capsbench.attacks.campaign import Campaign
from capsbench.attacks.effort import tolerance
from capsbench.attacks.plan import UNBOUNDED, Plan
from capsbench.attacks.threats import Threat
from capsbench.training.evaluate import compute_scores


class Check(NamedTuple):
    """A check by name, whether it held, and the numbers (fractions of the images) that it was judged by."""

    name: str
    held: bool
    evidence: Mapping[str, float]


def checks(plan: Plan, zero: Mapping[tuple[str, str], Tensor]) -> list[Check]:
    """All checks on the attacks of a plan under L-inf that was carried out.

    What is compared are counts of images, of which one in a hundred is let pass (`tolerance`).

    Args:
        zero: (reading, loss) -> images whose gradient is 0 (`zero_gradients`).
    """
    campaign, epsilon = plan.campaign, plan.bounds.headline
    count = len(campaign.labels)
    slack = tolerance(count)

    def share(images: float) -> float:
        return images / count

    grey, free = (count - int(campaign.broken(Threat.LINF, each).sum()) for each in UNBOUNDED)
    largest_class = int(campaign.labels.bincount().max())

    one_step = max(int(run.broken.sum()) for run in plan.at_headline("fgsm"))
    iterated = max(int(run.broken.sum()) for run in plan.at_headline("pgd"))

    strongest = plan.strongest[0]
    swept = {
        run.attack.epsilon: int(run.broken.sum())
        for run in campaign.runs
        if run.own and (run.attack.name, run.attack.loss, run.reading) == strongest and run.attack.threat is Threat.LINF
    }
    counts = [swept[each] for each in sorted(swept)]
    drop = max((before - after for before, after in pairwise(counts)), default=0)

    white = campaign.broken(Threat.LINF, epsilon, campaign.white_box())
    black = [run for run in campaign.runs if run.attack.threat is Threat.BLACK_BOX and run.attack.epsilon == epsilon]
    only_black = int((campaign.broken(Threat.LINF, epsilon, black) & ~white).sum())

    noisy = [run for run in campaign.runs if run.attack.name == "noise"]
    by_noise = int((campaign.broken(Threat.LINF, epsilon, noisy) & ~campaign.wrong).sum())
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
            {"robust accuracy at epsilon 0.5": share(grey), "robust accuracy at epsilon 1": share(free)},
        ),
        Check(
            "PGD at least as strong as FGSM",
            iterated >= one_step - slack,
            {"broken by FGSM": share(one_step), "broken by PGD": share(iterated)},
        ),
        Check("success monotone in epsilon", drop <= slack, {"greatest drop of success": share(max(0, drop))}),
        Check("doubled steps", more_steps <= slack, {"broken by the last doubling of steps": share(more_steps)}),
        Check(
            "doubled restarts",
            more_restarts <= slack,
            {"broken by the last doubling of restarts": share(more_restarts)},
        ),
        Check("black box no stronger", only_black <= slack, {"broken by the black box alone": share(only_black)}),
        Check(
            "noise far weaker",
            by_noise <= max(by_attacks / 2, slack),
            {"broken by uniform noise": share(by_noise), "broken by gradients": share(by_attacks)},
        ),
        Check("gradients not zero", vanishing <= slack, {"zero gradients, most": share(vanishing)}),
        Check("two forward passes equal", unequal == 0, {"images with unequal scores": share(unequal)}),
        Check("adversarial images valid", invalid == 0, {"images with an invalid attack": share(invalid)}),
    ]


def zero_gradients(campaign: Campaign, losses: Iterable[str]) -> dict[tuple[str, str], Tensor]:
    """(reading, loss) -> the images ``[N]``, of those classified right, whose gradient is 0 in every pixel."""
    right = ~campaign.wrong
    found = {}
    for name, reading in campaign.readings.items():
        for loss in losses:
            zero = torch.zeros_like(right)
            zero[right] = zero_gradient(reading, campaign.images[right], campaign.labels[right], loss)
            found[name, loss] = zero
    return found
