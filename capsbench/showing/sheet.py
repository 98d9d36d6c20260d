"""A picture that is filled from the top down: lines of small images with words above and beside them, and axes."""

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
from capsbench.presenting.figures.style import PAGE, PALE, SMALL

WORDS = 0.125
"""Height of a line of words, in inches."""

LARGEST = 0.52
"""Width of the largest small image, in inches."""

Word = str | tuple[str, str]
"""What stands above an image, and its colour where it is not that of all words."""


class Band(NamedTuple):
    """Lines of images and the words around them.

    - ``tiles``: bytes ``[lines, columns, C, H, W]``; of two channels, a stereo pair's, the first is shown
    - ``gaps``: before each column, in widths of an image
    - ``names``: of the lines, on their left
    - ``heads``: lines of words above the images, by what they are: one word a column
    """

    tiles: Tensor
    gaps: Sequence[float]
    names: Sequence[str] = ()
    heads: Mapping[str, Sequence[Word]] = {}

    @property
    def span(self) -> float:
        """Its width, in widths of an image."""
        return self.tiles.shape[1] + sum(self.gaps)


class Sheet:
    """A picture of a page's width.

    Args:
        bands: those that will be drawn: their widest decides how wide an image is, and their longest name where they begin.
        names: further words that stand on the left.
    """

    def __init__(self, bands: Sequence[Band] = (), names: Sequence[str] = ()) -> None:
        words = [*names, *(word for band in bands for word in (*band.names, *band.heads))]
        self.figure = Figure(figsize=(PAGE, 1))
        self.left = max((text_width(word) for word in words), default=0) / 72 + 0.1
        self.room = PAGE - self.left - EDGE
        self.tile = min(LARGEST, self.room / max((band.span for band in bands), default=1))
        self.depth = EDGE
        self.placed: list[tuple[Axes, float, float, float, float]] = []

    def band(self, band: Band, between: float = 0.05) -> Axes:
        """Draws lines of images, with ``between`` of an image's width below each."""
        images = make_mosaic(band.tiles.numpy(), band.gaps, between)
        pixels_high, pixels_wide = images.pixels.shape[:2]
        inch = images.width / self.tile  # in pixels
        self.depth += WORDS * len(band.heads)
        axes = self.axes(pixels_high / inch, width=pixels_wide / inch)
        draw_mosaic(axes, images, above=0)
        for name, top in zip(band.names, images.top, strict=False):
            middle = top + images.height / 2
            axes.text(-0.06 * inch, middle, name, ha="right", va="center", fontsize=SMALL)
        for line, (name, words) in enumerate(reversed(list(band.heads.items()))):
            height = -(0.03 + WORDS * line) * inch
            axes.text(-0.06 * inch, height, name, ha="right", va="bottom", fontsize=SMALL, color=PALE)
            for word, left in zip(words, images.left, strict=True):
                text, colour = word if isinstance(word, tuple) else (word, None)
                middle = left + images.width / 2
                axes.text(middle, height, text, ha="center", va="bottom", fontsize=SMALL, color=colour)
        return axes

    def axes(self, height: float, left: float = 0.0, width: float | None = None, *, beside: bool = False) -> Axes:
        """Axes below what there is, or ``beside`` the last; all in inches, ``left`` from where images begin."""
        axes = self.figure.add_axes((0, 0, 1, 1))
        top = self.placed[-1][2] if beside else self.depth
        self.placed.append((axes, self.left + left, top, self.room - left if width is None else width, height))
        self.depth = max(self.depth, top + height)
        return axes

    def skip(self, height: float) -> None:
        """Leaves room below what there is, in inches."""
        self.depth += height

    def picture(self, title: str, caption: str) -> Picture:
        """The picture, of the height that it has got."""
        height = self.depth + EDGE
        self.figure.set_figheight(height)
        for axes, left, top, wide, high in self.placed:
            axes.set_position((left / PAGE, 1 - (top + high) / height, wide / PAGE, high / height))
        return Picture(self.figure, title, caption)


def as_bytes(images: Tensor, low: Tensor | float = 0.0, high: Tensor | float = 1.0) -> Tensor:
    """Images as bytes, black where they are ``low`` and white where they are ``high``."""
    return (255 * (images - low) / (high - low)).round().clamp(0, 255).to(torch.uint8).cpu()


def some(count: int, most: int) -> list[int]:
    """At most so many of the numbers below ``count``, the first and the last among them, evenly spread."""
    if count <= most:
        return list(range(count))
    return sorted({math.floor(place * (count - 1) / (most - 1) + 0.5) for place in range(most)})
