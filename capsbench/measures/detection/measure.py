"""Whether adversarial images give themselves away by how badly they are reconstructed."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from capsbench.attacks.adapter import Attack, explain_missing, perturb_images
from capsbench.attacks.campaign import SEED
from capsbench.attacks.descent import make_descent
from capsbench.attacks.effort import DRAW_SEED, EFFORTS
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
"""The share of validation images that the threshold takes for adversarial."""

SHOWN = 8
"""Images kept for pictures."""


class Detection(Measure):
    """Detection of adversarial images by the class-conditional reconstruction, and the attack that reconstructs well.

    The decoder makes an image of the class capsule that wins. An image that is far from it in L2, farther than 95 % of the
    validation images are from theirs, is taken to be adversarial (Frosst, Sabour, Hinton 2018). Test images that are right are
    attacked in L-infinity, at the published epsilon of the data set (``full``: at all of its sweep), by

    - ``pgd``: projected gradient descent with the cross-entropy of ``log(a_j / sum_k a_k)``, which knows nothing of detection;
    - ``reconstructive``: as many steps that also bring the image near its reconstruction (Qin et al. 2020,
      `capsbench.attacks.reconstructive`).

    ``success rate`` is the share of the attacked images that become wrong, ``adversarial images`` their number, and
    ``undetected rate`` the share of those that do and pass for clean, in the ``worst case`` by either attack. ``detected`` is
    the share of the successful ones that do not pass, and ``AUROC`` how well the distance tells these from clean test images.
    ``false positives`` is the rate at which clean test images do not pass.

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

        validation = looked_at(
            cell, network, data.validation.images[_some(data.validation.labels, self.clean[self.setting])]
        )
        threshold = float(validation.distances.double().quantile(1 - FALSE_POSITIVES))
        which = _some(data.test.labels, self.clean[self.setting])
        clean = looked_at(cell, network, data.test.images[which])
        rows = [
            Row("detection", "threshold", "validation", threshold, "L2"),
            Row("detection", "false positives", "test", _share(clean.distances > threshold), "fraction"),
        ]

        # The draw comes in an order of which each beginning is stratified too.
        attacked = torch.arange(len(which), device=which.device) < effort.images
        attacked &= clean.classes == data.test.labels[which]
        images, labels = data.test.images[which[attacked]], data.test.labels[which[attacked]]
        kept = {"image": which[attacked].to(torch.int32), "clean": clean.distances[attacked]}
        shown = [images[:SHOWN], clean.images[attacked][:SHOWN]]
        epsilons = bounds.sweep if effort.every else (bounds.published,)
        for epsilon in epsilons if len(labels) else ():
            passed = torch.zeros_like(labels, dtype=torch.bool)
            for name, found in _attacks(
                cell, network, images, labels, make_descent(cell.dataset, epsilon, effort)
            ).items():
                after = looked_at(cell, network, found)
                fooled = after.classes != labels
                rows += _rows(name, epsilon, fooled, after.distances, clean.distances, threshold)
                passed |= fooled & (after.distances <= threshold)
                if epsilon == bounds.published:
                    kept |= {name: after.distances, f"{name} fooled": fooled}
                    shown += [found[:SHOWN], after.images[:SHOWN]]
            rows.append(Row("detection", "undetected rate", "worst case", _share(passed), "fraction", epsilon))
        subject.keep({**kept, "shown": torch.stack(shown, dim=1)})
        return rows


class Looked(NamedTuple):
    """Of images: the classes they are taken for ``[N]``, their reconstructions, and how far these are from them ``[N]``."""

    classes: Tensor
    images: Tensor
    distances: Tensor


@torch.no_grad()
def looked_at(cell: Cell, network: CapsuleNetwork, images: Tensor) -> Looked:
    """What the network makes of images, a batch at a time; raises TrainingFailed if any of it is not finite."""
    parts = []
    for batch in images.split(cell.batch_size):
        with use_precision(cell):
            made = reconstruct_images(network, batch)
        parts.append((made.activations.argmax(dim=1), made.images, made.measure_distance(batch)))
    classes, reconstructions, distances = (torch.cat(part) for part in zip(*parts, strict=True))
    if not distances.isfinite().all():
        raise TrainingFailed("the network's reconstructions are not finite")
    return Looked(classes, reconstructions, distances)


def _attacks(cell: Cell, network: CapsuleNetwork, images: Tensor, labels: Tensor, attack: Attack) -> dict[str, Tensor]:
    """Adversarial images by the name of the attack, all with the settings of one."""
    settings = dict(epsilon=attack.epsilon, step=attack.step_size)
    with use_precision(cell):
        return {
            "pgd": perturb_images(attack, Reading(network, "share"), images, labels, seed=SEED),
            "reconstructive": attack_reconstruction(network, images, labels, steps=attack.steps, seed=SEED, **settings),
        }


def _rows(name: str, epsilon: float, fooled: Tensor, distances: Tensor, clean: Tensor, threshold: float) -> list[Row]:
    """The numbers of one attack; without a success there is none of detection."""
    passed = fooled & (distances <= threshold)
    values = {"success rate": _share(fooled), "undetected rate": _share(passed)}
    if fooled.any():
        values["detected"] = _share(distances[fooled] > threshold)
        values["AUROC"] = auroc(clean, distances[fooled])
    rows = [Row("detection", metric, name, value, "fraction", epsilon) for metric, value in values.items()]
    return [*rows, Row("detection", "adversarial images", name, float(fooled.sum()), "images", epsilon)]


def auroc(clean: Tensor, adversarial: Tensor) -> float:
    """The area under the ROC curve: how likely an adversarial image is farther from its reconstruction than a clean one."""
    from sklearn.metrics import roc_auc_score  # takes a second to import

    truth = torch.cat([torch.zeros_like(clean), torch.ones_like(adversarial)])
    return float(roc_auc_score(truth.cpu(), torch.cat([clean, adversarial]).cpu()))


def _some(labels: Tensor, most: int) -> Tensor:
    """Indices of a stratified draw of at most so many images."""
    return draw_stratified(labels.cpu(), min(most, len(labels)), DRAW_SEED).to(labels.device)


def _share(which: Tensor) -> float:
    return float(which.double().mean())
