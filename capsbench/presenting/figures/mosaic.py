"""Many small images as one, so that a picture of hundreds of them is drawn and read at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

FINEST = 28
"""Smaller images are enlarged to about this many pixels, so that gaps between them are whole pixels."""


class Mosaic(NamedTuple):
    """Images in lines and columns.

    Attributes:
        pixels: ``[height, width, 4]``, bytes; gaps are transparent.
        left: of each column, in pixels.
        top: of each line.
        width, height: of each image.
    """

    pixels: np.ndarray[Any, Any]
    left: list[int]
    top: list[int]
    width: int
    height: int


def make_mosaic(tiles: NDArray[np.uint8], gaps: Sequence[float], below: float) -> Mosaic:
    """Puts images side by side.

    Args:
        tiles: bytes ``[lines, columns, channels, height, width]``; of channels other than 1 or 3 the first is shown.
        gaps: before each column, in widths of an image.
        below: under each line, in widths of an image.
    """
    lines, columns, channels, height, width = tiles.shape
    times = math.ceil(FINEST / width)
    height, width = times * height, times * width
    before = [round(gap * width) for gap in gaps]
    left = [sum(before[: place + 1]) + place * width for place in range(columns)]
    top = [line * (height + round(below * width)) for line in range(lines)]
    pixels = np.zeros((top[-1] + height + round(below * width), left[-1] + width, 4), dtype=np.uint8)
    colored = tiles if channels == 3 else tiles[:, :, :1].repeat(3, axis=2)
    colors = colored.transpose(0, 1, 3, 4, 2).repeat(times, axis=2).repeat(times, axis=3)
    for line, column in np.ndindex(lines, columns):
        tile = pixels[top[line] : top[line] + height, left[column] : left[column] + width]
        tile[..., :3], tile[..., 3] = colors[line, column], 255
    return Mosaic(pixels, left, top, width, height)


def draw_mosaic(axes: Axes, images: Mosaic, above: float) -> None:
    """Draws the images, a unit a pixel, with ``above`` pixels of room over them."""
    height, width = images.pixels.shape[:2]
    axes.imshow(images.pixels, extent=(0, width, height, 0), interpolation="none")
    axes.set(xlim=(0, width), ylim=(height, -above), aspect="equal")
    axes.axis("off")
