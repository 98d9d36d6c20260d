"""The measure detection: adversarial images detected by the distance to their reconstruction."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from capsbench.attacks.adapter import Attack, perturb_images
from capsbench.attacks.campaign import SEED
from capsbench.attacks.descent import make_descent
from capsbench.attacks.effort import DRAW_SEED, EFFORTS
from capsbench.attacks.library import explain_missing
from capsbench.attacks.readings import Reading
from capsbench.attacks.reconstructive import attack_reconstruction, reconstruct_images
from capsbench.attacks.threats import Threat, bounds_of, can_be_misled
from capsbench.data.draws import draw_stratified
from capsbench.errors import TrainingFailed
from capsbench.measures.base import Measure, Subject
from capsbench.measures.detection.spec import SPEC
from capsbench.networks.base import CapsuleNetwork
from capsbench.records.cell import Cell
from capsbench.records.record import Row
from capsbench.training.step import use_precision

FALSE_POSITIVES = 0.05
"""The share of validation images above the threshold."""

SHOWN = 8
"""The most images kept for pictures."""


class Detection(Measure):
    """Detection of adversarial images by the class-conditional reconstruction, and the attack that reconstructs well.

    The decoder reconstructs an image from the winning class capsule. An image counts as adversarial if its L2 distance to the
    reconstruction is larger than that of 95 % of the validation images (Frosst, Sabour, Hinton 2018). Correctly classified test
    images are attacked in L-infinity, at the published epsilon of the data set (``full``: at its whole sweep), by

    - ``pgd``: projected gradient descent with the cross-entropy of ``log(a_j / sum_k a_k)``, without regard to detection;
    - ``reconstructive``: as many steps that also reduce the distance to the reconstruction (Qin et al. 2020,
      `capsbench.attacks.reconstructive`).

    ``success rate`` is the share of the attacked images that become wrong, ``adversarial images`` their count, and
    ``undetected rate`` the share that becomes wrong and stays below the threshold, in the ``worst case`` by either attack.
    ``detected`` is the share of the successful ones above the threshold, and ``AUROC`` says how well the distance separates them
    from clean test images. ``false positives`` is the share of clean test images above the threshold.

    Kept beside the record: ``image`` (which test images were attacked), their ``clean`` distances, the distance after each attack
    at the published epsilon and whether it fooled the network, and ``shown``, a few images and their reconstructions. Where no
    image is right there is nothing to attack, and the threshold and the false positives are all.
    """

    spec = SPEC

    settings = tuple(EFFORTS)
    cost: ClassVar[dict[str, int]] = {"light": 5_000, "full": 500_000, "quick": 1_500}

    clean: ClassVar[dict[str, int]] = {"light": 1000, "full": 10000, "quick": 200}
    """Setting -> clean images of validation and test at most."""

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return cell.has_routing and cell.reconstruction and can_be_misled(cell)

    @classmethod
    def missing(cls) -> str | None:
        return explain_missing()

    def __call__(self, subject: Subject) -> list[Row]:
        cell, network, data, effort = subject.cell, subject.network, subject.data, EFFORTS[self.setting]
        assert isinstance(network, CapsuleNetwork)
        network.eval()
        bounds = bounds_of(cell.dataset, Threat.LINF)

        validation = reconstruct_with_classes(
            cell, network, data.validation.images[_draw_images(data.validation.labels, self.clean[self.setting])]
        )
        threshold = float(validation.distances.double().quantile(1 - FALSE_POSITIVES))
        which = _draw_images(data.test.labels, self.clean[self.setting])
        clean = reconstruct_with_classes(cell, network, data.test.images[which])
        rows = [
            Row("detection", "threshold", "validation", threshold, "L2"),
            Row("detection", "false positives", "test", _compute_share(clean.distances > threshold), "fraction"),
        ]

        # The draw comes in an order of which each beginning is stratified too.
        attacked = torch.arange(len(which), device=which.device) < effort.images
        attacked &= clean.classes == data.test.labels[which]
        images, labels = data.test.images[which[attacked]], data.test.labels[which[attacked]]
        tensors = {"image": which[attacked].to(torch.int32), "clean": clean.distances[attacked]}
        pictures = [images[:SHOWN], clean.images[attacked][:SHOWN]]
        epsilons = bounds.sweep if effort.every else (bounds.published,)
        for epsilon in epsilons if len(labels) else ():
            passed = torch.zeros_like(labels, dtype=torch.bool)
            for name, adversarial in _run_attacks(
                cell, network, images, labels, make_descent(cell.dataset, epsilon, effort)
            ).items():
                after = reconstruct_with_classes(cell, network, adversarial)
                fooled = after.classes != labels
                rows += _build_rows(name, epsilon, fooled, after.distances, clean.distances, threshold)
                passed |= fooled & (after.distances <= threshold)
                if epsilon == bounds.published:
                    tensors |= {name: after.distances, f"{name} fooled": fooled}
                    pictures += [adversarial[:SHOWN], after.images[:SHOWN]]
            rows.append(Row("detection", "undetected rate", "worst case", _compute_share(passed), "fraction", epsilon))
        subject.keep({**tensors, "shown": torch.stack(pictures, dim=1)})
        return rows


class Reconstructed(NamedTuple):
    """The predicted classes ``[N]`` of images, their reconstructions, and the distances to these ``[N]``."""

    classes: Tensor
    images: Tensor
    distances: Tensor


@torch.no_grad()
def reconstruct_with_classes(cell: Cell, network: CapsuleNetwork, images: Tensor) -> Reconstructed:
    """Reconstructs images, a batch at a time; raises TrainingFailed for distances that are not finite."""
    parts = []
    for batch in images.split(cell.batch_size):
        with use_precision(cell):
            reconstructed = reconstruct_images(network, batch)
        parts.append(
            (reconstructed.activations.argmax(dim=1), reconstructed.images, reconstructed.measure_distance(batch))
        )
    classes, reconstructions, distances = (torch.cat(part) for part in zip(*parts, strict=True))
    if not distances.isfinite().all():
        raise TrainingFailed("the network's reconstructions are not finite")
    return Reconstructed(classes, reconstructions, distances)


def _run_attacks(
    cell: Cell, network: CapsuleNetwork, images: Tensor, labels: Tensor, attack: Attack
) -> dict[str, Tensor]:
    """Returns name of the attack -> adversarial images; all attacks have the settings of one."""
    settings = dict(epsilon=attack.epsilon, step=attack.step_size)
    with use_precision(cell):
        return {
            "pgd": perturb_images(attack, Reading(network, "share"), images, labels, seed=SEED),
            "reconstructive": attack_reconstruction(network, images, labels, steps=attack.steps, seed=SEED, **settings),
        }


def _build_rows(
    name: str, epsilon: float, fooled: Tensor, distances: Tensor, clean: Tensor, threshold: float
) -> list[Row]:
    """Returns the rows of one attack; without a success, those of detection are left out."""
    passed = fooled & (distances <= threshold)
    values = {"success rate": _compute_share(fooled), "undetected rate": _compute_share(passed)}
    if fooled.any():
        values["detected"] = _compute_share(distances[fooled] > threshold)
        values["AUROC"] = compute_auroc(clean, distances[fooled])
    rows = [Row("detection", metric, name, value, "fraction", epsilon) for metric, value in values.items()]
    return [*rows, Row("detection", "adversarial images", name, float(fooled.sum()), "images", epsilon)]


def compute_auroc(clean: Tensor, adversarial: Tensor) -> float:
    """Returns the area under the ROC curve: the probability that an adversarial image has a larger distance than a clean one."""
    from sklearn.metrics import roc_auc_score  # takes a second to import

    truth = torch.cat([torch.zeros_like(clean), torch.ones_like(adversarial)])
    return float(roc_auc_score(truth.cpu(), torch.cat([clean, adversarial]).cpu()))


def _draw_images(labels: Tensor, most: int) -> Tensor:
    """Returns the indices of a stratified draw of at most so many images."""
    return draw_stratified(labels.cpu(), min(most, len(labels)), DRAW_SEED).to(labels.device)


def _compute_share(which: Tensor) -> float:
    return float(which.double().mean())
