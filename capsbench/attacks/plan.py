"""Which attacks are made on a network, in which order, and how hard they try."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from capsbench.attacks.adapter import ATTACKS, FEWEST_CLASSES, LOSSES, Attack
from capsbench.attacks.campaign import Campaign, Run
from capsbench.attacks.effort import Effort, tolerance
from capsbench.attacks.threats import Bounds, Threat

MOST_READINGS = 3
"""Runs of PGD in the table that are made again at other epsilons, at most."""

CARLINI_WAGNER = Attack("cw", Threat.L2, steps=1000, constants=(0.1, 1.0, 10.0, 100.0))
DEEPFOOL = Attack("deepfool", Threat.L2, steps=50)
GENERATIONS = 30
"""Of the one-pixel attack."""

UNBOUNDED = (0.5, 1.0)
"""Epsilons under L-inf that leave an attack all freedom: any image can be made grey, and any image any other."""


class Choice(NamedTuple):
    """An attack by name, with the loss and the reading that it follows."""

    name: str
    loss: str
    reading: str


class Plan:
    """Makes the attacks of one threat in an order by which the costly ones are made on few images.

    A table comes first: all readings and losses at the headline epsilon, on all images. Of it come the `strongest`, which
    go on with the images that are still right there, and then to the other epsilons.
    """

    def __init__(self, campaign: Campaign, bounds: Bounds, threat: Threat, effort: Effort, classes: int) -> None:
        self.campaign, self.bounds, self.threat, self.effort, self.classes = campaign, bounds, threat, effort, classes
        self.strongest: list[Choice] = []
        """What broke most in the table, the best of it first."""
        self.gains: dict[str, int] = {}
        """Images that the last doubling of ``steps`` and of ``restarts`` broke beyond all that were broken before."""

    def carry_out(self) -> None:
        """Makes all attacks of the threat."""
        if self.threat is Threat.L0:
            self.change_few_pixels()
            return
        self.table()
        self.strongest = self.choose()
        self.sharpen(self.bounds.headline, [choice for choice in self.strongest if choice.name != "pgd"])
        self.sweep()
        if self.threat is Threat.LINF:
            self.double()
            for epsilon in UNBOUNDED:
                self.sharpen(epsilon, self.strongest)
            self.campaign.run(self.attack("noise", self.bounds.headline), self._scores())
            self.campaign.run(self.attack("square", self.bounds.headline), self._scores())
        elif self.effort.every:  # what withstands it costs all of the queries
            self.campaign.run(self.attack("square", self.bounds.headline), self._scores(), self._some())
        if self.threat is Threat.L2 and self.effort.nearest:
            self.look_for_nearest()

    def table(self) -> None:
        """Every reading under every loss at the headline epsilon, on all images.

        ``scaled`` is read under cross-entropy alone: the other losses are those of ``lengths``, 20 times as large.
        """
        names = ["fgsm", "pgd"] if self.threat is Threat.LINF else ["pgd"]
        if self.effort.every:
            names += ["bim", "apgd", "apgd-t"] if self.threat is Threat.LINF else ["apgd", "apgd-t"]
        for name in names:
            restarts = self.effort.restarts if name == "pgd" else 1
            for reading in self.campaign.readings:
                for loss in self.losses(name):
                    if reading != "scaled" or loss == "cross-entropy":
                        attack = self.attack(name, self.bounds.headline, loss, restarts=restarts)
                        self.campaign.run(attack, reading)

    def choose(self) -> list[Choice]:
        """Of PGD's runs those that break most together, and for each loss of APGD the reading that was best under it."""
        runs, broken = self.at_headline("pgd"), self.campaign.wrong
        chosen: list[Choice] = []
        for _ in range(MOST_READINGS):
            best = max(runs, key=lambda run: int((run.broken & ~broken).sum()))
            if chosen and not (best.broken & ~broken).any():
                break
            broken = broken | best.broken
            chosen.append(Choice("pgd", str(best.attack.loss), best.reading))
        for loss in self.losses("apgd"):
            under = [run for run in runs if run.attack.loss == loss] or runs
            chosen.append(Choice("apgd", loss, max(under, key=lambda run: int(run.broken.sum())).reading))
        return chosen

    def sharpen(self, epsilon: float, choices: Iterable[Choice], among: Tensor | None = None, **settings: int) -> int:
        """Attacks the images that are still right at an epsilon, or some ``[N]`` of them; how many it broke."""
        before = broken = self.campaign.broken(self.threat, epsilon)
        seed = settings.pop("seed", 0)
        for name, loss, reading in choices:
            left = ~broken if among is None else among & ~broken
            attack = self.attack(name, epsilon, loss, **settings)
            broken = broken | self.campaign.run(attack, reading, left, own=False, seed=seed).broken
        return int((broken & ~before).sum())

    def sweep(self) -> None:
        """The other epsilons of the sweep, each by the strongest attacks.

        Above the headline they are made on images that are still right, and below on those that broke within the next larger
        epsilon: no image is broken within less than it needs. Under L-inf the first is made on all images all the same.
        """
        headline, (first, *others) = self.bounds.headline, self.strongest
        above = [epsilon for epsilon in self.bounds.sweep if epsilon > headline]
        below = [epsilon for epsilon in reversed(self.bounds.sweep) if epsilon < headline]
        for epsilon, larger in [*((each, None) for each in above), *zip(below, [headline, *below], strict=False)]:
            if self.threat is Threat.LINF:
                attack = self.attack("pgd", epsilon, first.loss, restarts=self.effort.restarts)
                self.campaign.run(attack, first.reading)
            among = None if larger is None else self.campaign.broken(self.threat, larger)
            self.sharpen(epsilon, others if self.threat is Threat.LINF else self.strongest, among)

    def double(self) -> None:
        """Doubles steps and restarts at the headline epsilon until that breaks no more images than are let pass.

        Of the strongest run of PGD, and the steps of an APGD too.
        """
        epsilon, slack = self.bounds.headline, tolerance(len(self.campaign.labels))
        for power in range(1, self.effort.rounds + 1):
            new = self.effort.restarts * 2 ** (power - 1)
            self.gains = {
                "steps": self.sharpen(epsilon, [self.strongest[0], self.strongest[-1]], harder=2**power),
                "restarts": self.sharpen(epsilon, self.strongest[:1], restarts=new, seed=power),
            }
            if max(self.gains.values()) <= slack:
                return

    def look_for_nearest(self) -> None:
        """The nearest adversarial images of some images, through every reading."""
        for reading in self.campaign.readings:
            for attack in (CARLINI_WAGNER, DEEPFOOL):
                self.campaign.run(attack, reading, self._some())

    def change_few_pixels(self) -> None:
        """Some images with a few pixels changed."""
        for epsilon in self.bounds.sweep:
            attack = Attack("one-pixel", Threat.L0, epsilon, steps=GENERATIONS)
            self.campaign.run(attack, self._scores(), self._some())

    def attack(
        self, name: str, epsilon: float, loss: str | None = None, *, harder: int = 1, restarts: int = 1
    ) -> Attack:
        """An attack with the steps of this plan, or ``harder`` times as many that are so much smaller."""
        if name == "square":
            threat = Threat.BLACK_BOX if self.threat is Threat.LINF else self.threat
            return Attack(name, threat, epsilon, loss, self.effort.queries)
        steps, step = self.effort.steps, None
        if steps is None:
            steps, step = self.bounds.steps, self.bounds.step * epsilon / harder
        return Attack(name, self.threat, epsilon, loss, steps * harder, step, restarts)

    def losses(self, name: str) -> tuple[str, ...]:
        """The losses of an attack that there are with so few classes."""
        enough = [each for each in (name, *LOSSES) if self.classes >= FEWEST_CLASSES.get(each, 2)]
        return tuple(loss for loss in ATTACKS[name].losses[self.threat] if loss in enough and name in enough)

    def at_headline(self, name: str) -> list[Run]:
        """The runs of an attack in the table."""
        at = (name, self.threat, self.bounds.headline)
        return [
            run
            for run in self.campaign.runs
            if run.own and (run.attack.name, run.attack.threat, run.attack.epsilon) == at
        ]

    def _scores(self) -> str:
        """The reading of what sees scores and no gradient: the scores as they are."""
        return next(iter(self.campaign.readings))

    def _some(self) -> Tensor:
        """The first images ``[N]``, as many as costly attacks are made on."""
        return torch.arange(len(self.campaign.labels), device=self.campaign.labels.device) < self.effort.nearest
