"""The measure transformation: transformed images of auto-encoders, and poses that follow the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from capsbench import registry
from capsbench.data.augment import Augmented
from capsbench.data.images import Batch
from capsbench.data.pairs import Pairs
from capsbench.measures.base import Measure, Subject
from capsbench.measures.transformation.spec import SPEC
from capsbench.networks.transforming_autoencoder import TransformingAutoencoder, TransformingNetwork
from capsbench.records.cell import Cell
from capsbench.records.record import Row
from capsbench.training.step import use_precision

PAIRS_SEED = 0
"""Draws the transformations of the test images: the same ones for all cells."""


class Transformation(Measure):
    """Squared error of test images transformed as told, beside two controls, and how far the poses of capsules follow.

    All numbers are taken ``inside`` the range that was trained on, with pairs as in training, and ``outside``, with targets
    beyond it (`capsbench.data.pairs`). The controls are the input as it is, and the mean of the targets, the best of all
    predictions that are the same for every image.

    Poses are read off both images of a pair. Their difference is regressed on what it should be: what the transformation
    makes of the first pose, less that pose (a shift itself; of a matrix its upper two rows). If poses follow, the slope is 1
    and R^2 is 1; both are 0 where nothing moves. A pair weighs what the presence in its images is, multiplied, since a
    capsule's pose means nothing where its entity is not.
    """

    spec = SPEC

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        # What has no loss has an objective of its own, and so is a network rather than a baseline.
        network = registry.get("network", cell.network) if cell.loss is None else None
        return isinstance(network, type) and issubclass(network, TransformingNetwork)

    def __call__(self, subject: Subject) -> list[Row]:
        network = subject.network
        assert isinstance(network, TransformingNetwork)
        network.eval()
        inside, outside = network.pairs, network.pairs.extend_range()
        rows = [*_measure_errors(subject, inside, "inside"), *_measure_errors(subject, outside, "outside")]
        if isinstance(network, TransformingAutoencoder):
            near, far = _sum_moments(subject, network, inside), _sum_moments(subject, network, outside)
            rows += [*_fit_parts(near, inside, "inside"), *_fit_parts(far, outside, "outside")]
            rows += _fit_capsules(near, inside, len(subject.data.test.labels))
        return rows


class Line(NamedTuple):
    """A line fitted by least squares: its slope, and the share of the variance that it explains."""

    slope: float
    r_squared: float


def fit_line(moments: Tensor) -> Line:
    """The line through points (x, y) of weight w, of the sums ``[6]`` of w, wx, wy, wxx, wyy, wxy; 0 where one is constant."""
    weight, x, y, xx, yy, xy = moments.tolist()
    if weight == 0:
        return Line(0.0, 0.0)
    x_varies, y_varies, both = xx - x * x / weight, yy - y * y / weight, xy - x * y / weight
    if min(x_varies, y_varies) <= 0:
        return Line(0.0, 0.0)
    return Line(both / x_varies, both**2 / (x_varies * y_varies))


def _make_batches(subject: Subject, pairs: Pairs) -> Iterator[Batch]:
    """The test images in pairs, a batch at a time."""
    test = subject.data.test
    augmented = Augmented(test, (pairs,), torch.Generator().manual_seed(PAIRS_SEED))
    for which in torch.arange(len(test.labels), device=test.images.device).split(subject.cell.batch_size):
        yield augmented.build_batch(which)


@torch.no_grad()
def _measure_errors(subject: Subject, pairs: Pairs, where: str) -> list[Row]:
    images = subject.data.test.images
    error, error_copied = 0.0, 0.0
    total, squares = torch.zeros(2, *images.shape[1:], dtype=torch.double, device=images.device)
    for batch in _make_batches(subject, pairs):
        assert batch.targets is not None
        with use_precision(subject.cell):
            output = subject.network(batch.images, batch.transforms)
        targets = batch.targets.double()
        error += float((output - targets).square().sum())
        error_copied += float((batch.images - targets).square().sum())
        total += targets.sum(dim=0)
        squares += targets.square().sum(dim=0)
    constant = float((squares - total**2 / len(images)).sum())
    rows: list[Row] = []
    for name, total_error in (
        (where, error),
        (f"{where}, copied input", error_copied),
        (f"{where}, mean image", constant),
    ):
        rows.append(Row("transformation", "squared error", name, total_error / len(images), "per image"))
        rows.append(
            Row("transformation", "squared error", f"{name}, a pixel", total_error / images.numel(), "per pixel")
        )
    return rows


@torch.no_grad()
def _sum_moments(subject: Subject, network: TransformingAutoencoder, pairs: Pairs) -> Tensor:
    """Sums ``[6, capsules, numbers]`` over the pairs, as `fit_line` needs them, for each number of each pose."""
    sums: Tensor | int = 0
    for batch in _make_batches(subject, pairs):
        assert batch.targets is not None
        assert batch.transforms is not None
        with use_precision(subject.cell):
            before, after = network.capsules(batch.images), network.capsules(batch.targets)
        poses = before.poses.double()
        x = (pairs.move_poses(poses, batch.transforms.double()) - poses).flatten(2)
        y = (after.poses.double() - poses).flatten(2)
        w = (before.activations.double() * after.activations.double()).unsqueeze(2).expand_as(x)
        sums = sums + torch.stack([w, w * x, w * y, w * x * x, w * y * y, w * x * y]).sum(dim=1)
    return torch.as_tensor(sums)


def _fit_parts(moments: Tensor, pairs: Pairs, where: str) -> list[Row]:
    """The lines of what transformations change of a pose, over all capsules."""
    lines = {part: fit_line(moments[:, :, numbers].sum(dim=(1, 2))) for part, numbers in pairs.parts.items()}
    return [row for part, fitted in lines.items() for row in _build_rows(fitted, f"{where}, {part}")]


def _fit_capsules(moments: Tensor, pairs: Pairs, count: int) -> list[Row]:
    """The line of each capsule, over all that transformations change of its pose, and its mean weight."""
    numbers = [number for part in pairs.parts.values() for number in part]
    rows: list[Row] = []
    for capsule, sums in enumerate(moments[:, :, numbers].unbind(dim=1)):
        where = f"inside, capsule {capsule}"
        rows += _build_rows(fit_line(sums.sum(dim=1)), where)
        rows.append(Row("transformation", "presence", where, float(sums[0, 0] / count), "fraction"))
    return rows


def _build_rows(fitted: Line, condition: str) -> list[Row]:
    return [
        Row("transformation", "slope", condition, fitted.slope, "ratio"),
        Row("transformation", "R^2", condition, fitted.r_squared, "fraction"),
    ]
