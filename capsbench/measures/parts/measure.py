"""The measure parts: whether a trained network routes parts to wholes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from capsbench.data.draws import draw_stratified
from capsbench.measures.base import Measure, Subject
from capsbench.measures.parts.effort import DEAD_BELOW, IMAGES
from capsbench.measures.parts.spec import SPEC
from capsbench.networks.observation import (
    LEAST,
    ObservedLayer,
    compute_relative_entropy,
    divide_by_sum,
    observe_routings,
)
from capsbench.records.cell import Cell
from capsbench.records.record import Row
from capsbench.training.step import use_precision

SEED = 0
"""The seed of the draw of images, the same for all cells."""

AT_A_TIME = 5
"""The number of images in a batch, because all votes of a layer are in memory at once."""


class Parts(Measure):
    """How the routing of each layer shares children among parents, which capsules are dead, and the rank of the votes.

    The condition of a row is the layer. Shares are those of the last iteration; children count as much as they are active, and
    parents, too. `capsbench.networks.observation` observes the network itself, whatever its routing.

    - ``coupling entropy``: of the shares of a child among its parents, divided by that of equal shares; also by iteration,
      which is the level.
    - ``image dependence``: how much less entropy the shares of a child have in an image than their mean over images, divided
      by the entropy of equal shares. It is the mutual information of image and parent; 0 if all images have the same shares.
    - ``effective children``: the exponential of the entropy of what a parent gets from each child.
    - ``dead children``, ``dead parents``: share of the capsules that are never more active than `DEAD_BELOW`. A capsule is a
      type at a position.
    - ``vote rank``: the effective rank (Roy, Vetterli 2007) of the votes for a parent, a row a child. ``routed vote rank`` is
      that of the votes as the parent sums them, and ``numerical vote rank`` is `compute_numerical_rank` of the first.

    What has no value is left out: ranks if votes are empty, and numbers of a layer without any active capsule.
    """

    spec = SPEC

    settings = tuple(IMAGES)
    cost: ClassVar[dict[str, int]] = {"light": 3_000, "full": 100_000, "quick": 500}

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return super().applies_to(cell) and cell.has_routing

    def __call__(self, subject: Subject) -> list[Row]:
        test, most = subject.data.beside.get("clean", subject.data.test), IMAGES[self.setting]
        count = len(test.labels) if most is None else min(most, len(test.labels))
        chosen = draw_stratified(test.labels.cpu(), count, SEED).to(test.images.device)
        subject.network.eval()
        diagnoses: dict[str, Diagnosis] = {}
        for batch in chosen.split(AT_A_TIME):
            with use_precision(subject.cell):
                layers = observe_routings(subject.network, test.images[batch], spectra=True)
            for layer in layers:
                diagnoses.setdefault(layer.name, Diagnosis()).add_batch(layer)
        return [row for name, diagnosis in diagnoses.items() for row in diagnosis.make_rows(name)]


class Mean:
    """A weighted mean, of values that come in batches."""

    def __init__(self) -> None:
        self.total = self.weight = 0.0

    def add(self, values: Tensor, weights: Tensor) -> None:
        """Adds values and their weights, of one shape."""
        self.total += float((values.double() * weights.double()).sum())
        self.weight += float(weights.double().sum())

    @property
    def value(self) -> float | None:
        """The mean; None if all weights are 0."""
        return self.total / self.weight if self.weight > LEAST else None


class Diagnosis:
    """The numbers of one layer, summed over batches of images."""

    def __init__(self) -> None:
        self.entropy: list[Mean] = []
        self.ranks = {metric: Mean() for metric in ("vote rank", "routed vote rank", "numerical vote rank")}
        self.children = Mean()
        self.sums: Tensor | float = 0.0
        self.most: dict[str, Tensor] = {}

    def add_batch(self, layer: ObservedLayer) -> None:
        """Adds the numbers of a layer that was observed on some images."""
        active = layer.activations  # [B, P, I]
        self.entropy = self.entropy or [Mean() for _ in layer.shares]
        for mean, shares in zip(self.entropy, layer.shares, strict=True):
            mean.add(compute_relative_entropy(divide_by_sum(shares)), active)
        parts = divide_by_sum(layer.shares[-1])
        self.sums = self.sums + (parts * active[..., None]).double().sum(dim=0)  # [P, I, J]

        received = layer.shares[-1][..., : layer.parents] * active[..., None]
        self.children.add(count_effective(received.transpose(2, 3)), layer.outcomes)
        for metric, capsules in (("dead children", layer.below), ("dead parents", layer.outcomes)):
            most = capsules.amax(dim=0)
            self.most[metric] = torch.maximum(self.most.get(metric, most), most)
        if layer.spectrum is not None and layer.routed_spectrum is not None and layer.spectrum.shape[-1]:
            weights = layer.outcomes.to(layer.spectrum.device)
            self.ranks["vote rank"].add(count_effective(layer.spectrum), weights)
            self.ranks["routed vote rank"].add(count_effective(layer.routed_spectrum), weights)
            self.ranks["numerical vote rank"].add(compute_numerical_rank(layer.spectrum, active.shape[2]), weights)

    def make_rows(self, layer: str) -> Iterator[Row]:
        """Yields the rows of the layer of this name."""
        entropy = [mean.value for mean in self.entropy]
        numbers: dict[str, float | None] = {
            "coupling entropy": entropy[-1],
            "image dependence": self._compute_image_dependence(),
            "effective children": self.children.value,
            **{metric: float((most <= DEAD_BELOW).double().mean()) for metric, most in self.most.items()},
            **{metric: mean.value for metric, mean in self.ranks.items()},
        }
        units = {metric.name: metric.unit for metric in SPEC.metrics}
        for metric, value in numbers.items():
            if value is not None:
                yield Row(SPEC.name, metric, layer, value, units[metric])
        for iteration, value in enumerate(entropy, start=1):
            if value is not None:
                yield Row(SPEC.name, "coupling entropy", layer, value, units["coupling entropy"], iteration)

    def _compute_image_dependence(self) -> float | None:
        """Returns the entropy of a child's mean shares over images, less the mean of its entropy in each image."""
        in_an_image = self.entropy[-1].value
        if in_an_image is None or not isinstance(self.sums, Tensor):
            return None
        mean = Mean()
        mean.add(compute_relative_entropy(divide_by_sum(self.sums)), self.sums.sum(dim=-1))
        # Jensen's inequality holds exactly, and its two sides differ by rounding errors if all images are alike.
        return None if mean.value is None else max(0.0, mean.value - in_an_image)


def count_effective(values: Tensor) -> Tensor:
    """Returns the exponential of the entropy of values ``[..., K]`` divided by their sum: K if all are equal, 1 for one.

    Of singular values it is the effective rank of Roy and Vetterli (2007, "The effective rank").
    """
    parts = divide_by_sum(values)
    return torch.exp(math.log(max(2, values.shape[-1])) * compute_relative_entropy(parts))


def compute_numerical_rank(singular_values: Tensor, rows: int) -> Tensor:
    """Returns the number of singular values ``[..., V]`` of matrices ``[rows, V]`` that exceed rounding errors of float32.

    A value counts above the largest times max(rows, V) times the machine epsilon, as in `numpy.linalg.matrix_rank`.
    """
    size = max(rows, singular_values.shape[-1])
    tolerance = singular_values.amax(dim=-1, keepdim=True) * size * torch.finfo(torch.float32).eps
    return (singular_values > tolerance).sum(dim=-1)
