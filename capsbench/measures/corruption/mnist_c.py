"""The corruptions of MNIST-C (Mu, Gilmer 2019): 28x28 grey images, each corruption at its one severity.

The parameters are those of the authors' ``corruptions.py`` (github.com/google-research/mnist-c), commit aa075693, at the
severity that is each function's default. Random numbers are drawn in its order, so that the same state of NumPy's generator gives
the same image; only ``glass_blur`` draws all of its numbers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.random import RandomState

from capsbench.measures.corruption.filters import (
    Image,
    add_fog,
    add_salt_and_pepper,
    blur_columns,
    blur_motion,
    blur_rows_and_columns,
    draw_plasma,
    to_levels,
    warp,
)

SIDE = 28

CENTRE = (SIDE - 1) / 2

STRIPE = SIDE // 4
"""The width of an inverted stripe at either side."""


def add_shot_noise(image: Image, random: RandomState) -> Image:
    return random.poisson(image * 3) / 3.0


def add_impulse_noise(image: Image, random: RandomState) -> Image:
    return add_salt_and_pepper(image, 0.17, random)


def blur_glass(image: Image, random: RandomState) -> Image:
    """Blurs, swaps about half of the pixels with one nearby, twice, and blurs again.

    Both blurs are down the columns alone: the public code calls scikit-image's filter for colour images, which takes the last
    axis of a grey image for its channels.
    """
    sigma, reach, times = 0.7, 1, 2
    pixels = to_levels(blur_columns(image, sigma))
    places = [(row, column) for row in range(SIDE - reach, reach, -1) for column in range(SIDE - reach, reach, -1)]
    for _ in range(times):
        swapped = random.randint(0, 2, size=len(places)) == 0
        moves = random.randint(-reach, reach, size=(len(places), 2))
        for swap, (row, column), (right, down) in zip(swapped.tolist(), places, moves.tolist(), strict=True):
            if swap:
                other = row + down, column + right
                pixels[row, column], pixels[other] = pixels[other], pixels[row, column]
    return blur_columns(pixels, sigma)


def blur_by_motion(image: Image, random: RandomState) -> Image:
    return blur_motion(image, 10, 3, random.uniform(-45, 45))


def _warp_about_centre(image: Image, matrix: np.ndarray) -> Image:
    return warp(image, matrix, CENTRE * (1 - matrix.sum(axis=1)))


def shear(image: Image, random: RandomState) -> Image:
    """Shears by an angle of 0.4 to either side, which also flattens by its cosine."""
    angle = 0.4 * random.choice([-1, 1], 1)[0]
    return _warp_about_centre(image, np.array([[1, -np.sin(angle)], [0, np.cos(angle)]]))


def scale(image: Image, random: RandomState) -> Image:
    return _warp_about_centre(image, np.eye(2) / 0.7)


def rotate(image: Image, random: RandomState) -> Image:
    angle = 0.4 * random.choice([-1, 1], 1)[0]
    sine, cosine = np.sin(angle), np.cos(angle)
    return _warp_about_centre(image, np.array([[cosine, -sine], [sine, cosine]]))


def translate(image: Image, random: RandomState) -> Image:
    return warp(image, np.eye(2), 3 * random.choice([-1, 1], 2))


def brighten(image: Image, random: RandomState) -> Image:
    return image + 0.5


def invert_stripes(image: Image, random: RandomState) -> Image:
    striped = image.copy()
    striped[:, :STRIPE] = 1 - striped[:, :STRIPE]
    striped[:, -STRIPE:] = 1 - striped[:, -STRIPE:]
    return striped


def cover_with_fog(image: Image, random: RandomState) -> Image:
    return add_fog(image, 3.0, draw_plasma(256, 1.4, random)[:SIDE, :SIDE])


def spatter(image: Image, random: RandomState) -> Image:
    """Covers parts with mud, a dark grey."""
    liquid = blur_rows_and_columns(random.normal(size=image.shape, loc=0.65, scale=0.3), 1)
    mud = blur_rows_and_columns((liquid > 0.65).astype(np.float64), 1.5)
    mud[mud < 0.8] = 0
    return image * (1 - mud) + 63 / 255 * mud


def draw_line(column: float, row: float, last_column: float, last_row: float) -> Image:
    """Draws a soft line ``[28, 28]`` between two points; its brightness falls with the vertical distance."""
    if column == last_column:
        return np.zeros((SIDE, SIDE))
    places = np.arange(SIDE, dtype=np.float64)
    slope = (last_row - row) / (last_column - column)
    distance = np.abs(places[:, None] - (slope * (places - column) + row))
    line = np.clip(np.log(1 - np.clip(distance, 0, 2.3 - 1e-10) / 2.3) + 1, 0, 1)
    line[:, : int(np.floor(column))] = 0
    line[:, int(np.ceil(last_column)) :] = 0
    return line


def add_dotted_line(image: Image, random: RandomState) -> Image:
    """Adds a line from side to side, of which two columns are drawn after every two that are not."""
    first, last = random.randint(low=0, high=SIDE - 1, size=2)
    line = draw_line(0, first, SIDE - 1, last)
    line[:, np.arange(SIDE) // 2 % 2 == 0] = 0
    return image + line


def add_zigzag(image: Image, random: RandomState) -> Image:
    """Adds a zigzag line of amplitude 2 about a slanted one."""
    length = width = 2.0
    column, last_column = 2, 25
    row = random.randint(low=0, high=SIDE - 1)
    angle = np.arctan(random.randint(low=-5, high=5) / (last_column - column))
    reach = (last_column - column) / np.cos(angle)
    turns = int((reach - length) // (2 * length)) + 1
    points = [(0.0, 0.0), *(((2 * turn + 1) * length, (-1) ** turn * width) for turn in range(turns))]
    whole = 2 * length * (reach // (2 * length))
    if reach != whole:
        points.append((reach, points[-1][1] / (2 * (reach - whole))))
    turn_by = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    columns, rows = turn_by @ np.array(points).T + np.array([[column], [row]])
    for place in range(1, len(points)):
        line = draw_line(columns[place - 1], rows[place - 1], columns[place], rows[place])
        image = np.clip(image + line, 0, 1)
    return image


CORRUPTIONS: Mapping[str, Callable[[Image, RandomState], Image]] = MappingProxyType(
    {
        "shot_noise": add_shot_noise,
        "impulse_noise": add_impulse_noise,
        "glass_blur": blur_glass,
        "motion_blur": blur_by_motion,
        "shear": shear,
        "scale": scale,
        "rotate": rotate,
        "brightness": brighten,
        "translate": translate,
        "stripe": invert_stripes,
        "fog": cover_with_fog,
        "spatter": spatter,
        "dotted_line": add_dotted_line,
        "zigzag": add_zigzag,
    }
)
"""Name -> what corrupts an image."""

LEFT_OUT: Mapping[str, str] = MappingProxyType({"canny_edges": "needs scikit-image's edge detector"})
"""Name -> why it is not applied, of the 15 corruptions of the benchmark."""


def corrupt_image(image: Image, name: str, severity: int, random: RandomState) -> Image:
    """Returns a corrupted image ``[28, 28]`` of one ``[28, 28]``, float64 in [0, 1]; the severity is the one there is."""
    return np.clip(CORRUPTIONS[name](image, random), 0, 1)
