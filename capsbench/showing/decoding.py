"""Reconstructions beside their inputs, and the dimensions of a class capsule perturbed one by one (Sabour 2017)."""

from __future__ import annotations

import math
from typing import NamedTuple

import matplotlib as mpl
import torch
from torch import Tensor

from capsbench.data.augment import Augmented
from capsbench.data.images import Images
from capsbench.networks.base import SelfSupervised
from capsbench.networks.transforming_autoencoder import TransformingNetwork
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.figures.style import MISLED, STYLE
from capsbench.showing.scene import DoesNotApplyError, Scene
from capsbench.showing.sheet import Band, Sheet, Word, as_bytes

REACH, STEP = 0.25, 0.05
"""A dimension is perturbed by -REACH to REACH in steps of STEP (Sabour 2017, section 5.1)."""

SIDE_BY_SIDE = 2
"""Images of which the dimensions are shown."""

MOST_DIMENSIONS = 32
MOST_COLUMNS = 16
"""Columns of images in one band."""


class Column(NamedTuple):
    """An image and the class capsule that it is made from anew."""

    image: int
    labels: list[int]
    predicted: list[int]
    of: int


@mpl.rc_context(STYLE)
def reconstructions(scene: Scene) -> Picture:
    """Test images and what the decoder makes of their class capsules (Sabour 2017, figure 3)."""
    if isinstance(scene.network, SelfSupervised):
        return _transformed(scene)
    scene.decoder  # noqa: B018
    bands = []
    right = [number for number in scene.shown if number not in scene.wrong]
    for numbers in (right, scene.wrong):
        for columns in _broken(_columns(scene, numbers)):
            bands.append(_band(scene, columns))
    sheet = Sheet(bands)
    for number, band in enumerate(bands):
        sheet.skip(0.1 if number else 0)
        sheet.band(band)
    many = scene.labels.dim() > 1
    caption = (
        "Above: test images. Below: what the decoder makes of one class capsule, that of the class after 'decoded as', with all "
        f"others masked. {'Each object is reconstructed alone. ' if many else ''}"
        "Where the network is wrong (in red), that of each class that it sees and of each that is there, of the same image."
        f"{_about_wrong(scene)}{scene.about_tones}"
    )
    return sheet.picture("Reconstructions beside their inputs", caption)


def _about_wrong(scene: Scene) -> str:
    return "" if scene.wrong else " None of the images that were looked at is misclassified."


def _columns(scene: Scene, numbers: list[int]) -> list[list[Column]]:
    """Of each image a column for each class that is predicted, and for each that is there besides."""
    if not numbers:
        return []
    found = scene.predicted(scene.images[numbers])
    labels = scene.labels[numbers].view(len(numbers), -1)
    groups = []
    for number, own, there in zip(numbers, found.tolist(), labels.sort(dim=1).values.tolist(), strict=True):
        classes = [*own, *(label for label in there if label not in own)]
        groups.append([Column(number, there, own, each) for each in classes])
    return groups


def _broken(groups: list[list[Column]]) -> list[list[list[Column]]]:
    """Groups in lines of at most `MOST_COLUMNS` columns, about as long as one another."""
    total = sum(map(len, groups))
    most = math.ceil(total / math.ceil(total / MOST_COLUMNS)) if groups else 0
    lines: list[list[list[Column]]] = []
    for group in groups:
        longer = sum(map(len, lines[-1])) + len(group) if lines else 0
        if not lines or longer > max(most, min(MOST_COLUMNS, most + len(group) - 1)):
            lines.append([])
        lines[-1].append(group)
    return lines


def _band(scene: Scene, groups: list[list[Column]]) -> Band:
    columns = [column for group in groups for column in group]
    images = scene.images[[column.image for column in columns]]
    classes = torch.tensor([column.of for column in columns], device=images.device)
    made = scene.decoded(scene.poses(images), classes)
    gaps: list[float] = []
    for group in groups:
        gaps += [0.3 if gaps else 0.0, *[0.06] * (len(group) - 1)]
    names = {"test image": [str(column.image) for column in columns]}
    heads: dict[str, list[Word]] = {
        "label": [_joined(column.labels) for column in columns],
        "prediction": [
            _joined(column.predicted) if column.predicted == column.labels else (_joined(column.predicted), MISLED)
            for column in columns
        ],
        "decoded as": [str(column.of) for column in columns],
    }
    low, high = scene.tones(images)
    tiles = torch.stack([as_bytes(images, low, high), as_bytes(made, low, high)])
    return Band(tiles, gaps, ["input", "reconstruction"], {**names, **heads})


def _joined(classes: list[int]) -> str:
    return " ".join(map(str, classes))


def _transformed(scene: Scene) -> Picture:
    """Pairs of images and what a network makes of the first and of what leads to the second."""
    network = scene.network
    assert isinstance(network, SelfSupervised)
    if not isinstance(network, TransformingNetwork):
        raise DoesNotApplyError("what the network makes of images is known to its own objective alone")
    which = torch.tensor(scene.shown)
    pairs = Augmented(
        Images(scene.images, scene.labels), network.augmentations(), torch.Generator().manual_seed(0)
    ).build_batch(which)
    assert pairs.targets is not None
    with torch.no_grad():
        same, moved = network(pairs.images), network(pairs.images, pairs.transforms)
    low, high = scene.tones(pairs.images)
    tiles = torch.stack([as_bytes(each, low, high) for each in (pairs.images, same, pairs.targets, moved)])
    bands = []
    for start in range(0, len(which), MOST_COLUMNS):
        part = tiles[:, start : start + MOST_COLUMNS]
        gaps = [0.0, *[0.06] * (part.shape[1] - 1)]
        names = ["input", "as it is", "target", "transformed"]
        bands.append(
            Band(part, gaps, names, {"test image": [str(n) for n in scene.shown[start : start + MOST_COLUMNS]]})
        )
    sheet = Sheet(bands)
    for number, band in enumerate(bands):
        sheet.skip(0.1 if number else 0)
        sheet.band(band)
    caption = (
        "Test images, moved as in training (input), and what the network makes of them: under the transformation that changes "
        "nothing (as it is), and under that which leads to the target (transformed)."
        f"{scene.about_tones}"
    )
    return sheet.picture("Images made anew, and transformed", caption)


@mpl.rc_context(STYLE)
def dimensions(scene: Scene) -> Picture:
    """What the decoder makes of a class capsule as each of its values is changed (Sabour 2017, section 5.1, figure 4)."""
    numbers = scene.shown[:SIDE_BY_SIDE]
    images = scene.images[numbers]
    poses = scene.poses(images)
    classes = scene.predicted(images)[:, 0]
    steps = round(2 * REACH / STEP) + 1
    changes = torch.linspace(-REACH, REACH, steps)
    changes[steps // 2] = 0
    own = poses[torch.arange(len(numbers)), classes].flatten(1)
    factors = torch.linalg.vector_norm(own, dim=1).clamp_min(1)
    made = perturbed(scene, poses, classes, changes.to(poses) * factors[:, None])  # [images, values, steps, C, H, W]
    values = made.shape[1]
    kept = list(range(values))
    if values > MOST_DIMENSIONS:
        effect = (made[:, :, 0] - made[:, :, -1]).square().sum(dim=(0, 2, 3, 4))
        kept = sorted(effect.topk(MOST_DIMENSIONS).indices.tolist())
    tones = scene.tones(images)
    blocks = [
        as_bytes(made[place, kept], *(tone[place] if isinstance(tone, Tensor) else tone for tone in tones))
        for place in range(len(numbers))
    ]
    tiles = torch.cat(blocks, dim=1)
    gaps = [0.0, *[0.04] * (steps - 1)]
    gaps = gaps + [0.6, *gaps[1:]] * (len(numbers) - 1)
    marked = {0, steps // 2, steps - 1}
    heads = [f"{float(change):+.2f}" if place in marked else "" for place, change in enumerate(changes)]
    heads[steps // 2] = "0"
    middles = [""] * steps * len(numbers)
    for place, (number, of) in enumerate(zip(numbers, classes.tolist(), strict=True)):
        middles[place * steps + steps // 2] = f"test image {number}, capsule of class {of}"
    rows, columns = poses.shape[2:]
    names = [f"{1 + kept_ // columns},{1 + kept_ % columns}" if rows > 1 else str(1 + kept_) for kept_ in kept]
    band = Band(tiles, gaps, names, {"": middles, "changed by": heads * len(numbers)})
    sheet = Sheet([band])
    sheet.band(band, between=0.04)
    caption = (
        "A line for each value of the winning class capsule's pose, columns for what is added to it, from -0.25 to 0.25 in steps "
        "of 0.05; in the middle column the reconstruction as it is. All other values stay, and all other class capsules are "
        f"masked.{_about_units(factors)}{_about_kept(values)}{scene.about_tones}"
    )
    return sheet.picture("Dimensions of a class capsule, changed one by one", caption)


def _about_units(factors: Tensor) -> str:
    if float(factors.max()) == 1:
        return ""
    said = " and ".join(f"{float(factor):.3g}" for factor in factors)
    return f" These poses are longer than 1, so the changes are in units of their lengths, {said}."


def _about_kept(values: int) -> str:
    return "" if values <= MOST_DIMENSIONS else f" Of {values} values the {MOST_DIMENSIONS} with the largest effect."


def perturbed(scene: Scene, poses: Tensor, classes: Tensor, changes: Tensor) -> Tensor:
    """Reconstructions ``[N, values, steps, C, H, W]`` from one class capsule each, one value of its pose changed.

    Args:
        poses: of the class capsules, ``[N, classes, R, E]``.
        classes: which of them is reconstructed from, ``[N]``.
        changes: what is added to a value, ``[N, steps]``.
    """
    count, of = poses.shape[:2]
    values = poses[0, 0].numel()
    steps = changes.shape[1]
    moves = torch.einsum("ns,vw->nvsw", changes, torch.eye(values, dtype=poses.dtype, device=poses.device))
    chosen = torch.nn.functional.one_hot(classes, of).to(poses.dtype)
    changed = poses.flatten(2)[:, None, None] + chosen[:, None, None, :, None] * moves[:, :, :, None, :]
    flat = changed.flatten(0, 2).unflatten(2, poses.shape[2:])
    made = scene.decoded(flat, classes.repeat_interleave(values * steps))
    return made.unflatten(0, (count, values, steps))
