"""The predictions of a network for images at all rotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from capsbench.data.warps import build_linear_parts, choose_outside, warp_images
from capsbench.presenting.figures.classes import label_classes
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.figures.style import DASHES, INK, LINE, MISLED, PALE, PALETTE, in_style
from capsbench.showing.decoding import join_classes
from capsbench.showing.scene import DoesNotApplyError, Scene
from capsbench.showing.sheet import Band, Label, Sheet, to_bytes
from capsbench.training.evaluate import THRESHOLD, list_classes

TILES, CURVE = 15, 5
"""Degrees between images, and between points of a curve."""

IMAGES = 2
"""Number of images that are rotated."""

NAMED = 5
"""The most classes with a colour, besides the labels: those that win at some angle, the most frequent first."""


LABEL_WIDTH = 16
"""Room for the class above an image, in points."""

GAP = 0.04
"""The gap between images, in widths of an image."""


@in_style()
def draw_rotation(scene: Scene) -> Picture:
    """Draws images from -180 to 180 degrees with predictions, the scores of all classes, and any reconstructions."""
    scene.require_classes()
    capsules = scene.cell.has_routing
    quantity = "activation" if capsules else "probability"
    words = label_classes(scene.classes, LABEL_WIDTH / (1 if scene.labels.dim() == 1 else 2))
    bands, curves = [], []
    angles = torch.arange(-180, 181, CURVE)
    has_tile = angles % TILES == 0
    for number in scene.selected[:IMAGES]:
        turned = rotate_image(scene.images[number], angles, scene.images[scene.sample[:1000]])
        (labels,) = list_classes(scene.labels[[number]])
        scores = scene.score_images(turned).double().cpu()
        if scene.has_any_number:
            predictions = list_classes(scores > THRESHOLD)
        else:
            predictions = list_classes(scores.topk(len(labels), dim=1).indices)
        curves.append((labels, scores, predictions))
        drawn = [classes for classes, is_drawn in zip(predictions, has_tile.tolist(), strict=True) if is_drawn]
        bands.append(_make_band(scene, number, turned[has_tile], angles[has_tile], drawn, labels, words.words))
    sheet = Sheet(bands, [quantity])
    for place, (band, (labels, scores, predictions)) in enumerate(zip(bands, curves, strict=True)):
        sheet.add_space(0.12 if place else 0)
        sheet.draw_band(band)
        sheet.add_space(0.05)
        # These limits put the middle of a tile above its angle.
        axes = sheet.add_axes(1.0, width=sheet.tile * band.span)
        edge = TILES / 2 / (1 + GAP)
        axes.set(xlim=(-180 - edge, 180 + edge), ylim=(0, 1.02), ylabel=quantity, xticks=range(-180, 181, 45))
        _draw_curves(axes, angles, labels, scores, predictions, words.entries)
        if scene.has_any_number:
            axes.axhline(THRESHOLD, color=PALE, linewidth=LINE)
        axes.set_xlabel("degrees, counter-clockwise", labelpad=1)
        sheet.add_space(0.42)
    of = "capsules of all predicted classes" if scene.has_any_number else "capsule of the winning class"
    below = f" Below it is the reconstruction from the {of}." if len(bands[0].names) > 1 else ""
    function = "sigmoid" if scene.has_any_number else "softmax"
    curve = "activation of each class capsule" if capsules else f"probability of each class ({function} of the logits)"
    labels_drawn = "the labels are thick" if scene.labels.dim() > 1 else "the label is thick"
    predicted = (
        f"Classes above the line at {THRESHOLD:g} are predicted."
        if scene.has_any_number
        else "Above each image is the predicted class, in red if it is wrong."
    )
    caption = (
        f"Test images, rotated from -180 to 180 degrees. {predicted}{below} The curves show the {curve} by angle: "
        f"{labels_drawn}, and classes that win at some angle have a colour.{words.note}{scene.tones_note}"
    )
    return sheet.to_picture("Predictions under rotation", caption)


def _draw_curves(
    axes: Axes,
    angles: Tensor,
    labels: list[int],
    scores: Tensor,
    predictions: list[list[int]],
    words: Sequence[str],
) -> None:
    """Draws the score of each class by angle, and a legend.

    Args:
        labels: the classes of the image.
        scores: ``[angles, classes]``.
        predictions: the predicted classes at each angle.
        words: the text of each class.
    """
    predicted = torch.tensor([class_ for classes in predictions for class_ in classes], dtype=torch.int64)
    wins = predicted.bincount(minlength=scores.shape[1])
    others = [
        class_
        for class_ in wins.argsort(descending=True, stable=True).tolist()
        if wins[class_] and class_ not in labels
    ]
    looks: dict[int, dict[str, Any]] = {}
    for rank, class_ in enumerate(labels):
        looks[class_] = dict(color=INK, linestyle=DASHES[rank % len(DASHES)], linewidth=1.6 * LINE)
    for rank, class_ in enumerate(others[:NAMED]):
        looks[class_] = dict(color=PALETTE[rank], linestyle=DASHES[(1 + rank) % len(DASHES)], linewidth=LINE)
    plain: dict[str, Any] = dict(color=PALE, linewidth=0.4, alpha=0.6)
    for class_ in range(scores.shape[1]):
        if class_ not in looks:
            axes.plot(angles, scores[:, class_], **plain)
    for class_, look in reversed(looks.items()):  # the labels come last, on top of the others
        axes.plot(angles, scores[:, class_], **look)
    handles = [Line2D([], [], **look) for look in looks.values()]
    entries = [f"{words[class_]}, the label" if class_ in labels else words[class_] for class_ in looks]
    if len(looks) < scores.shape[1]:
        handles.append(Line2D([], [], **plain))
        entries.append("others")
    axes.legend(handles, entries, loc="upper center", bbox_to_anchor=(0.5, -0.26), ncols=len(entries), handlelength=2.2)


def rotate_image(image: Tensor, angles: Tensor, like: Tensor) -> Tensor:
    """Returns an image ``[C, H, W]``, rotated counter-clockwise by angles ``[N]`` in degrees, as ``[N, C, H, W]``.

    Args:
        like: images ``[*, C, H, W]`` that set the fill of the corners, as in the measure ``affine``.
    """
    ones = torch.ones(len(angles), dtype=torch.float64)
    linear = build_linear_parts(angles, 0 * ones, ones, ones)
    matrices = torch.cat([linear, torch.zeros_like(linear[:, :, :1])], dim=2).to(image.device)
    return warp_images(image.expand(len(angles), -1, -1, -1), matrices, choose_outside(like))


def _make_band(
    scene: Scene,
    number: int,
    turned: Tensor,
    angles: Tensor,
    predictions: list[list[int]],
    labels: list[int],
    words: Sequence[str],
) -> Band:
    """Returns the rotated images, their predictions unless they are of any number, and reconstructions if there is a decoder.

    Args:
        words: the text of each class.
    """
    names = [f"test image {number}"]
    low, high = scene.find_tones(scene.images[[number]])
    rows = [to_bytes(turned, low, high)]
    try:
        poses = scene.compute_poses(turned)
        scores = scene.score_images(turned)
        decoded = scores > THRESHOLD if scene.has_any_number else scores.argmax(dim=1)
        rows.append(to_bytes(scene.decode_poses(poses, decoded), low, high))
        names.append("reconstruction")
    except DoesNotApplyError:
        pass
    # So many small images have no room for the names of several classes.
    heads: dict[str, list[Label]] = (
        {}
        if scene.has_any_number
        else {
            "prediction": [
                join_classes(classes, words) if classes == labels else (join_classes(classes, words), MISLED)
                for classes in predictions
            ]
        }
    )
    return Band(torch.stack(rows), [0.0, *[GAP] * (len(angles) - 1)], names, heads)
