"""The measure transfer: adversarial images of one network shown to others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from capsbench.attacks.campaign import Campaign
from capsbench.attacks.descent import make_descent
from capsbench.attacks.effort import DRAW_SEED, EFFORTS
from capsbench.attacks.library import explain_missing
from capsbench.attacks.readings import Pixels
from capsbench.attacks.threats import Threat, bounds_of
from capsbench.data.draws import draw_stratified
from capsbench.data.images import Images
from capsbench.measures.adversarial.measure import Adversarial
from capsbench.measures.adversarial.spec import ADVERSARIAL
from capsbench.measures.base import MeasureBetween, Subject
from capsbench.measures.transfer.spec import SPEC
from capsbench.networks.build import parameter_dtype
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores


class Transfer(MeasureBetween):
    """The share of the images that mislead one network of a run and mislead another one too.

    The source is attacked in L-infinity at the headline epsilon of the data set, by projected gradient descent with the
    cross-entropy through every reading of its output; an image stays as the first success left it. Shown to a target are only
    images that the source has right and that the attack made it take for another class: ``images`` is their number.
    ``accuracy`` is the target's on them, and ``success rate`` the share that fools it of those that it has right as they are.

    The test images are those of the measure `adversarial` in the same setting. Where the target has that on record,
    ``beyond white box`` counts the images that fool it by transfer and that no attack on itself broke: above 0, those attacks
    were too weak.
    """

    spec = SPEC

    settings = tuple(EFFORTS)
    cost: ClassVar[dict[str, int]] = {"light": 4_000, "full": 160_000, "quick": 1_000}

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return Adversarial.applies_to(cell)

    @classmethod
    def missing(cls) -> str | None:
        return explain_missing()

    def between(self, source: Subject, targets: Sequence[Subject]) -> list[list[Row]]:
        effort, test = EFFORTS[self.setting], source.data.test
        epsilon = bounds_of(source.cell.dataset, Threat.LINF).headline
        index = draw_stratified(test.labels.cpu(), min(effort.images, len(test.labels)), DRAW_SEED).to(
            test.labels.device
        )
        pixels = Pixels.from_images(test.images, standardised=dataset_of(source.cell).standardised)
        chosen = Images(test.images[index], test.labels[index])
        campaign = Campaign(source.cell, source.network, chosen, pixels, {Threat.LINF: epsilon})
        attack = make_descent(source.cell.dataset, epsilon, effort)
        for reading in campaign.readings:
            campaign.run_attack(attack, reading, ~campaign.find_broken(Threat.LINF, epsilon))
        fooled = campaign.find_broken(Threat.LINF, epsilon) & ~campaign.wrong
        adversarial = pixels.from_unit(campaign.examples[Threat.LINF])
        misleading = Shown(index[fooled], chosen.images[fooled], adversarial[fooled], chosen.labels[fooled])
        white_box = ADVERSARIAL if self.setting == self.settings[0] else f"{ADVERSARIAL}:{self.setting}"
        return [misleading.measure_target(target, source.cell.id, epsilon, white_box) for target in targets]


class Shown:
    """Images that misled a source, to be shown to targets.

    Args:
        index: their indices in the test set, ``[N]``.
        clean, adversarial: before and after the attack, ``[N, C, H, W]``, as networks take them.
        labels: ``[N]``.
    """

    def __init__(self, index: Tensor, clean: Tensor, adversarial: Tensor, labels: Tensor) -> None:
        self.index, self.clean, self.adversarial, self.labels = index, clean, adversarial, labels

    def measure_target(self, target: Subject, source: str, epsilon: float, measure: str) -> list[Row]:
        """Returns the rows of one target, whose condition is the source's cell.

        Args:
            measure: the attacks on the target itself, whose images are the same.
        """
        rows = [Row("transfer", "images", source, len(self.labels), "images", epsilon)]
        if len(self.labels) == 0:
            return rows
        before, after = self._find_correct(target, self.clean), self._find_correct(target, self.adversarial)
        rows.append(Row("transfer", "accuracy", source, float(after.double().mean()), "fraction", epsilon))
        if before.any():
            fooled = float((~after)[before].double().mean())
            rows.append(Row("transfer", "success rate", source, fooled, "fraction", epsilon))
        white_box = target.kept(measure)
        if white_box:
            withstood = white_box["index"][~white_box[f"broken.{Threat.LINF}"]].to(self.index)
            beyond = before & ~after & torch.isin(self.index, withstood)
            rows.append(Row("transfer", "beyond white box", source, float(beyond.sum()), "images", epsilon))
        return rows

    def _find_correct(self, target: Subject, images: Tensor) -> Tensor:
        images = images.to(parameter_dtype(target.cell))
        return compute_scores(target.cell, target.network, images).argmax(dim=1) == self.labels
