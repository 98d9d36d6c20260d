"""Names beside the points of a picture, without covering points or one another."""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

DISTANCES = (7, 13, 21, 31, 43, 57)
DIRECTIONS = (0, 180, 60, -60, 120, -120, 90, -90, 30, -30, 150, -150)
"""Where a name may stand: typographic points away, degrees from the right; the earlier the better."""

NEAR = DISTANCES[1]
"""Up to here a name needs no line to its point."""

MARKER = 10
"""Side of the square around a point that names stay off, in typographic points."""


class Point(NamedTuple):
    """A point of a picture in data coordinates, its name and the name's colour."""

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
    figure.draw_without_rendering()
    pixels = figure.dpi / 72
    frame = axes.get_window_extent()
    centres = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [_box(x, y, MARKER * pixels, MARKER * pixels) for x, y in centres]
    for point, (x, y) in sorted(zip(points, centres, strict=True), key=lambda placed: -placed[1][1]):
        measured = axes.text(0, 0, point.name, fontsize="small")
        extent = measured.get_window_extent(renderer)
        measured.remove()
        best, best_cost = (0.0, 0.0, 0), math.inf
        for rank, (distance, angle) in enumerate(product(DISTANCES, DIRECTIONS)):
            right = math.cos(math.radians(angle)) * (distance * pixels + extent.width / 2)
            up = math.sin(math.radians(angle)) * (distance * pixels + extent.height / 2)
            box = _box(x + right, y + up, extent.width, extent.height)
            outside = box.width * box.height - _shared(box, frame)
            cost = outside + sum(_shared(box, other) for other in taken) + rank / 1000
            if cost < best_cost:
                best, best_cost = (right, up, distance), cost
        right, up, distance = best
        taken.append(_box(x + right, y + up, extent.width, extent.height))
        line = dict(arrowstyle="-", color=point.color, linewidth=0.6, shrinkA=1, shrinkB=3, relpos=(0.5, 0.5))
        axes.annotate(
            point.name,
            (point.x, point.y),
            xytext=(right / pixels, up / pixels),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize="small",
            color=point.color,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=5,
            arrowprops=line if distance > NEAR else None,
        ).set_in_layout(False)


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def _shared(one: Bbox, other: Bbox) -> float:
    """The area that two boxes share, in square pixels."""
    shared = Bbox.intersection(one, other)
    return float(shared.width * shared.height) if shared is not None else 0.0
