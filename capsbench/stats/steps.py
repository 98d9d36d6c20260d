"""The step of numbers that are shares of n images: multiples of 1/n, which agree by chance the oftener the fewer images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_IMAGES = 100_000
"""Images at most: of numbers of a finer grid, such as times and likelihoods, rounding does not matter."""

FEWEST_IMAGES = 100
"""Images at least, where fewer than `FEWEST_NUMBERS` numbers that differ would speak for less."""

FEWEST_NUMBERS = 3

ROUNDING = 1e-12
"""Relative error of a number that was computed: what is nearer to another is the same."""


def step_of(numbers: ArrayLike) -> float:
    """The step of shares of n images, 1/n, from the numbers alone; 0 of numbers that are none, such as times and counts.

    n is the least common denominator of the numbers, so that the step is rather too large than too small, and a test errs towards
    no difference. One or two numbers, such as 0.8 in all seeds, say little of n: then it is the least multiple above
    `FEWEST_IMAGES`.
    """
    different = np.unique(np.asarray(numbers, dtype=float))
    images = 1
    for denominator in np.unique(_denominators(different)):
        images = math.lcm(images, int(denominator))
        if denominator == 0 or images > MOST_IMAGES:
            return 0.0
    if images == 1 and np.abs(different).max(initial=0) > 1:
        return 0.0
    if len(different) < FEWEST_NUMBERS:
        images *= math.ceil(FEWEST_IMAGES / images)
    return 1 / images


def _denominators(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """The denominator of each number as a fraction, by its continued fraction; 0 for one above `MOST_IMAGES`."""
    before, now = np.zeros(len(numbers), dtype=np.int64), np.ones(len(numbers), dtype=np.int64)
    rest = numbers - np.floor(numbers)
    while True:
        error = np.abs(numbers * now - np.rint(numbers * now))
        unfinished = (error > ROUNDING * np.maximum(1, np.abs(numbers)) * now) & (now <= MOST_IMAGES)
        if not unfinished.any():
            return np.where(now <= MOST_IMAGES, now, 0)
        inverse = 1 / rest[unfinished]
        quotient = np.floor(np.minimum(inverse, MOST_IMAGES + 1)).astype(np.int64)
        rest[unfinished] = inverse - quotient
        before[unfinished], now[unfinished] = now[unfinished], quotient * now[unfinished] + before[unfinished]
