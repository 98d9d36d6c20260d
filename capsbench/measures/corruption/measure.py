"""The measure corruption: error on test images under the corruptions of CIFAR-10-C and MNIST-C."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from capsbench.data.draws import draw_in_order
from capsbench.data.images import ImageShape
from capsbench.measures.base import Measure, Subject
from capsbench.measures.corruption.spec import CLEAN, CORRUPTION, ERROR, IMAGES, MEAN, MEAN_ERROR, SPEC
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores, match_labels, predict_classes

CHOICE_SEED = 0
"""The seed of the choice of test images, the same in every experiment."""


SHAPES = (ImageShape(3, 32, 32), ImageShape(1, 28, 28))
"""The images of CIFAR-10-C and of MNIST-C."""


class Corruption(Measure):
    """Error under the corruptions of CIFAR-10-C (Hendrycks, Dietterich 2019), or on grey images of MNIST-C (Mu, Gilmer 2019).

    It applies to data sets of 32x32 colour images, with CIFAR-10-C's corruptions at severities 1 to 5, and of 28x28 grey images,
    with MNIST-C's, each at its one severity: the parameters of both are in pixels of these sizes. Corruptions that need
    photographs, a codec or an edge detector are left out (`capsbench.measures.corruption.cifar10_c.LEFT_OUT`,
    `capsbench.measures.corruption.mnist_c.LEFT_OUT`). The images are a fixed stratified draw of at most 2,000 test images
    (``full``: all, ``quick``: 200). Random numbers depend on the corruption, the severity and the place of the image in the
    test set, so all networks see the same images.

    ``error`` is the share of the images classified wrongly, under each corruption at each severity (the level) and ``clean``.
    ``mean error`` is the mean over the severities of a corruption, and ``mean`` that of all corruptions. The section of a report
    divides by the CNN's.

    Kept beside the record: ``image``, the indices of the test images, and ``wrong`` ``[N, corruptions, severities]``.
    """

    spec = SPEC

    settings: ClassVar[tuple[str, ...]] = tuple(IMAGES)
    cost: ClassVar[dict[str, int]] = {"light": 60_000, "full": 300_000, "quick": 6_000}

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        dataset = dataset_of(cell)
        return super().applies_to(cell) and dataset.image in SHAPES and not dataset.standardised

    def __call__(self, subject: Subject) -> list[Row]:
        # SciPy and Pillow take long to import, and the list of measures does without them.
        from capsbench.measures.corruption.benchmarks import BENCHMARKS, corrupt_images, from_pixels, to_pixels

        test = subject.data.test
        benchmark = BENCHMARKS[ImageShape(*test.images.shape[1:])]
        which = draw_in_order(test.labels, IMAGES[self.setting], CHOICE_SEED)
        images, labels = test.images[which], test.labels[which]
        pixels = to_pixels(images)

        def find_wrong(shown: Tensor) -> Tensor:
            scores = compute_scores(subject.cell, subject.network, shown)
            predictions = predict_classes(scores, labels, capsules=subject.cell.has_routing)
            return ~match_labels(predictions, labels)

        rows = [Row(CORRUPTION, ERROR, CLEAN, _compute_share(find_wrong(images)), "fraction")]
        wrong, means = [], []
        for name in benchmark.names:
            by_severity = []
            for severity in benchmark.severities:
                corrupted = corrupt_images(benchmark, pixels, which.tolist(), name, severity or 0)
                by_severity.append(find_wrong(from_pixels(corrupted).to(images)))
                level = None if severity is None else float(severity)
                rows.append(Row(CORRUPTION, ERROR, name, _compute_share(by_severity[-1]), "fraction", level))
            wrong.append(torch.stack(by_severity, dim=1))
            means.append(_compute_share(wrong[-1]))
            rows.append(Row(CORRUPTION, MEAN_ERROR, name, means[-1], "fraction"))
        rows.append(Row(CORRUPTION, MEAN_ERROR, MEAN, sum(means) / len(means), "fraction"))
        subject.keep({"image": which.to(torch.int32), "wrong": torch.stack(wrong, dim=1)})
        return rows


def _compute_share(which: Tensor) -> float:
    return float(which.double().mean())
