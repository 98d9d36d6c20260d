"""The corruptions of CIFAR-10-C (Hendrycks, Dietterich 2019): 32x32 colour images, severities 1 to 5.

The parameters of each severity are those of the authors' ``make_cifar_c.py`` (github.com/hendrycks/robustness), commit
ca360085. Random numbers are drawn in its order, so that the same state of NumPy's generator gives the same image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.random import RandomState
from PIL import Image as PillowImage
from scipy import ndimage

from capsbench.measures.corruption.filters import (
    WHITE,
    Image,
    add_fog,
    add_salt_and_pepper,
    blur_motion,
    blur_rows_and_columns,
    draw_plasma,
    to_levels,
)

SIDE = 32

LUMA = np.array([0.299, 0.587, 0.114])
"""The weights of red, green and blue in the grey of ITU-R BT.601."""


def add_gaussian_noise(image: Image, scale: float, random: RandomState) -> Image:
    return image + random.normal(size=image.shape, scale=scale)


def add_shot_noise(image: Image, rate: float, random: RandomState) -> Image:
    return random.poisson(image * rate) / rate


def blur_defocus(image: Image, radius: float, sigma: float, random: RandomState) -> Image:
    """Averages over a disk, whose edge is smoothed by a Gaussian of 3x3 pixels."""
    place = np.arange(-8, 9)
    disk = (place[:, None] ** 2 + place**2 <= radius**2).astype(np.float64)
    tap = np.exp(-(np.arange(-1, 2) ** 2) / (2 * sigma**2))
    tap /= tap.sum()
    kernel = ndimage.correlate(disk / disk.sum(), np.outer(tap, tap), mode="mirror")
    return ndimage.correlate(image, kernel[..., np.newaxis], mode="mirror")


def blur_glass(image: Image, sigma: float, reach: int, times: int, random: RandomState) -> Image:
    """Blurs, replaces each pixel by one nearby, and blurs again.

    The public code means to swap two pixels. Of a colour image it copies one over the other, because NumPy's right-hand side is
    a view; the published images are of that.
    """
    rows = range(SIDE - reach, reach, -1)
    sources = [[(row, column) for column in range(SIDE)] for row in range(SIDE)]  # pixels move once, at the end
    for _ in range(times):
        moves = iter(random.randint(-reach, reach, size=(len(rows) ** 2, 2)).tolist())
        for row in rows:
            for column in rows:
                right, down = next(moves)
                sources[row][column] = sources[row + down][column + right]
    from_rows, from_columns = np.moveaxis(np.array(sources), 2, 0)
    moved = to_levels(blur_rows_and_columns(image, sigma))[from_rows, from_columns]
    return blur_rows_and_columns(moved, sigma)


def blur_zoom(image: Image, largest: float, random: RandomState) -> Image:
    """Averages an image with itself at zooms from 1 up to ``largest`` in steps of 0.01."""
    image = image.astype(np.float32)
    zooms = np.arange(1, largest, 0.01)
    total = sum(zoom_centre(image, zoom) for zoom in zooms)
    return np.asarray((image + total) / (len(zooms) + 1), np.float64)


def zoom_centre(image: Any, factor: float) -> Any:
    """Enlarges the centre of ``[H, W, C]`` to the size of the whole."""
    side = image.shape[0]
    inner = int(np.ceil(side / factor))
    top = (side - inner) // 2
    zoomed = ndimage.zoom(image[top : top + inner, top : top + inner], (factor, factor, 1), order=1)
    trim = (zoomed.shape[0] - side) // 2
    return zoomed[trim : trim + side, trim : trim + side]


def cover_with_fog(image: Image, amount: float, decay: float, random: RandomState) -> Image:
    return add_fog(image, amount, draw_plasma(SIDE, decay, random))


def blur_by_motion(image: Image, radius: int, sigma: float, random: RandomState) -> Image:
    return blur_motion(image, radius, sigma, random.uniform(-45, 45))


def cover_with_snow(
    image: Image,
    mean: float,
    scale: float,
    zoom: float,
    least: float,
    radius: int,
    sigma: float,
    share: float,
    random: RandomState,
) -> Image:
    """Adds flakes, blurred as if they fell, and the same from below, to an image that is whitened in part."""
    flakes = zoom_centre(random.normal(size=(SIDE, SIDE), loc=mean, scale=scale)[..., np.newaxis], zoom)[..., 0]
    flakes = to_levels(np.where(flakes < least, 0, flakes))
    layer = blur_motion(flakes, radius, sigma, random.uniform(-135, -45))[..., np.newaxis]
    grey = (image @ LUMA)[..., np.newaxis]
    whitened = share * image + (1 - share) * np.maximum(image, grey * 1.5 + 0.5)
    return whitened + layer + np.rot90(layer, k=2)


def brighten(image: Image, amount: float, random: RandomState) -> Image:
    """Adds to the value of each pixel in HSV, which scales its channels; a black pixel becomes grey."""
    value = image.max(axis=2, keepdims=True)
    brighter = np.clip(value + amount, 0, 1)
    return np.where(value > 0, image * brighter / np.where(value > 0, value, 1), brighter)


def reduce_contrast(image: Image, factor: float, random: RandomState) -> Image:
    means = image.mean(axis=(0, 1), keepdims=True)
    return (image - means) * factor + means


def transform_elastically(image: Image, amount: float, sigma: float, reach: float, random: RandomState) -> Image:
    """Warps by a random affine map of three points, then by a smooth random field.

    The affine map interpolates exactly; OpenCV's, in the public code, rounds positions to 1/32 pixel.
    """
    centre, arm = np.array((SIDE, SIDE), np.float32) // 2, SIDE // 3
    points = np.array([centre + arm, [centre[0] + arm, centre[1] - arm], centre - arm], np.float32)
    moved = points + random.uniform(-reach, reach, size=points.shape).astype(np.float32)
    # Pixels of the result are taken from where the inverse map, from moved to first points, sends them.
    solved = np.linalg.solve(np.column_stack([moved, np.ones(3)]), points.astype(np.float64))
    matrix, offset = solved[:2].T, solved[2]
    warped = np.stack(
        [
            ndimage.affine_transform(channel, matrix[::-1, ::-1], offset[::-1], order=1, mode="mirror")
            for channel in np.moveaxis(image, 2, 0)
        ],
        axis=2,
    )
    shifts = [
        amount * ndimage.gaussian_filter(random.uniform(-1, 1, size=(SIDE, SIDE)), sigma, mode="reflect", truncate=3)
        for _ in range(2)
    ]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    places = [rows + shifts[1], columns + shifts[0]]
    bent = [ndimage.map_coordinates(channel, places, order=1, mode="reflect") for channel in np.moveaxis(warped, 2, 0)]
    return np.stack(bent, axis=2)


def pixelate(image: Image, share: float, random: RandomState) -> Image:
    """Shrinks by a box filter and enlarges again."""
    inner = int(SIDE * share)
    picture = PillowImage.fromarray(np.rint(image * WHITE).astype(np.uint8))
    box = PillowImage.Resampling.BOX
    return np.asarray(picture.resize((inner, inner), box).resize((SIDE, SIDE), box)) / WHITE


Corrupt = Callable[..., Image]

CORRUPTIONS: Mapping[str, tuple[Corrupt, tuple[tuple[Any, ...], ...]]] = MappingProxyType(
    {
        "gaussian_noise": (add_gaussian_noise, ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,))),
        "shot_noise": (add_shot_noise, ((500,), (250,), (100,), (75,), (50,))),
        "impulse_noise": (add_salt_and_pepper, ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,))),
        "defocus_blur": (blur_defocus, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
        "glass_blur": (blur_glass, ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))),
        "motion_blur": (blur_by_motion, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
        "zoom_blur": (blur_zoom, ((1.06,), (1.11,), (1.16,), (1.21,), (1.26,))),
        "snow": (
            cover_with_snow,
            (
                (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            ),
        ),
        "fog": (cover_with_fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
        "brightness": (brighten, ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,))),
        "contrast": (reduce_contrast, ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,))),
        "elastic_transform": (
            transform_elastically,
            (
                (0, 0, SIDE * 0.08),
                (SIDE * 0.05, SIDE * 0.2, SIDE * 0.07),
                (SIDE * 0.08, SIDE * 0.06, SIDE * 0.06),
                (SIDE * 0.1, SIDE * 0.04, SIDE * 0.05),
                (SIDE * 0.1, SIDE * 0.03, SIDE * 0.03),
            ),
        ),
        "pixelate": (pixelate, ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,))),
    }
)
"""Name -> what corrupts an image, and its parameters at severities 1 to 5."""

LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "frost": "needs the authors' photographs of frost",
        "jpeg_compression": "needs a codec, whose versions differ",
    }
)
"""Name -> why it is not applied, of the 15 corruptions of the benchmark."""


def corrupt_image(image: Image, name: str, severity: int, random: RandomState) -> Image:
    """Returns a corrupted image, cut to 256 levels as the published ones are.

    Args:
        image: ``[32, 32, 3]``, float64 in [0, 1].
        severity: 1 to 5.
    """
    function, parameters = CORRUPTIONS[name]
    return to_levels(function(image, *parameters[severity - 1], random))
