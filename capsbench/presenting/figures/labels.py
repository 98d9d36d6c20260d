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

DISTANCES = (5, 10, 16, 24, 34, 46)
DIRECTIONS = (0, 180, 60, -60, 120, -120, 90, -90, 30, -30, 150, -150)
"""Where a name may stand: typographic points away, degrees from the right; the earlier the better."""

NEAR = DISTANCES[1]
"""Up to here a name needs no line to its point."""

MARKER = 7
"""Side of the square around a point that names stay off, in typographic points."""

Boxes = np.ndarray[Any, Any]
"""Boxes ``[N, 4]``: left, bottom, right and top, in pixels."""


class Point(NamedTuple):
    """A point of a picture in data coordinates, its name and the colour of a line to it."""

    x: float
    y: float
    name: str
    color: str


def label_points(axes: Axes, points: list[Point]) -> None:
    """Writes each point's name where it covers least, with a line to the point where that is far away.

    The limits and scales of the axes must be final: their figure is laid out here.
    """
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    lay_out(figure)
    pixels = figure.dpi / 72
    frame = _boxes(axes.get_window_extent().extents)
    centres = np.array([axes.transData.transform((point.x, point.y)) for point in points])
    taken = _around(centres, np.array([MARKER, MARKER]) * pixels)
    places = list(product(DISTANCES, DIRECTIONS))
    away, angle = np.array(places).T
    toward = np.stack([np.cos(np.radians(angle)), np.sin(np.radians(angle))], axis=1)
    for place in np.argsort(-centres[:, 1], kind="stable"):
        point = points[place]
        measured = axes.text(0, 0, point.name, fontsize=SMALL)
        extent = measured.get_window_extent(renderer)
        measured.remove()
        size = np.array([extent.width, extent.height])
        offsets = toward * (away[:, None] * pixels + size / 2)
        boxes = _around(centres[place] + offsets, size)
        outside = size.prod() - _shared(boxes, frame)[:, 0]
        best = int((outside + _shared(boxes, taken).sum(axis=1) + np.arange(len(places)) / 1000).argmin())
        taken = np.vstack([taken, boxes[best]])
        line = dict(arrowstyle="-", color=point.color, linewidth=0.5, shrinkA=0, shrinkB=2, relpos=(0.5, 0.5))
        axes.annotate(
            point.name,
            (point.x, point.y),
            xytext=tuple(offsets[best] / pixels),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=SMALL,
            color=INK,
            bbox=dict(facecolor=PAPER, edgecolor="none", alpha=0.7, pad=0.5),
            zorder=5,
            arrowprops=line if away[best] > NEAR else None,
        ).set_in_layout(False)


def _boxes(extents: Any) -> Boxes:
    return np.asarray(extents, dtype=float).reshape(-1, 4)


def _around(centres: Boxes, size: Boxes) -> Boxes:
    return np.hstack([centres - size / 2, centres + size / 2])


def _shared(ones: Boxes, others: Boxes) -> Boxes:
    """The area that boxes share with others ``[len(ones), len(others)]``, in square pixels."""
    low = np.maximum(ones[:, None, :2], others[None, :, :2])
    high = np.minimum(ones[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=-1)
