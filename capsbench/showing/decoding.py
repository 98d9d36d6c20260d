"""Reconstructions of test images, and class capsules decoded with one value changed at a time (Sabour 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from capsbench.data.augment import Augmented
from capsbench.data.images import Images
from capsbench.networks.base import SelfSupervised
from capsbench.networks.transforming_autoencoder import TransformingNetwork
from capsbench.presenting.figures.classes import label_classes
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.figures.style import MISLED, in_style
from capsbench.showing.scene import DoesNotApplyError, Scene
from capsbench.showing.sheet import Band, Label, Sheet, to_bytes
from capsbench.training.evaluate import list_classes

REACH, STEP = 0.25, 0.05
"""A value is changed by -REACH to REACH in steps of STEP (Sabour 2017, section 5.1)."""

SIDE_BY_SIDE = 2
"""Number of images whose dimensions are drawn."""

MOST_DIMENSIONS = 32
"""The most values of a capsule that are drawn."""

LABEL_WIDTH = 24
"""Room for the classes above a reconstruction, in points."""

NO_CLASS = "none"
"""Stands for the classes of an image that shows none of them."""

MOST_COLUMNS = 16
"""The most columns of images in a band."""


class Column(NamedTuple):
    """An image, and the class capsules that it is reconstructed from."""

    image: int
    labels: list[int]
    predictions: list[int]
    decoded: list[int]


@in_style()
def draw_reconstructions(scene: Scene) -> Picture:
    """Draws test images and the decoder's reconstructions from their class capsules (Sabour 2017, figure 3)."""
    if isinstance(scene.network, SelfSupervised):
        return _draw_transformed(scene)
    scene.decoder  # noqa: B018
    bands = []
    labels = label_classes(scene.classes, LABEL_WIDTH / (1 if scene.labels.dim() == 1 else 2))
    correct = [number for number in scene.selected if number not in scene.misclassified]
    for numbers in (correct, scene.misclassified):
        for groups in _break_lines(_list_columns(scene, numbers)):
            bands.append(_make_band(scene, groups, labels.words))
    if scene.has_any_number:
        described = (
            "from the capsules of the classes after 'decoded as' together; all other capsules are masked. A misclassified image "
            "(its prediction is red) is reconstructed from those of the predicted classes and from those of its labels."
        )
    else:
        described = (
            "from one class capsule, that of the class after 'decoded as'; all other capsules are masked. "
            f"{'Each object is reconstructed alone. ' if scene.labels.dim() > 1 else ''}A misclassified image (its prediction is "
            "red) is reconstructed from the capsule of each predicted class and of each label."
        )
    notes = f"{_describe_errors(scene)}{labels.note}{scene.tones_note}"
    caption = f"Above: test images. Below: their reconstructions {described}{notes}"
    return stack_bands(bands).to_picture("Inputs and reconstructions", caption)


def stack_bands(bands: list[Band]) -> Sheet:
    """Returns a sheet of bands, one below the other."""
    sheet = Sheet(bands)
    for place, band in enumerate(bands):
        sheet.add_space(0.1 if place else 0)
        sheet.draw_band(band)
    return sheet


def _describe_errors(scene: Scene) -> str:
    return "" if scene.misclassified else " The search found no misclassified image."


def _list_columns(scene: Scene, numbers: list[int]) -> list[list[Column]]:
    """Returns for each image a column per predicted class, then one per label that is not predicted.

    Of any number of classes it is a column of all predicted classes, and one of all labels if they are others.
    """
    if not numbers:
        return []
    predictions = list_classes(scene.predict_labels(scene.images[numbers]))
    labels = list_classes(scene.labels[numbers])
    groups = []
    for number, predicted, present in zip(numbers, predictions, labels, strict=True):
        if scene.has_any_number:
            decoded = [predicted, *([present] if present != predicted else [])]
        else:
            decoded = [[class_] for class_ in [*predicted, *(label for label in present if label not in predicted)]]
        groups.append([Column(number, present, predicted, classes) for classes in decoded])
    return groups


def _break_lines(groups: list[list[Column]]) -> list[list[list[Column]]]:
    """Returns groups in lines of similar length, each of at most `MOST_COLUMNS` columns."""
    total = sum(map(len, groups))
    most = math.ceil(total / math.ceil(total / MOST_COLUMNS)) if groups else 0
    lines: list[list[list[Column]]] = []
    for group in groups:
        longer = sum(map(len, lines[-1])) + len(group) if lines else 0
        if not lines or longer > max(most, min(MOST_COLUMNS, most + len(group) - 1)):
            lines.append([])
        lines[-1].append(group)
    return lines


def _make_band(scene: Scene, groups: list[list[Column]], words: Sequence[str]) -> Band:
    """Returns the inputs and reconstructions of a line of columns, with their labels and predictions.

    Args:
        words: the text of each class.
    """
    columns = [column for group in groups for column in group]
    images = scene.images[[column.image for column in columns]]
    poses = scene.compute_poses(images)
    mask = torch.zeros(poses.shape[:2], dtype=torch.bool)
    for row, column in zip(mask, columns, strict=True):
        row[column.decoded] = True
    reconstructions = scene.decode_poses(poses, mask.to(images.device))
    gaps: list[float] = []
    for group in groups:
        gaps += [0.3 if gaps else 0.0, *[0.06] * (len(group) - 1)]
    names = {"test image": [str(column.image) for column in columns]}
    heads: dict[str, list[Label]] = {
        "label": [join_classes(column.labels, words) for column in columns],
        "prediction": [
            join_classes(column.predictions, words)
            if column.predictions == column.labels
            else (join_classes(column.predictions, words), MISLED)
            for column in columns
        ],
        "decoded as": [join_classes(column.decoded, words) for column in columns],
    }
    low, high = scene.find_tones(images)
    tiles = torch.stack([to_bytes(images, low, high), to_bytes(reconstructions, low, high)])
    return Band(tiles, gaps, ["input", "reconstruction"], {**names, **heads})


def join_classes(classes: Sequence[int], words: Sequence[str]) -> str:
    """Returns the texts of some classes, one after the other."""
    return " ".join(words[class_] for class_ in classes) or NO_CLASS


def _draw_transformed(scene: Scene) -> Picture:
    """Draws pairs of images, and a transforming auto-encoder's outputs for the first image of each pair."""
    network = scene.network
    assert isinstance(network, SelfSupervised)
    if not isinstance(network, TransformingNetwork):
        raise DoesNotApplyError("the outputs of the network have no known meaning outside its own objective")
    indices = torch.tensor(scene.selected)
    pairs = Augmented(
        Images(scene.images, scene.labels), network.augmentations(), torch.Generator().manual_seed(0)
    ).build_batch(indices)
    assert pairs.targets is not None
    with torch.no_grad():
        identity, transformed = network(pairs.images), network(pairs.images, pairs.transforms)
    low, high = scene.find_tones(pairs.images)
    rows = (pairs.images, identity, pairs.targets, transformed)
    tiles = torch.stack([to_bytes(row, low, high) for row in rows])
    bands = []
    for start in range(0, len(indices), MOST_COLUMNS):
        part = tiles[:, start : start + MOST_COLUMNS]
        gaps = [0.0, *[0.06] * (part.shape[1] - 1)]
        names = ["input", "identity", "target", "transformed"]
        numbers = [str(number) for number in scene.selected[start : start + MOST_COLUMNS]]
        bands.append(Band(part, gaps, names, {"test image": numbers}))
    caption = (
        "Test images, moved as in training (input), and the outputs of the network: under the identity transformation "
        "(identity), and under the transformation that leads to the target (transformed)."
        f"{scene.tones_note}"
    )
    return stack_bands(bands).to_picture("Reconstructed and transformed images", caption)


@in_style()
def draw_dimensions(scene: Scene) -> Picture:
    """Draws reconstructions as each value of a class capsule changes (Sabour 2017, section 5.1, figure 4)."""
    numbers = scene.selected[:SIDE_BY_SIDE]
    images = scene.images[numbers]
    poses = scene.compute_poses(images)
    classes = scene.find_winners(images)
    steps = round(2 * REACH / STEP) + 1
    changes = torch.linspace(-REACH, REACH, steps)
    changes[steps // 2] = 0  # linspace leaves a rounding error
    winners = poses[torch.arange(len(numbers)), classes].flatten(1)
    factors = torch.linalg.vector_norm(winners, dim=1).clamp_min(1)
    decoded = decode_perturbed(scene, poses, classes, changes.to(poses) * factors[:, None])
    values = decoded.shape[1]
    drawn = list(range(values))
    if values > MOST_DIMENSIONS:
        effect = (decoded[:, :, 0] - decoded[:, :, -1]).square().sum(dim=(0, 2, 3, 4))
        drawn = sorted(effect.topk(MOST_DIMENSIONS).indices.tolist())
    tones = scene.find_tones(images)
    blocks = [
        to_bytes(decoded[place, drawn], *(tone[place] if isinstance(tone, Tensor) else tone for tone in tones))
        for place in range(len(numbers))
    ]
    tiles = torch.cat(blocks, dim=1)
    gaps = [0.0, *[0.04] * (steps - 1)]
    gaps = gaps + [0.6, *gaps[1:]] * (len(numbers) - 1)
    marked = {0, steps // 2, steps - 1}
    heads = [f"{float(change):+.2f}" if place in marked else "" for place, change in enumerate(changes)]
    heads[steps // 2] = "0"
    middles = [""] * steps * len(numbers)
    for place, (number, class_) in enumerate(zip(numbers, classes.tolist(), strict=True)):
        middles[place * steps + steps // 2] = f"test image {number}, capsule of class {scene.classes[class_]}"
    rows, columns = poses.shape[2:]
    names = [f"{1 + value // columns},{1 + value % columns}" if rows > 1 else str(1 + value) for value in drawn]
    band = Band(tiles, gaps, names, {"": middles, "changed by": heads * len(numbers)})
    sheet = Sheet([band])
    sheet.draw_band(band, between=0.04)
    caption = (
        "A row for each value of the winning class capsule's pose; a column for each change of that value, from -0.25 to 0.25 in "
        "steps of 0.05. The middle column is the unchanged reconstruction. All other values stay the same, and all other class "
        f"capsules are masked.{_describe_units(factors)}{_describe_selection(values)}{scene.tones_note}"
    )
    return sheet.to_picture("Dimensions of a class capsule, changed one by one", caption)


def _describe_units(factors: Tensor) -> str:
    if float(factors.max()) == 1:
        return ""
    lengths = " and ".join(f"{float(factor):.3g}" for factor in factors)
    return f" These poses are longer than 1, so the changes are in units of their lengths, {lengths}."


def _describe_selection(values: int) -> str:
    if values <= MOST_DIMENSIONS:
        return ""
    return f" Of {values} values, the {MOST_DIMENSIONS} with the largest effect are shown."


def decode_perturbed(scene: Scene, poses: Tensor, classes: Tensor, changes: Tensor) -> Tensor:
    """Returns reconstructions ``[N, values, steps, C, H, W]`` from one class capsule each, with one value of its pose changed.

    Args:
        poses: of the class capsules, ``[N, classes, R, E]``.
        classes: the class whose capsule is decoded, ``[N]``.
        changes: added to a value, ``[N, steps]``.
    """
    count, total = poses.shape[:2]
    values = poses[0, 0].numel()
    steps = changes.shape[1]
    moves = torch.einsum("ns,vw->nvsw", changes, torch.eye(values, dtype=poses.dtype, device=poses.device))
    is_decoded = torch.nn.functional.one_hot(classes, total).to(poses.dtype)
    changed = poses.flatten(2)[:, None, None] + is_decoded[:, None, None, :, None] * moves[:, :, :, None, :]
    flat = changed.flatten(0, 2).unflatten(2, poses.shape[2:])
    images = scene.decode_poses(flat, classes.repeat_interleave(values * steps))
    return images.unflatten(0, (count, values, steps))
