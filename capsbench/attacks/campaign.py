"""All attacks on one network and the same images, and their combined result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from capsbench.attacks.adapter import Attack, attack_images
from capsbench.attacks.readings import Pixels, Reading, list_readings
from capsbench.attacks.threats import Threat
from capsbench.data.images import Images
from capsbench.records.cell import Cell
from capsbench.training.evaluate import compute_scores
from capsbench.training.step import use_precision

SEED = 0
"""The seed of all attacks, equal for all networks."""


class Run(NamedTuple):
    """One attack through one reading.

    - ``on`` ``[N]``, bool: the attacked images
    - ``own``: True if the images were chosen beforehand, so that the run's accuracy is meaningful; False if other runs left them
    - ``reach`` ``[N]``: the epsilon within which the run broke an image; infinite if it did not
    - ``invalid`` ``[N]``, bool: the images for which the attack returned an invalid one (`capsbench.attacks.Attacked`)
    """

    attack: Attack
    reading: str
    on: Tensor
    own: bool
    reach: Tensor
    invalid: Tensor

    @property
    def broken(self) -> Tensor:
        """Mask ``[N]`` of images that the run broke."""
        return self.reach.isfinite()


class Campaign:
    """Attacks on a trained network, recorded image by image.

    Clean images that are misclassified count as broken at any epsilon, and are not attacked.

    Args:
        images: the network's input images ``[N, C, H, W]``, with labels ``[N]``.
        pixels: the range of the network's images.
        headlines: the epsilon of each threat at which adversarial images are kept.
    """

    def __init__(
        self, cell: Cell, network: nn.Module, images: Images, pixels: Pixels, headlines: dict[Threat, float]
    ) -> None:
        self.cell, self.network, self.pixels, self.headlines = cell, network, pixels, headlines
        self.images, self.labels = pixels.to_unit(images.images), images.labels
        self.readings = {name: Reading(network, name, pixels) for name in list_readings(cell)}
        self.predictions = self.predict_classes(self.images)
        self.wrong = self.predictions != self.labels
        self.runs: list[Run] = []
        self.examples = {threat: self.images.clone() for threat in headlines}

    def predict_classes(self, images: Tensor) -> Tensor:
        """Returns the classes ``[N]`` that the network predicts for images in [0, 1]."""
        return compute_scores(self.cell, self.network, self.pixels.from_unit(images)).argmax(dim=1)

    def run_attack(
        self, attack: Attack, reading: str, on: Tensor | None = None, *, own: bool = True, seed: int = SEED
    ) -> Run:
        """Attacks all images, or those of a mask ``[N]``, and records the result; arguments as in `Run`."""
        on = torch.ones_like(self.wrong) if on is None else on
        tried = on & ~self.wrong
        images, labels = self.images[tried], self.labels[tried]
        reach, invalid = torch.full_like(self.images[:, 0, 0, 0], torch.inf), torch.zeros_like(on)
        if len(labels):
            with use_precision(self.cell):
                result = attack_images(attack, self.readings[reading], images, labels, seed=seed)
            # The network's prediction decides, not the reading's, which may round near activations to equal logits.
            broken = self.predict_classes(result.images) != labels
            distance = attack.threat.measure_distance(result.images, images)
            needed = torch.full_like(distance, attack.epsilon) if attack.bounded else distance
            reach[tried] = needed.masked_fill(~broken, torch.inf)
            invalid[tried] = result.invalid
            if self.headlines.get(attack.threat) == attack.epsilon:
                self._keep_examples(attack.threat, tried, result.images, broken)
        self.runs.append(Run(attack, reading, on, own, reach, invalid))
        return self.runs[-1]

    def try_attack(self, attack: Attack, reading: str) -> None:
        """Attacks two images and forgets the result, so that an attack that fails does so before hours of others."""
        with use_precision(self.cell):
            attack_images(attack, self.readings[reading], self.images[:2], self.labels[:2], seed=SEED)

    def _keep_examples(self, threat: Threat, tried: Tensor, examples: Tensor, broken: Tensor) -> None:
        """Keeps the first adversarial image of each image."""
        first = broken & (self.examples[threat][tried] == self.images[tried]).flatten(1).all(dim=1)
        self.examples[threat][tried.nonzero().squeeze(1)[first]] = examples[first]

    def find_broken(self, threat: Threat, epsilon: float, runs: Iterable[Run] | None = None) -> Tensor:
        """Returns a mask ``[N]`` of images misclassified when clean, or broken within epsilon by one of the runs (default: all).

        An image that is broken within a smaller epsilon is broken within a larger one.
        """
        broken = self.wrong.clone()
        for run in self.runs if runs is None else runs:
            if run.attack.threat.ball is threat.ball:
                broken |= run.reach <= epsilon
        return broken

    def compute_accuracy(self, run: Run) -> float:
        """Returns the fraction of a run's images that are still classified correctly."""
        return float((~(run.broken | self.wrong))[run.on].double().mean())

    def list_white_box(self) -> list[Run]:
        """Returns the runs that follow a gradient."""
        return [run for run in self.runs if run.attack.white_box]
