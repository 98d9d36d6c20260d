"""A sheet: a picture that is filled from top to bottom with axes and with rows of small, labelled images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from capsbench.presenting.figures.figure import EDGE, Picture, text_width
from capsbench.presenting.figures.mosaic import draw_mosaic, make_mosaic
from capsbench.presenting.figures.style import COLUMN, PAGE, PALE, SMALL

TEXT_LINE = 0.125
"""Height of a line of text, in inches."""

LARGEST = 0.52
"""Width of the largest small image, in inches."""

Label = str | tuple[str, str]
"""The text above an image, alone or with its colour."""


class Band(NamedTuple):
    """Rows of small images, and their labels.

    - ``tiles``: bytes ``[rows, columns, C, H, W]``; of two channels, a stereo pair, the first is drawn
    - ``gaps``: the gap before each column, in widths of an image
    - ``names``: of the rows, on their left
    - ``heads``: name -> a line of labels above the images, one per column
    """

    tiles: Tensor
    gaps: Sequence[float]
    names: Sequence[str] = ()
    heads: Mapping[str, Sequence[Label]] = {}

    @property
    def span(self) -> float:
        """The width of the band, in widths of an image."""
        return self.tiles.shape[1] + sum(self.gaps)


class Sheet:
    """A picture as wide as a page, or as a column if that is enough for its bands and it has nothing else.

    Args:
        bands: all bands of the sheet. The widest sets the width of an image, the longest name sets the left margin.
        names: further text in the left margin.
    """

    def __init__(self, bands: Sequence[Band] = (), names: Sequence[str] = ()) -> None:
        texts = [*names, *(text for band in bands for text in (*band.names, *band.heads))]
        self.figure = Figure(figsize=(PAGE, 1))
        self.left = max((text_width(text) for text in texts), default=0) / 72 + 0.1
        self.room = PAGE - self.left - EDGE
        self.tile = min(LARGEST, self.room / max((band.span for band in bands), default=1))
        self.depth = EDGE
        self.right = self.left
        self.placed: list[tuple[Axes, float, float, float, float]] = []

    def draw_band(self, band: Band, between: float = 0.05) -> Axes:
        """Draws a band; the gap below each row is ``between``, in widths of an image."""
        images = make_mosaic(band.tiles.numpy(), band.gaps, between)
        pixels_high, pixels_wide = images.pixels.shape[:2]
        inch = images.width / self.tile  # in pixels
        self.depth += TEXT_LINE * len(band.heads)
        axes = self._place_axes(pixels_high / inch, 0.0, pixels_wide / inch, self.depth)
        draw_mosaic(axes, images, above=0)
        for name, top in zip(band.names, images.top, strict=False):
            middle = top + images.height / 2
            axes.text(-0.06 * inch, middle, name, ha="right", va="center", fontsize=SMALL)
        for line, (name, labels) in enumerate(reversed(list(band.heads.items()))):
            height = -(0.03 + TEXT_LINE * line) * inch
            axes.text(-0.06 * inch, height, name, ha="right", va="bottom", fontsize=SMALL, color=PALE)
            for label, left in zip(labels, images.left, strict=True):
                text, colour = label if isinstance(label, tuple) else (label, None)
                middle = left + images.width / 2
                axes.text(middle, height, text, ha="center", va="bottom", fontsize=SMALL, color=colour)
                self.right = max(self.right, self.left + middle / inch + text_width(text) / 72 / 2)
        return axes

    def add_axes(self, height: float, left: float = 0.0, width: float | None = None, *, beside: bool = False) -> Axes:
        """Adds axes below all others, or ``beside`` the last ones; lengths are in inches.

        Args:
            left: the distance from the left margin.
            width: by default, up to the right edge.
        """
        self.right = PAGE  # ticks and labels take room beside them
        top = self.placed[-1][2] if beside else self.depth
        return self._place_axes(height, left, self.room - left if width is None else width, top)

    def _place_axes(self, height: float, left: float, width: float, top: float) -> Axes:
        axes = self.figure.add_axes((0, 0, 1, 1))
        self.placed.append((axes, self.left + left, top, width, height))
        self.right = max(self.right, self.left + left + width)
        self.depth = max(self.depth, top + height)
        return axes

    def add_space(self, height: float) -> None:
        """Leaves space below all axes, in inches."""
        self.depth += height

    def to_picture(self, title: str, caption: str) -> Picture:
        """Returns the picture, as high as its content."""
        width, height = COLUMN if self.right + EDGE <= COLUMN else PAGE, self.depth + EDGE
        self.figure.set_size_inches(width, height)
        for axes, left, top, wide, high in self.placed:
            axes.set_position((left / width, 1 - (top + high) / height, wide / width, high / height))
        return Picture(self.figure, title, caption)


def to_bytes(images: Tensor, low: Tensor | float = 0.0, high: Tensor | float = 1.0) -> Tensor:
    """Returns images as bytes; ``low`` becomes black, ``high`` white."""
    return (255 * (images - low) / (high - low)).round().clamp(0, 255).to(torch.uint8).cpu()


def spread_indices(count: int, most: int) -> list[int]:
    """Returns at most ``most`` of the numbers below ``count``, evenly spread, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({math.floor(place * (count - 1) / (most - 1) + 0.5) for place in range(most)})
