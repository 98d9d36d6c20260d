"""The filters and random fields that several corruptions share. Images are ``[H, W]`` or ``[H, W, C]``, float64 in [0, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float64]

WHITE = 255


def blur_rows_and_columns(image: Image, sigma: float) -> Image:
    """Blurs the first two axes by a Gaussian; pixels beyond an edge repeat it."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0)[: image.ndim], mode="nearest")


def blur_columns(image: Image, sigma: float) -> Image:
    """Blurs down the columns alone, as scikit-image does to a grey image whose last axis it takes for channels."""
    return ndimage.gaussian_filter(image, (sigma, 0), mode="nearest")


def to_levels(image: Image) -> Image:
    """Cuts pixels to 256 levels, towards 0, as a cast to bytes does."""
    return np.floor(np.clip(image, 0, 1) * WHITE) / WHITE


def add_salt_and_pepper(image: Image, amount: float, random: RandomState) -> Image:
    """Sets a share ``amount`` of the numbers to 0 or 1, with equal chance."""
    flipped = random.random_sample(image.shape) < amount
    salted = random.random_sample(image.shape) < 0.5
    return np.where(flipped, salted.astype(np.float64), image)


def draw_plasma(size: int, decay: float, random: RandomState) -> Image:
    """Draws a height map ``[size, size]`` in [0, 1] by the diamond-square algorithm on a torus.

    Args:
        size: a power of two.
        decay: the factor by which the noise shrinks from one scale to the next.
    """
    field, noise, step = np.zeros((size, size)), 100.0, size

    def perturb_mean(total: Image) -> Image:
        return total / 4 + noise * random.uniform(-noise, noise, total.shape)

    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        field[half::step, half::step] = perturb_mean(pairs + np.roll(pairs, -1, axis=1))
        centres, corners = field[half::step, half::step], field[::step, ::step]
        above = centres + np.roll(centres, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        field[::step, half::step] = perturb_mean(above)
        beside = centres + np.roll(centres, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        field[half::step, ::step] = perturb_mean(beside)
        step, noise = half, noise / decay
    field -= field.min()
    return field / field.max()


def add_fog(image: Image, amount: float, plasma: Image) -> Image:
    """Adds a height map ``[H, W]`` times ``amount``, and darkens so that the brightest pixel may stay as bright as it was."""
    largest = image.max()
    fog = plasma[..., np.newaxis] if image.ndim == 3 else plasma
    return np.clip((image + amount * fog) * largest / (largest + amount), 0, 1)


def blur_motion(image: Image, radius: int, sigma: float, angle: float) -> Image:
    """Averages an image along a ray at an angle in degrees, by one half of a Gaussian; pixels beyond an edge repeat it.

    The offsets are whole pixels, as in ImageMagick's motion blur.
    """
    width = 2 * radius + 1
    steps = np.arange(width)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    down, across = (
        np.ceil(steps * ratio - 0.5).astype(int) for ratio in (np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle)))
    )
    height, wide = image.shape[:2]
    total = np.zeros_like(image)
    for weight, dy, dx in zip(weights, down, across, strict=True):
        if abs(dy) >= height or abs(dx) >= wide:  # as in the public code, further weights are lost
            break
        rows, columns = np.clip(np.arange(height) + dy, 0, height - 1), np.clip(np.arange(wide) + dx, 0, wide - 1)
        total += weight * image[np.ix_(rows, columns)]
    return total


def warp(image: Image, matrix: Any, offset: Any) -> Image:
    """Warps ``[H, W]``: the pixel at (x, y) is taken from ``matrix (x, y) + offset``, bilinear, 0 outside."""
    swapped = np.asarray(matrix)[::-1, ::-1]  # from (x, y) to rows and columns
    offsets = np.asarray(offset)[::-1]
    return ndimage.affine_transform(image, swapped, offsets, order=1, mode="grid-constant", cval=0)
