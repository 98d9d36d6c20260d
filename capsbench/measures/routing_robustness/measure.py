"""The measure routing-robustness: attacks on the votes alone, and other numbers of iterations at test time."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from capsbench import registry
from capsbench.attacks.adapter import perturb_images
from capsbench.attacks.campaign import SEED
from capsbench.attacks.descent import make_descent
from capsbench.attacks.effort import DRAW_SEED, EFFORTS, Effort
from capsbench.attacks.library import explain_missing
from capsbench.attacks.readings import Pixels, Reading
from capsbench.attacks.routing import remove_routing, set_iterations
from capsbench.attacks.threats import Threat, bounds_of, can_be_misled
from capsbench.data.draws import draw_stratified
from capsbench.measures.base import Measure, Subject
from capsbench.measures.routing_robustness.spec import SPEC
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores
from capsbench.training.step import use_precision


class RoutingRobustness(Measure):
    """Robust accuracy under the vote attack, and at each number of routing iterations at test time.

    All attacks are projected gradient descent in L-infinity with the cross-entropy of ``log(a_j / sum_k a_k)``, on the images of
    the measure `adversarial`; they differ in the network that the gradient is taken of.

    - ``vote attack`` (Gu, Wu, Tresp 2021): the network without its routing (`capsbench.attacks.routing.remove_routing`), whose
      own accuracy is that of ``mean votes``. The adversarial images are then shown to the unchanged network.
    - ``output attack``: the unchanged network. If the vote attack leaves less, routing had hidden the gradient.
    - ``iterations at test time``, with their number as the level: the same weights routed by that many iterations, attacked at
      the headline epsilon through all of them, and their accuracy on clean images.

    An image counts as robust if it is correct before and after. One reading and one loss are no worst case; for that there is the
    measure `adversarial`.
    """

    spec = SPEC

    settings = tuple(EFFORTS)
    cost: ClassVar[dict[str, int]] = {"light": 5_000, "full": 400_000, "quick": 1_500}

    iterations: ClassVar[dict[str, tuple[int, ...]]] = {
        "light": (1, 2, 3),
        "full": (1, 2, 3, 4, 5),
        "quick": (1, 3),
    }
    """Setting -> iterations at test time; those of the training are always added."""

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        if cell.routing is None or not can_be_misled(cell):
            return False
        routing = registry.get("routing", cell.routing)
        return routing.iterative or routing.vote_attack is not None

    @classmethod
    def missing(cls) -> str | None:
        return explain_missing()

    def __call__(self, subject: Subject) -> list[Row]:
        cell, effort = subject.cell, EFFORTS[self.setting]
        bounds = bounds_of(cell.dataset, Threat.LINF)
        epsilons = bounds.sweep if effort.every else (bounds.headline,)
        attacked = Attacked.from_subject(subject, effort)

        rows: list[Row] = []
        votes = remove_routing(cell, subject.network)
        if votes is not None:
            rows.append(_make_row("accuracy", "mean votes", attacked.compute_accuracy(votes)))
            for epsilon in epsilons:
                robust = attacked.compute_robust_accuracy(subject.network, votes, epsilon)
                rows.append(_make_row("robust accuracy", "vote attack", robust, epsilon))
        outputs = {
            epsilon: attacked.compute_robust_accuracy(subject.network, subject.network, epsilon) for epsilon in epsilons
        }
        rows += [_make_row("robust accuracy", "output attack", robust, epsilon) for epsilon, robust in outputs.items()]

        if registry.get("routing", cell.routing or "").iterative:
            for iterations in sorted({*self.iterations[self.setting], cell.iterations or 1}):
                network = set_iterations(cell, subject.network, iterations)
                robust = (
                    outputs[bounds.headline]
                    if iterations == cell.iterations
                    else attacked.compute_robust_accuracy(network, network, bounds.headline)
                )
                rows.append(
                    _make_row("accuracy", "iterations at test time", attacked.compute_accuracy(network), iterations)
                )
                rows.append(_make_row("robust accuracy", "iterations at test time", robust, iterations))
        return rows


class Attacked(NamedTuple):
    """Test images in [0, 1] that attacks start from, and the conversion to the network's pixels."""

    cell: Cell
    images: Tensor
    labels: Tensor
    pixels: Pixels
    effort: Effort

    @classmethod
    def from_subject(cls, subject: Subject, effort: Effort) -> Attacked:
        """Returns the test images that the measure `adversarial` attacks with the same effort."""
        test = subject.data.test
        standardised = dataset_of(subject.cell).standardised
        pixels = Pixels.from_images(test.images, standardised=standardised)
        chosen = draw_stratified(test.labels.cpu(), min(effort.images, len(test.labels)), DRAW_SEED).to(
            test.labels.device
        )
        return cls(subject.cell, pixels.to_unit(test.images[chosen]), test.labels[chosen], pixels, effort)

    def find_correct(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Returns true for the images, in [0, 1], that a network classifies correctly."""
        return compute_scores(self.cell, network, self.pixels.from_unit(images)).argmax(dim=1) == labels

    def compute_accuracy(self, network: nn.Module) -> float:
        return float(self.find_correct(network, self.images, self.labels).double().mean())

    def compute_robust_accuracy(self, network: nn.Module, source: nn.Module, epsilon: float) -> float:
        """Returns the share of images classified correctly before and after an attack with the gradients of ``source``."""
        attack = make_descent(self.cell.dataset, epsilon, self.effort)
        before = self.find_correct(network, self.images, self.labels)
        images, labels = self.images[before], self.labels[before]
        with use_precision(self.cell):
            adversarial = perturb_images(attack, Reading(source, "share", self.pixels), images, labels, seed=SEED)
        after = self.find_correct(network, adversarial, labels) if len(labels) else torch.zeros(0)
        return float(after.double().sum()) / len(self.labels)


def _make_row(metric: str, condition: str, value: float, level: float | None = None) -> Row:
    return Row("routing-robustness", metric, condition, value, "fraction", level)
