"""All attacks on one network, on the same images, and what they come to together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from capsbench.attacks.adapter import Attack, attacked
from capsbench.attacks.readings import Pixels, Reading, readings_of
from capsbench.attacks.threats import Threat
from capsbench.data.images import Images
from capsbench.records.cell import Cell
from capsbench.training.evaluate import compute_scores
from capsbench.training.step import use_precision

SEED = 0
"""Of whatever attacks draw: the same for all networks."""


class Run(NamedTuple):
    """One attack through one reading.

    - ``on`` ``[N]``, bool: the images that it is about
    - ``own``: whether they were chosen beforehand, so that its own number means something, rather than what others left
    - ``reach`` ``[N]``: the epsilon within which it broke an image; infinite where it did not
    - ``invalid`` ``[N]``, bool: those for which it gave no image (`capsbench.attacks.Attacked`)
    """

    attack: Attack
    reading: str
    on: Tensor
    own: bool
    reach: Tensor
    invalid: Tensor

    @property
    def broken(self) -> Tensor:
        """The images ``[N]`` that it broke."""
        return self.reach.isfinite()


class Campaign:
    """Attacks on a trained network, each noted image by image.

    Images that are misclassified as they are count as broken at any epsilon, and no attack is made on them.

    Args:
        images: as the network takes them, ``[N, C, H, W]``, with labels ``[N]``.
        pixels: the range of the network's images.
        headlines: the epsilon of each threat whose adversarial images are held on to.
    """

    def __init__(
        self, cell: Cell, network: nn.Module, images: Images, pixels: Pixels, headlines: dict[Threat, float]
    ) -> None:
        self.cell, self.network, self.pixels, self.headlines = cell, network, pixels, headlines
        self.images, self.labels = pixels.to_unit(images.images), images.labels
        self.readings = {name: Reading(network, name, pixels) for name in readings_of(cell)}
        self.predictions = self.predict_classes(self.images)
        self.wrong = self.predictions != self.labels
        self.runs: list[Run] = []
        self.examples = {threat: self.images.clone() for threat in headlines}

    def predict_classes(self, images: Tensor) -> Tensor:
        """The classes ``[N]`` that the network itself gives images in [0, 1]."""
        return compute_scores(self.cell, self.network, self.pixels.from_unit(images)).argmax(dim=1)

    def run(self, attack: Attack, reading: str, on: Tensor | None = None, *, own: bool = True, seed: int = SEED) -> Run:
        """Makes an attack on all images, or on some ``[N]`` of them, and notes it; see `Run`."""
        on = torch.ones_like(self.wrong) if on is None else on
        tried = on & ~self.wrong
        images, labels = self.images[tried], self.labels[tried]
        reach, invalid = torch.full_like(self.images[:, 0, 0, 0], torch.inf), torch.zeros_like(on)
        if len(labels):
            with use_precision(self.cell):
                found = attacked(attack, self.readings[reading], images, labels, seed=seed)
            broken = self.predict_classes(found.images) != labels
            distance = attack.threat.distance(found.images, images)
            needed = torch.full_like(distance, attack.epsilon) if attack.bounded else distance
            reach[tried] = needed.masked_fill(~broken, torch.inf)
            invalid[tried] = found.invalid
            if self.headlines.get(attack.threat) == attack.epsilon:
                self._hold(attack.threat, tried, found.images, broken)
        self.runs.append(Run(attack, reading, on, own, reach, invalid))
        return self.runs[-1]

    def _hold(self, threat: Threat, tried: Tensor, found: Tensor, broken: Tensor) -> None:
        """Holds on to the first adversarial image of each image."""
        first = broken & (self.examples[threat][tried] == self.images[tried]).flatten(1).all(dim=1)
        self.examples[threat][tried.nonzero().squeeze(1)[first]] = found[first]

    def broken(self, threat: Threat, epsilon: float, runs: Iterable[Run] | None = None) -> Tensor:
        """The images ``[N]`` misclassified as they are, or within an epsilon by any of some runs; by default of all.

        An image that is broken within a smaller epsilon is broken within a larger one.
        """
        broken = self.wrong.clone()
        for run in self.runs if runs is None else runs:
            if run.attack.threat.ball is threat.ball:
                broken |= run.reach <= epsilon
        return broken

    def accuracy(self, run: Run) -> float:
        """The share of a run's images that are still classified right."""
        return float((~(run.broken | self.wrong))[run.on].double().mean())

    def white_box(self) -> list[Run]:
        """The runs that follow a gradient."""
        return [run for run in self.runs if run.attack.white_box]
