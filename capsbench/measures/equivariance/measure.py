"""The measure equivariance: predictions, features and poses under rotation, translation and scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from capsbench.data.draws import draw_stratified
from capsbench.data.warps import build_linear_parts, choose_outside, warp_images
from capsbench.errors import TrainingFailed
from capsbench.measures.base import Measure, Subject
from capsbench.measures.equivariance.effort import EFFORTS
from capsbench.measures.equivariance.spec import SPEC
from capsbench.networks.base import CapsuleNetwork
from capsbench.networks.features import last_input
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.step import use_precision

SEED = 0
"""The seed of the images and their transformations, the same for all cells."""

LEVELS: dict[str, tuple[float, ...]] = {
    "rotation": (5, 10, 20, 40),
    "translation": (5, 10, 15, 20),
    "scale": (5, 10, 20, 40),
}
"""Family -> its levels: degrees, percent of the image's side, percent of its size."""

DIRECTIONS: dict[str, tuple[tuple[float, ...], ...]] = {
    "rotation": ((1, 0, 0, 0), (-1, 0, 0, 0)),
    "translation": ((0, 1, 0, 0), (0, 0, 1, 0)),
    "scale": ((0, 0, 0, 1), (0, 0, 0, -1)),
}
"""Family -> the parameters (`make_matrices`) that a level multiplies."""

DRAWN = (20.0, 10.0, 10.0, 20.0)
"""The largest value drawn of each parameter that a regression predicts."""

FEWEST = 2
"""The fewest images for a regression: leaving each out in turn has to leave one."""

WIDTH = 16
"""The number of features of a regression: that of a class pose in Sabour 2017 and in Hinton 2018."""

PENALTIES = np.logspace(-8, 4, 13)
"""Ridge penalties tried, of features whose mean variance is 1."""

Array = np.ndarray[Any, Any]

COLUMNS = {family: list(np.flatnonzero(np.any(DIRECTIONS[family], axis=0))) for family in LEVELS}
"""Family -> which parameters are its own."""


class Equivariance(Measure):
    """Consistency of predictions under transformations, linear maps f(x) -> f(gx), and what a pose knows of g.

    Half of the images (a stratified draw of the test images) are fitted to; all numbers but consistency are of the other half.

    - ``consistency``: share of the images whose prediction is the same for x and gx; also of those that were right before.
    - ``map error``: of a linear map from f(x) to f(gx), one and the same for all images, found by ridge regression (Lenc,
      Vedaldi 2015): the squared error as a part of that of the mean of f(gx). Beside it that of the identity, which is as near
      to 0 if the network is invariant, and that of the mean of f(gx) among images of the same class: a map that is no better
      carries the class over and no more.
    - ``R^2``: how much of the parameters of g, drawn for each image anew, is explained by the pose of the winning class at gx.

    f is the layer of class poses of a capsule network and the input of the last layer with weights of a CNN, a feature map by
    its mean over positions. Parameters are found out by one ridge regression a class that wins, since the axes of a class's pose
    are that class's own, from its first `WIDTH` principal components. So a pose of 16 numbers counts whole, and is held
    against as many numbers of a CNN, those along which its features vary most among images of one class. Beside it the
    ``whole layer``, without regard to the class. Where class capsules have no poses, there is consistency alone.

    A level is the mean of two transformations: turns counter-clockwise and clockwise, shifts to the right and downwards, sizes
    larger and smaller. Quarter turns move pixels and interpolate nothing. A row without a level is the mean of the levels, and
    ``all`` that of the families without the quarter turns. What comes in from outside, and which images are taken where a data
    set has clean ones beside its test images, is as in the measure `affine`. Of fewer than 4 images, which leave fewer than
    `FEWEST` to fit to, there is consistency alone.
    """

    spec = SPEC

    settings = tuple(EFFORTS)
    cost: ClassVar[dict[str, int]] = {"light": 9_000, "full": 100_000, "quick": 4_000}

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return cell.loss is not None and dataset_of(cell).labels_an_image == 1

    def __call__(self, subject: Subject) -> list[Row]:
        from threadpoolctl import threadpool_limits  # type: ignore[import-not-found, import-untyped, unused-ignore]

        test, effort = subject.data.beside.get("clean", subject.data.test), EFFORTS[self.setting]
        chosen = draw_stratified(test.labels.cpu(), min(effort.images, len(test.labels)), SEED).to(test.labels.device)
        images, labels = test.images[chosen], test.labels[chosen]
        subject.network.eval()
        with threadpool_limits(subject.cell.threads):  # NumPy's threads are not torch's
            return [*_measure_fixed(subject, images, labels), *_measure_parameters(subject, images, effort.draws)]


class Outputs(NamedTuple):
    """The predicted classes ``[N]`` of images, and the layer that is f.

    The layer is ``[N, classes, values]`` of poses, ``[N, values]`` of the features of a CNN.
    """

    classes: Array
    layer: Array

    @property
    def whole(self) -> Array:
        return self.layer.reshape(len(self.layer), math.prod(self.layer.shape[1:]))

    @property
    def winner(self) -> Array:
        """The pose of the predicted class; for a CNN, all its features."""
        return self.layer[np.arange(len(self.layer)), self.classes] if self.layer.ndim == 3 else self.layer


@torch.no_grad()
def run_network(subject: Subject, images: Tensor) -> Outputs:
    """Runs the subject's network in evaluation mode; raises TrainingFailed for scores or features that are not finite."""
    network = subject.network
    parts = []
    with use_precision(subject.cell), last_input(network) as held:
        for batch in images.split(subject.cell.batch_size):
            if isinstance(network, CapsuleNetwork):
                capsules = network.capsules(batch)
                scores, layer = capsules.activations, capsules.poses.flatten(2)
            else:
                scores = network(batch)
                layer = held[0] if held else scores[:, :0]
                layer = layer.flatten(2).mean(dim=2) if layer.dim() > 2 else layer
            parts.append((scores.argmax(dim=1), layer.double()))
            if not (scores.isfinite().all() and layer.isfinite().all()):
                raise TrainingFailed("the network's scores or features are not finite")
    classes, layers = zip(*parts, strict=True)
    return Outputs(torch.cat(classes).cpu().numpy(), torch.cat(layers).cpu().numpy())


# Fixed transformations


def _measure_fixed(subject: Subject, images: Tensor, labels: Tensor) -> list[Row]:
    """Returns the consistency and the map errors under transformations that are the same for all images."""
    before = run_network(subject, images)
    true = labels.cpu().numpy()
    correct = before.classes == true
    numbers: dict[tuple[str, str], dict[str, dict[float, list[float]]]] = {}
    for family, level, transformed in _transform_images(images):
        after = run_network(subject, transformed)
        same = after.classes == before.classes
        numbers_at = {("consistency", ""): same.mean()}
        if correct.any():
            numbers_at["consistency", ", right before"] = same[correct].mean()
        errors = map_errors(before.whole, after.whole, true, len(images) // 2)
        numbers_at |= {("map error", f", {name}"): value for name, value in errors.items()}
        for kind, value in numbers_at.items():
            numbers.setdefault(kind, {}).setdefault(family, {}).setdefault(level, []).append(float(value))
    rows: list[Row] = []
    for (metric, which), families in numbers.items():
        unit = "fraction" if metric == "consistency" else "ratio"
        means: dict[str, float] = {}
        for family, levels in families.items():
            curve = {level: _compute_mean(values) for level, values in levels.items()}
            means[family] = _compute_mean(list(curve.values()))
            rows += [Row("equivariance", metric, family + which, value, unit, at) for at, value in curve.items()]
            rows.append(Row("equivariance", metric, family + which, means[family], unit))
        warps = [means[family] for family in LEVELS if family in means]
        rows.append(Row("equivariance", metric, "all" + which, _compute_mean(warps), unit))
    return rows


def _transform_images(images: Tensor) -> Iterator[tuple[str, float, Tensor]]:
    """Yields family, level and transformed images."""
    outside = choose_outside(images)
    for family, levels in LEVELS.items():
        for level in levels:
            for direction in DIRECTIONS[family]:
                yield (
                    family,
                    level,
                    warp_images(images, make_matrices(images, level * torch.tensor([direction])), outside),
                )
    if images.shape[2] == images.shape[3]:
        for turns in (1, 2, 3):
            yield "quarter turns", 90.0 * turns, torch.rot90(images, turns, (2, 3))


def make_matrices(images: Tensor, parameters: Tensor) -> Tensor:
    """Returns the warps ``[N, 2, 3]`` of images by parameters ``[N or 1, 4]``.

    The parameters are degrees, percent to the right, percent down and percent of size; a size of -25 undoes one of 25.
    """
    rotation, right, down, size = parameters.double().unbind(1)
    factor = torch.exp(size.sign() * torch.log1p(size.abs() / 100))
    height, width = images.shape[2:]
    shift = torch.stack([right * width, down * height], dim=1) / 100
    matrices = torch.cat(
        [build_linear_parts(rotation, torch.zeros_like(factor), factor, factor), shift[:, :, None]], dim=2
    )
    return matrices.expand(len(images), 2, 3).to(images.device)


def map_errors(x: Array, y: Array, labels: Array, half: int) -> dict[str, float]:
    """Returns the squared errors of maps from features x to y ``[N, F]``, relative to that of the mean of y.

    ``labels`` ``[N]`` are the classes of the images. Maps are fitted to the first ``half``; the others are held out. Empty if
    there are fewer than `FEWEST` of either, or if y does not vary.
    """
    fitted, held = y[:half], y[half:]
    if min(len(fitted), len(held)) < FEWEST:
        return {}
    total = _sum_squares(held - fitted.mean(axis=0))
    if total <= 1e-12 * _sum_squares(held):
        return {}
    of_class = np.repeat(fitted.mean(axis=0, keepdims=True), len(held), axis=0)
    for label in np.unique(labels[:half]):
        of_class[labels[half:] == label] = fitted[labels[:half] == label].mean(axis=0)
    maps = {"ridge": ridge_regression(x[:half], fitted, x[half:]), "identity": x[half:], "class mean": of_class}
    return {name: _sum_squares(held - estimates) / total for name, estimates in maps.items()}


def ridge_regression(x: Array, y: Array, at: Array) -> Array:
    """Returns the predictions of ridge regression of y ``[N, T]`` on x ``[N, F]`` at other points ``[M, F]``; ``[M, T]``.

    The penalty is that of `PENALTIES` with the least error when each point is left out in turn.
    """
    from sklearn.linear_model import RidgeCV  # takes a second to import

    centre = x.mean(axis=0)
    scale = np.sqrt((x - centre).var(axis=0).mean()) or 1.0
    fitted = RidgeCV(alphas=PENALTIES).fit((x - centre) / scale, y)
    predicted: Array = fitted.predict((at - centre) / scale)
    return predicted


# Parameters


def _measure_parameters(subject: Subject, images: Tensor, draws: int) -> list[Row]:
    """Returns R^2 of the parameters of g, all drawn together, predicted from the features of gx."""
    generator = torch.Generator().manual_seed(SEED)
    drawn = 2 * torch.rand(draws, len(images), len(DRAWN), generator=generator, dtype=torch.double) - 1
    outside = choose_outside(images)
    outputs = [
        run_network(subject, warp_images(images, make_matrices(images, drawn_part * torch.tensor(DRAWN)), outside))
        for drawn_part in drawn
    ]
    half = len(images) // 2
    if outputs[0].whole.shape[1] == 0 or half < FEWEST:
        return []
    fit, held = slice(None, half), slice(half, None)

    def join_parts(which: slice, arrays: Sequence[Array]) -> Array:
        return np.concatenate([array[which] for array in arrays])

    targets = list(drawn.numpy())
    fitted, true = join_parts(fit, targets), join_parts(held, targets)
    winners, wholes, classes = (
        [getattr(output, name) for output in outputs] for name in ("winner", "whole", "classes")
    )
    by_class = regression_by_class(
        join_parts(fit, winners), join_parts(fit, classes), fitted, join_parts(held, winners), join_parts(held, classes)
    )
    whole = ridge_regression(join_parts(fit, wholes), fitted, join_parts(held, wholes))
    rows: list[Row] = []
    for which, estimates in (("", by_class), (", whole layer", whole)):
        explained = {
            family: r_squared(true[:, columns], estimates[:, columns], fitted[:, columns].mean(axis=0))
            for family, columns in COLUMNS.items()
        }
        explained["all"] = _compute_mean(list(explained.values()))
        rows += [Row("equivariance", "R^2", name + which, value, "fraction") for name, value in explained.items()]
    return rows


def regression_by_class(x: Array, classes: Array, y: Array, at: Array, classes_at: Array) -> Array:
    """Returns ridge regressions of y on the first `WIDTH` principal components of x, one a class, at other points.

    A point of a class that has fewer than 2 to fit to gets the mean of y.
    """
    estimates = np.repeat(y.mean(axis=0, keepdims=True), len(at), axis=0)
    for label in np.unique(classes_at):
        of_class, there = classes == label, classes_at == label
        if of_class.sum() < 2:
            continue
        axes = np.linalg.svd(x[of_class] - x[of_class].mean(axis=0), full_matrices=False)[2][:WIDTH].T
        estimates[there] = ridge_regression(x[of_class] @ axes, y[of_class], at[there] @ axes)
    return estimates


def r_squared(true: Array, estimates: Array, mean: Array) -> float:
    """Returns the share of the squares of true values ``[N, T]`` about a mean ``[T]`` that estimates explain, at most 1."""
    return 1 - _sum_squares(true - estimates) / _sum_squares(true - mean)


def _sum_squares(values: Array) -> float:
    return float(np.square(values).sum())


def _compute_mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
