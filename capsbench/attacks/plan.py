"""The plan of the attacks on a network: their choice, their order and their effort."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from capsbench.attacks.adapter import ATTACKS, FEWEST_CLASSES, LOSSES, Attack
from capsbench.attacks.campaign import Campaign, Run
from capsbench.attacks.effort import Effort, count_tolerated
from capsbench.attacks.threats import OWN_LOSS, Bounds, Threat

MOST_READINGS = 3
"""The largest number of PGD runs of the table that are repeated at other epsilons."""

CARLINI_WAGNER = Attack("cw", Threat.L2, steps=1000, constants=(0.1, 1.0, 10.0, 100.0))
DEEPFOOL = Attack("deepfool", Threat.L2, steps=50)
GENERATIONS = 30
"""The number of generations of the one-pixel attack."""

UNBOUNDED = (0.5, 1.0)
"""Epsilons under L-inf that do not restrict an attack: 0.5 can turn any image grey, and 1 any image into any other."""


class Choice(NamedTuple):
    """The name of an attack, with its loss and its reading."""

    name: str
    loss: str
    reading: str


class Plan:
    """Runs the attacks of one threat, in an order that runs costly attacks on few images.

    The first step is a table of all readings and losses at the headline epsilon, on all images. The `strongest` runs of the
    table then attack the images that are still classified correctly, first at the headline and then at the other epsilons.
    """

    def __init__(
        self,
        campaign: Campaign,
        bounds: Bounds,
        threat: Threat,
        effort: Effort,
        classes: int,
        own: Iterable[str] = (),
    ) -> None:
        self.campaign, self.bounds, self.threat, self.effort, self.classes = campaign, bounds, threat, effort, classes
        self.own = [*own] if threat is Threat.LINF else []
        """The names of a user's own attacks."""
        self.strongest: list[Choice] = []
        """The choices that broke the most images in the table, in descending order."""
        self.gains: dict[str, int] = {}
        """The number of additional images that the last doubling of ``steps`` and of ``restarts`` broke."""

    def carry_out(self) -> None:
        """Runs all attacks of the threat."""
        if self.threat is Threat.L0:
            self.change_few_pixels()
            return
        for name in self.own:
            self.campaign.try_attack(self.make_attack(name, self.bounds.headline, OWN_LOSS), self._name_scores())
        self.run_table()
        self.strongest = self.choose_strongest()
        # PGD was run on all images for the table; only APGD is left at the headline.
        self.attack_remaining(self.bounds.headline, [choice for choice in self.strongest if choice.name != "pgd"])
        self.sweep_epsilons()
        self.run_own()
        if self.threat is Threat.LINF:
            # The sanity checks need more effort, unbounded attacks, noise and a black-box attack (`capsbench.attacks.sanity`).
            self.double_effort()
            for epsilon in UNBOUNDED:
                self.attack_remaining(epsilon, self.strongest)
            self.campaign.run_attack(self.make_attack("noise", self.bounds.headline), self._name_scores())
            self.campaign.run_attack(self.make_attack("square", self.bounds.headline), self._name_scores())
        elif self.effort.every:  # a robust image costs the full number of queries, so only some images are attacked
            self.campaign.run_attack(
                self.make_attack("square", self.bounds.headline), self._name_scores(), self._select_some()
            )
        if self.threat is Threat.L2 and self.effort.nearest:
            self.look_for_nearest()

    def run_table(self) -> None:
        """Runs every reading and every loss at the headline epsilon, on all images.

        The reading ``scaled`` is used with cross-entropy only: its other losses are those of ``lengths``, 20 times as large.
        """
        names = ["fgsm", "pgd"] if self.threat is Threat.LINF else ["pgd"]
        if self.effort.every:
            names += ["bim", "apgd", "apgd-t"] if self.threat is Threat.LINF else ["apgd", "apgd-t"]
        for name in names:
            restarts = self.effort.restarts if name == "pgd" else 1
            for reading in self.campaign.readings:
                for loss in self.list_losses(name):
                    if reading != "scaled" or loss == "cross-entropy":
                        attack = self.make_attack(name, self.bounds.headline, loss, restarts=restarts)
                        self.campaign.run_attack(attack, reading)

    def run_own(self) -> None:
        """Runs a user's own attacks through every reading: at the headline epsilon on all images, at others on those left."""
        choices = [Choice(name, OWN_LOSS, reading) for name in self.own for reading in self.campaign.readings]
        for name, loss, reading in choices:
            self.campaign.run_attack(self.make_attack(name, self.bounds.headline, loss), reading)
        for epsilon in self.bounds.sweep:
            if epsilon != self.bounds.headline:
                self.attack_remaining(epsilon, choices)

    def choose_strongest(self) -> list[Choice]:
        """Returns the PGD runs that together break the most images and, for each loss of APGD, the best reading."""
        runs, broken = self.list_table_runs("pgd"), self.campaign.wrong
        chosen: list[Choice] = []
        # Greedy: each run is the one that breaks most of the images that the earlier ones left.
        for _ in range(MOST_READINGS):
            best = max(runs, key=lambda run: int((run.broken & ~broken).sum()))
            if chosen and not (best.broken & ~broken).any():
                break
            broken = broken | best.broken
            chosen.append(Choice("pgd", str(best.attack.loss), best.reading))
        for loss in self.list_losses("apgd"):
            rivals = [run for run in runs if run.attack.loss == loss] or runs
            chosen.append(Choice("apgd", loss, max(rivals, key=lambda run: int(run.broken.sum())).reading))
        return chosen

    def attack_remaining(
        self, epsilon: float, choices: Iterable[Choice], among: Tensor | None = None, **settings: int
    ) -> int:
        """Attacks images that are still correct at an epsilon, within a mask ``[N]``, and returns the number broken."""
        before = broken = self.campaign.find_broken(self.threat, epsilon)
        seed = settings.pop("seed", 0)
        for name, loss, reading in choices:
            left = ~broken if among is None else among & ~broken
            attack = self.make_attack(name, epsilon, loss, **settings)
            broken = broken | self.campaign.run_attack(attack, reading, left, own=False, seed=seed).broken
        return int((broken & ~before).sum())

    def sweep_epsilons(self) -> None:
        """Runs the strongest attacks at the other epsilons of the sweep.

        Above the headline they attack images that are still classified correctly. Below it they attack images that broke within
        the next larger epsilon, because an image that resisted a larger epsilon resists a smaller one. Under L-inf, the first
        attack runs on all images, so that its accuracies at all epsilons can be compared.
        """
        headline, (first, *others) = self.bounds.headline, self.strongest
        above = [epsilon for epsilon in self.bounds.sweep if epsilon > headline]
        below = [epsilon for epsilon in reversed(self.bounds.sweep) if epsilon < headline]
        for epsilon, larger in [*((epsilon, None) for epsilon in above), *zip(below, [headline, *below], strict=False)]:
            if self.threat is Threat.LINF:
                attack = self.make_attack("pgd", epsilon, first.loss, restarts=self.effort.restarts)
                self.campaign.run_attack(attack, first.reading)
            among = None if larger is None else self.campaign.find_broken(self.threat, larger)
            self.attack_remaining(epsilon, others if self.threat is Threat.LINF else self.strongest, among)

    def double_effort(self) -> None:
        """Doubles steps and restarts at the headline epsilon until neither breaks more further images than tolerated.

        Steps are doubled for the strongest PGD run and for one APGD run, restarts for the PGD run. The effort limits the rounds.
        """
        epsilon, slack = self.bounds.headline, count_tolerated(len(self.campaign.labels))
        for power in range(1, self.effort.rounds + 1):
            new = self.effort.restarts * 2 ** (power - 1)
            self.gains = {
                "steps": self.attack_remaining(epsilon, [self.strongest[0], self.strongest[-1]], harder=2**power),
                "restarts": self.attack_remaining(epsilon, self.strongest[:1], restarts=new, seed=power),
            }
            if max(self.gains.values()) <= slack:
                return

    def look_for_nearest(self) -> None:
        """Searches for the nearest adversarial images of some images, through every reading."""
        for reading in self.campaign.readings:
            for attack in (CARLINI_WAGNER, DEEPFOOL):
                self.campaign.run_attack(attack, reading, self._select_some())

    def change_few_pixels(self) -> None:
        """Attacks some images by changing a few pixels."""
        for epsilon in self.bounds.sweep:
            attack = Attack("one-pixel", Threat.L0, epsilon, steps=GENERATIONS)
            self.campaign.run_attack(attack, self._name_scores(), self._select_some())

    def make_attack(
        self, name: str, epsilon: float, loss: str | None = None, *, harder: int = 1, restarts: int = 1
    ) -> Attack:
        """Returns an attack with the steps of this plan, or ``harder`` times as many and correspondingly smaller steps."""
        if name == "square":
            threat = Threat.BLACK_BOX if self.threat is Threat.LINF else self.threat
            return Attack(name, threat, epsilon, loss, self.effort.queries)
        steps, step = self.effort.steps, None
        if steps is None:
            steps, step = self.bounds.steps, self.bounds.step * epsilon / harder
        return Attack(name, self.threat, epsilon, loss, steps * harder, step, restarts)

    def list_losses(self, name: str) -> tuple[str, ...]:
        """Returns the losses of an attack that are defined for the number of classes."""
        enough = [part for part in (name, *LOSSES) if self.classes >= FEWEST_CLASSES.get(part, 2)]
        return tuple(loss for loss in ATTACKS[name].losses[self.threat] if loss in enough and name in enough)

    def list_table_runs(self, name: str) -> list[Run]:
        """Returns the runs of an attack in the table."""
        key = (name, self.threat, self.bounds.headline)
        return [
            run
            for run in self.campaign.runs
            if run.own and (run.attack.name, run.attack.threat, run.attack.epsilon) == key
        ]

    def _name_scores(self) -> str:
        """Returns the reading of an attack that uses scores and no gradient: the unchanged scores."""
        return next(iter(self.campaign.readings))

    def _select_some(self) -> Tensor:
        """Returns a mask ``[N]`` of the first images, as many as costly attacks run on."""
        return torch.arange(len(self.campaign.labels), device=self.campaign.labels.device) < self.effort.nearest
