"""The measure affine: accuracy on warped test images, by one parameter and by groups up to the projective one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from capsbench.data.draws import draw_in_order
from capsbench.data.images import Images
from capsbench.data.warps import DRAWS, FAMILIES, Outside, choose_outside, warp_images
from capsbench.measures.affine.effort import IMAGES
from capsbench.measures.affine.spec import SPEC
from capsbench.measures.base import Measure, Subject
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores, match_labels, predict_classes

CHOICE_SEED, WARPS_SEED = 0, 4
"""The seeds of the choice of test images and of their warps, the same in every experiment."""

WARPED = 16
"""The batches whose images are warped at once."""

SHOWN = 8
"""The most images kept for a picture, one a class."""


class Affine(Measure):
    """Accuracy under rotation, translation, scale, shear and four groups of warps, by magnitude, and the area under the curve.

    Test images are warped by each of `capsbench.data.warps.FAMILIES` at several levels from 0, the images as they are, to the
    family's largest, evenly spaced. All contenders get the same images and warps. ``light`` warps a stratified draw of at most
    500 test images at 4 levels besides 0, ``full`` all of them at 8, ``quick`` 200 at 2. The area under the curve, by the
    trapezoidal rule, is divided by the largest level: it is a mean accuracy. Divided by the accuracy at level 0 as well, it is
    the accuracy that is retained, for networks that differ before any warp.

    If a data set has ``clean`` test images beside warped ones (affNIST), the clean ones are warped.
    Pixels from outside an image are 0 if at least half of the pixels along the edges of the test images are 0, as with ink on an
    empty ground; otherwise they repeat the edge.

    Kept beside the record: the indices of the images, ``right`` ``[N, families, levels]`` (correct predictions, in the order of
    the families), and a few warped images for a picture.
    """

    spec = SPEC

    settings: ClassVar[tuple[str, ...]] = ("light", "full", "quick")
    cost: ClassVar[dict[str, int]] = {"light": 9_000, "full": 220_000, "quick": 2_000}

    levels: ClassVar[dict[str, int]] = {"light": 4, "full": 8, "quick": 2}
    """Setting -> levels besides 0."""

    def __call__(self, subject: Subject) -> list[Row]:
        everything = subject.data.beside.get("clean", subject.data.test)
        outside = choose_outside(everything.images)
        which = choose_images(everything.labels, IMAGES[self.setting])
        test = Images(everything.images[which], everything.labels[which])
        drawn = draw_numbers(len(everything.labels))[which]
        steps = self.levels[self.setting]

        unwarped = _predict_warped(subject, test, None, outside)
        rows: list[Row] = []
        predictions_of: dict[str, list[Tensor]] = {}
        for name, family in FAMILIES.items():
            levels = [family.largest * step / steps for step in range(steps + 1)]
            predictions_of[name] = [unwarped]
            for level in levels[1:]:
                homographies = family.build_homographies(drawn, level, *test.images.shape[2:])
                predictions_of[name].append(_predict_warped(subject, test, homographies, outside))
            accuracies = [
                float(match_labels(predicted, test.labels).double().mean()) for predicted in predictions_of[name]
            ]
            rows += _build_rows(name, levels, accuracies)

        correct = torch.stack(
            [
                torch.stack([match_labels(predicted, test.labels) for predicted in swept])
                for swept in predictions_of.values()
            ]
        )
        subject.keep(
            {
                "image": which.to(torch.int32),
                "right": correct.permute(2, 0, 1),
                **_make_picture(test, drawn, outside, predictions_of),
            }
        )
        return rows


def _build_rows(family: str, levels: list[float], accuracies: list[float]) -> list[Row]:
    rows = [
        Row("affine", "accuracy", family, accuracy, "fraction", level)
        for level, accuracy in zip(levels, accuracies, strict=True)
    ]
    curve = torch.tensor([levels, accuracies], dtype=torch.float64)
    area = float(torch.trapezoid(curve[1], curve[0])) / levels[-1]
    rows.append(Row("affine", "area under the curve", family, area, "fraction"))
    if accuracies[0] > 0:
        rows.append(Row("affine", "retained accuracy", family, area / accuracies[0], "ratio"))
    return rows


def choose_images(labels: Tensor, most: int | None) -> Tensor:
    """Returns at most so many indices in ascending order: a stratified draw, the same in every experiment."""
    return draw_in_order(labels, most, CHOICE_SEED)


def draw_numbers(count: int) -> Tensor:
    """Returns the numbers ``[count, DRAWS]`` in [0, 1) that warp the images: the first ones of a stream that never changes."""
    return torch.from_numpy(np.random.RandomState(WARPS_SEED).random_sample((count, DRAWS)))


def _predict_warped(subject: Subject, test: Images, homographies: Tensor | None, outside: Outside) -> Tensor:
    """Predicts the classes of images after their warps ``[N, 3, 3]``, or without a warp."""
    predictions = []
    # Many batches of the cell's size at a time: a warp is a dozen small operations, whatever the number of images.
    for which in torch.arange(len(test.labels)).split(WARPED * subject.cell.batch_size):
        images, labels = test.images[which], test.labels[which]
        if homographies is not None:
            images = warp_images(images, homographies[which].to(images.device), outside)
        scores = compute_scores(subject.cell, subject.network, images)
        predictions.append(predict_classes(scores, labels, capsules=subject.cell.has_routing))
    return torch.cat(predictions)


def _make_picture(
    test: Images, drawn: Tensor, outside: Outside, predictions_of: dict[str, list[Tensor]]
) -> dict[str, Tensor]:
    """Returns the first image of up to `SHOWN` classes: unwarped, then by each family at half its largest level and at it.

    - ``picture.images`` ``[1 + 2 families, classes, C, H, W]``, uint8: from the least of the pixels to the greatest
    - ``picture.labels`` ``[classes]``, or ``[classes, K]``
    - ``picture.predictions`` ``[1 + 2 families, classes]``, or ``[1 + 2 families, classes, K]``
    """
    first = test.labels.view(len(test.labels), -1)[:, 0]
    which = torch.stack([(first == label).nonzero()[0, 0] for label in first.unique()[:SHOWN]]).cpu()
    images = test.images[which]
    pictures, predictions = [images], [predictions_of[next(iter(FAMILIES))][0][which]]
    for name, family in FAMILIES.items():
        for part in (2, 1):
            matrices = family.build_homographies(drawn[which], family.largest / part, *images.shape[2:])
            pictures.append(warp_images(images, matrices.to(images.device), outside))
            predictions.append(predictions_of[name][(len(predictions_of[name]) - 1) // part][which])
    low, high = images.aminmax()
    grey = (torch.stack(pictures) - low) / (high - low).clamp(min=1e-6)
    return {
        "picture.images": (255 * grey).clamp(0, 255).round().to(torch.uint8),
        "picture.labels": test.labels[which].to(torch.int32),
        "picture.predictions": torch.stack(predictions).to(torch.int32),
    }
