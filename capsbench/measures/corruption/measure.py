"""The measure corruption: error on test images under the corruptions of CIFAR-10-C and MNIST-C."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from capsbench.data.draws import draw_stratified
from capsbench.data.images import ImageShape
from capsbench.measures.base import Measure, Subject
from capsbench.measures.corruption import cifar10_c, mnist_c
from capsbench.measures.corruption.filters import WHITE, Image
from capsbench.measures.corruption.spec import CLEAN, CORRUPTION, ERROR, IMAGES, MEAN, MEAN_ERROR, SPEC
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores, match_labels, predict_classes

CHOICE_SEED, CORRUPTION_SEED = 0, 5
"""The seeds of the choice of test images and of their corruptions, the same in every experiment."""


class Benchmark(NamedTuple):
    """The corruptions of a published benchmark, and the levels of their rows: the severities, or None where there is one."""

    names: Iterable[str]
    severities: tuple[int | None, ...]
    corrupt: Callable[[Image, str, int, np.random.RandomState], Image]


BENCHMARKS: dict[ImageShape, Benchmark] = {
    ImageShape(3, cifar10_c.SIDE, cifar10_c.SIDE): Benchmark(
        cifar10_c.CORRUPTIONS, (1, 2, 3, 4, 5), cifar10_c.corrupt_image
    ),
    ImageShape(1, mnist_c.SIDE, mnist_c.SIDE): Benchmark(mnist_c.CORRUPTIONS, (None,), mnist_c.corrupt_image),
}
"""Shape of an image -> the benchmark whose corruptions are made for it."""


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
        return super().applies_to(cell) and dataset.image in BENCHMARKS and not dataset.standardised

    def __call__(self, subject: Subject) -> list[Row]:
        test = subject.data.test
        benchmark = BENCHMARKS[ImageShape(*test.images.shape[1:])]
        most = min(IMAGES[self.setting] or len(test.labels), len(test.labels))
        which = draw_stratified(test.labels.cpu(), most, CHOICE_SEED).sort().values
        images, labels = test.images[which], test.labels[which]
        pixels = _to_pixels(images)

        def find_wrong(shown: Tensor) -> Tensor:
            predictions = predict_classes(compute_scores(subject.cell, subject.network, shown), labels)
            return ~match_labels(predictions, labels)

        rows = [Row(CORRUPTION, ERROR, CLEAN, _compute_share(find_wrong(images)), "fraction")]
        wrong, means = [], []
        for name in benchmark.names:
            by_severity = []
            for severity in benchmark.severities:
                corrupted = corrupt_images(benchmark, pixels, which.tolist(), name, severity or 0)
                by_severity.append(find_wrong(_from_pixels(corrupted).to(images)))
                level = None if severity is None else float(severity)
                rows.append(Row(CORRUPTION, ERROR, name, _compute_share(by_severity[-1]), "fraction", level))
            wrong.append(torch.stack(by_severity, dim=1))
            means.append(_compute_share(wrong[-1]))
            rows.append(Row(CORRUPTION, MEAN_ERROR, name, means[-1], "fraction"))
        rows.append(Row(CORRUPTION, MEAN_ERROR, MEAN, sum(means) / len(means), "fraction"))
        subject.keep({"image": which.to(torch.int32), "wrong": torch.stack(wrong, dim=1)})
        return rows


def corrupt_images(benchmark: Benchmark, pixels: Image, places: list[int], name: str, severity: int) -> Image:
    """Corrupts images ``[N, H, W]`` or ``[N, H, W, C]``, each with random numbers of its own place in the test set."""
    stream = zlib.crc32(name.encode())
    return np.stack(
        [
            benchmark.corrupt(image, name, severity, np.random.RandomState([CORRUPTION_SEED, stream, severity, place]))
            for image, place in zip(pixels, places, strict=True)
        ]
    )


def _to_pixels(images: Tensor) -> Image:
    """Converts ``[N, C, H, W]`` to ``[N, H, W, 3]`` or, grey, ``[N, H, W]``, at 256 levels as published images have."""
    levels = images.double().mul(WHITE).round().div(WHITE).cpu().numpy()
    return levels[:, 0] if levels.shape[1] == 1 else np.moveaxis(levels, 1, 3)


def _from_pixels(pixels: Image) -> Tensor:
    """Converts back to ``[N, C, H, W]``."""
    return torch.from_numpy(pixels[:, np.newaxis] if pixels.ndim == 3 else np.moveaxis(pixels, 3, 1).copy())


def _compute_share(which: Tensor) -> float:
    return float(which.double().mean())
