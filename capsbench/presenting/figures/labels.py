"""Names beside the points of a picture, without covering points or one another."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from capsbench.presenting.figures.figure import lay_out
from capsbench.presenting.figures.style import INK, PAPER, SMALL

DISTANCES = (5, 10, 16, 24)
DIRECTIONS = (0, 180, 60, -60, 120, -120, 90, -90, 30, -30, 150, -150)
"""Places of a name, the best first: distances in typographic points, and degrees from the right."""

NEAR = DISTANCES[1]
"""Up to here a name needs no line to its point."""

MARKER = 7
"""Side of the square around a point that names stay off, in typographic points."""

BAR = 2
"""Width of an error bar that names stay off, in typographic points."""

COVERED = 0.02
"""The part of a name that may cover something else, or lie outside the panel; of more, none of the names is readable enough."""

Boxes = np.ndarray[Any, Any]
"""Boxes ``[N, 4]``: left, bottom, right and top, in pixels."""


class Point(NamedTuple):
    """A point of a picture in data coordinates, its name, the colour of a line to it, and half of its error bar's height."""

    x: float
    y: float
    name: str
    color: str
    half: float = 0.0


class Label(NamedTuple):
    """The place of a name: offset in points, a line to its point or none, and the part of it that covers something."""

    offset: tuple[float, float]
    line: bool
    covered: float


def label_points(panels: list[tuple[Axes, list[Point]]]) -> bool:
    """Writes the names of all points beside them, or none where one would cover others, bars or markers; whether it did.

    The limits and scales of the axes must be final: their figure is laid out here.
    """
    placed = [(axes, points, place_labels(axes, points)) for axes, points in panels]
    if any(label.covered > COVERED for _, _, labels in placed for label in labels):
        return False
    for axes, points, labels in placed:
        for point, label in zip(points, labels, strict=True):
            line = dict(arrowstyle="-", color=point.color, linewidth=0.5, shrinkA=0, shrinkB=2, relpos=(0.5, 0.5))
            axes.annotate(
                point.name,
                (point.x, point.y),
                xytext=label.offset,
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=SMALL,
                color=INK,
                bbox=dict(facecolor=PAPER, edgecolor="none", alpha=0.7, pad=0.5),
                zorder=5,
                arrowprops=line if label.line else None,
            ).set_in_layout(False)
    return True


def place_labels(axes: Axes, points: list[Point]) -> list[Label]:
    """Returns the place of each name that covers least, placed from the top; a line leads to a distant name."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    lay_out(figure)
    pixels = figure.dpi / 72
    frame = _to_boxes(axes.get_window_extent().extents)
    centres = np.array([axes.transData.transform((point.x, point.y)) for point in points])
    taken = np.vstack(
        [_place_boxes(centres, np.array([MARKER, MARKER]) * pixels), _place_bars(axes, points, BAR * pixels)]
    )
    places = list(product(DISTANCES, DIRECTIONS))
    away, angle = np.array(places).T
    toward = np.stack([np.cos(np.radians(angle)), np.sin(np.radians(angle))], axis=1)
    labels: dict[int, Label] = {}
    for place in map(int, np.argsort(-centres[:, 1], kind="stable")):
        measured = axes.text(0, 0, points[place].name, fontsize=SMALL)
        extent = measured.get_window_extent(renderer)
        measured.remove()
        size = np.array([extent.width, extent.height])
        offsets = toward * (away[:, None] * pixels + size / 2)
        boxes = _place_boxes(centres[place] + offsets, size)
        covered = size.prod() - _measure_overlaps(boxes, frame)[:, 0] + _measure_overlaps(boxes, taken).sum(axis=1)
        best = int((covered + np.arange(len(places)) / 1000).argmin())
        taken = np.vstack([taken, boxes[best]])
        low, high = boxes[best, :2], boxes[best, 2:]
        distances = np.linalg.norm(np.maximum(0, np.maximum(low - centres, centres - high)), axis=1)
        line = bool(away[best] > NEAR or distances[place] > distances.min())
        x, y = offsets[best] / pixels
        labels[place] = Label((float(x), float(y)), line, float(covered[best] / size.prod()))
    return [labels[place] for place in range(len(points))]


def _place_bars(axes: Axes, points: list[Point], width: float) -> Boxes:
    """Returns the boxes of the points' error bars, as far as they are inside the axes."""
    ends = [[axes.transData.transform((point.x, point.y + sign * point.half)) for sign in (-1, 1)] for point in points]
    low, high = np.array(ends).swapaxes(0, 1)
    inside = axes.get_window_extent()
    low[:, 1], high[:, 1] = (np.clip(end[:, 1], inside.y0, inside.y1) for end in (low, high))
    side = np.array([width / 2, 0])
    return np.hstack([low - side, high + side])


def _to_boxes(extents: Any) -> Boxes:
    return np.asarray(extents, dtype=float).reshape(-1, 4)


def _place_boxes(centres: Boxes, size: Boxes) -> Boxes:
    return np.hstack([centres - size / 2, centres + size / 2])


def _measure_overlaps(ones: Boxes, others: Boxes) -> Boxes:
    """Returns the area that boxes share with others ``[len(ones), len(others)]``, in square pixels."""
    low = np.maximum(ones[:, None, :2], others[None, :, :2])
    high = np.minimum(ones[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=-1)
