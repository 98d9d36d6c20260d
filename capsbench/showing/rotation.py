"""What a network sees as an image is turned."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import torch
from matplotlib.lines import Line2D
from torch import Tensor

from capsbench.data.warps import build_linear_parts, choose_outside, warp_images
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.figures.style import DASHES, INK, LINE, MISLED, PALE, PALETTE, STYLE
from capsbench.showing.scene import DoesNotApplyError, Scene
from capsbench.showing.sheet import Band, Sheet, Word, as_bytes

TILES, CURVE = 15, 5
"""Degrees between images, and between points of a curve."""

IMAGES = 2
"""Images that are turned."""

NAMED = 5
"""Classes beside the image's own that get a colour: those that win somewhere, the most frequent first."""


GAP = 0.04
"""Between images, in widths of one."""


@mpl.rc_context(STYLE)
def draw_rotation(scene: Scene) -> Picture:
    """Images turned from -180 to 180 degrees: predictions, scores of all classes, reconstructions if there is a decoder."""
    scene.require_classes()
    capsules = scene.cell.has_routing
    what = "activation" if capsules else "probability"
    bands, curves = [], []
    angles = torch.arange(-180, 181, CURVE)
    at = angles % TILES == 0
    for number in scene.shown[:IMAGES]:
        turned = rotated(scene.images[number], angles, scene.images[scene.drawn[:1000]])
        labels = scene.labels[number].view(-1).tolist()
        scores = scene.scores(turned).double().cpu()
        count = len(labels)
        found = scores.topk(count, dim=1).indices.sort(dim=1).values
        curves.append((labels, scores, found))
        bands.append(_band(scene, number, turned[at], angles[at], found[at], sorted(labels)))
    sheet = Sheet(bands, [what])
    for place, (band, (labels, scores, found)) in enumerate(zip(bands, curves, strict=True)):
        sheet.skip(0.12 if place else 0)
        sheet.band(band)
        sheet.skip(0.05)
        # A tile's middle is above its angle.
        axes = sheet.axes(1.0, width=sheet.tile * band.span)
        edge = TILES / 2 / (1 + GAP)
        axes.set(xlim=(-180 - edge, 180 + edge), ylim=(0, 1.02), ylabel=what, xticks=range(-180, 181, 45))
        wins = found.flatten().bincount(minlength=scores.shape[1])
        others = [
            each for each in wins.argsort(descending=True, stable=True).tolist() if wins[each] and each not in labels
        ]
        named: dict[int, dict[str, Any]] = {}
        for rank, each in enumerate(labels):
            named[each] = dict(color=INK, linestyle=DASHES[rank % len(DASHES)], linewidth=1.6 * LINE)
        for rank, each in enumerate(others[:NAMED]):
            named[each] = dict(color=PALETTE[rank], linestyle=DASHES[(1 + rank) % len(DASHES)], linewidth=LINE)
        other: dict[str, Any] = dict(color=PALE, linewidth=0.4, alpha=0.6)
        for each in range(scores.shape[1]):
            if each not in named:
                axes.plot(angles, scores[:, each], **other)
        for each, look in reversed(named.items()):
            axes.plot(angles, scores[:, each], **look)
        handles = [Line2D([], [], **look) for look in named.values()]
        words = [f"{each}, the label" if each in labels else str(each) for each in named]
        if len(named) < scores.shape[1]:
            handles.append(Line2D([], [], **other))
            words.append("others")
        axes.legend(handles, words, loc="upper center", bbox_to_anchor=(0.5, -0.26), ncols=len(words), handlelength=2.2)
        axes.set_xlabel("degrees, counter-clockwise", labelpad=1)
        sheet.skip(0.42)
    made = " Below it what the decoder makes of the class that it sees." if len(bands[0].names) > 1 else ""
    scale = (
        "The activation of each class capsule" if capsules else "The probability of each class (softmax of the logits)"
    )
    whose = "the labels thick" if scene.labels.dim() > 1 else "the label thick"
    caption = (
        f"Test images turned from -180 to 180 degrees. Above each what the network sees, in red where that is wrong.{made} "
        f"{scale} by the angle: {whose}, classes that win somewhere in colour.{scene.about_tones}"
    )
    return sheet.picture("What the network sees under rotation", caption)


def rotated(image: Tensor, angles: Tensor, like: Tensor) -> Tensor:
    """An image ``[C, H, W]`` turned counter-clockwise by each of the angles ``[N]`` in degrees, ``[N, C, H, W]``.

    Args:
        like: images ``[*, C, H, W]`` that say what comes in from outside, as the measure ``affine`` has it.
    """
    ones = torch.ones(len(angles), dtype=torch.float64)
    linear = build_linear_parts(angles, 0 * ones, ones, ones)
    matrices = torch.cat([linear, torch.zeros_like(linear[:, :, :1])], dim=2).to(image.device)
    return warp_images(image.expand(len(angles), -1, -1, -1), matrices, choose_outside(like))


def _band(scene: Scene, number: int, turned: Tensor, angles: Tensor, found: Tensor, labels: list[int]) -> Band:
    """The turned images, what they are taken for, and the reconstructions of the most active class where there is a decoder."""
    names = [f"test image {number}"]
    low, high = scene.tones(scene.images[[number]])
    lines = [as_bytes(turned, low, high)]
    try:
        poses = scene.poses(turned)
        winners = scene.scores(turned).argmax(dim=1)
        lines.append(as_bytes(scene.decoded(poses, winners), low, high))
        names.append("reconstruction")
    except DoesNotApplyError:
        pass
    heads: dict[str, list[Word]] = {
        "seen as": [
            " ".join(map(str, own)) if own == labels else (" ".join(map(str, own)), MISLED) for own in found.tolist()
        ]
    }
    return Band(torch.stack(lines), [0.0, *[GAP] * (len(angles) - 1)], names, heads)
