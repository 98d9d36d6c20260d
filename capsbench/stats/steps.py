"""The step of shares of n images, 1/n. The fewer the images, the more often such shares are equal by chance."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_IMAGES = 100_000
"""The most images to look for: the rounding of numbers on a finer grid, such as times and likelihoods, does not matter."""

MOST_COUNTED = 10**9
"""The most images that a count on record may be of; no data set has more."""

FEWEST_IMAGES = 100
"""The fewest images to assume if fewer than `FEWEST_NUMBERS` different numbers suggest fewer."""

FEWEST_NUMBERS = 3

ROUNDING = 1e-12
"""Relative rounding error of a computed number: two numbers that differ by less are equal."""

ROUNDING_FLOAT32 = 2.0**-24
"""The same for a number that was computed in float32."""


def to_count(number: float) -> int | None:
    """Converts a number on record to a count of images; None for one that is no count, such as 0, 2.5 or 1e300."""
    return int(number) if 1 <= number <= MOST_COUNTED and number == int(number) else None


def step_of(numbers: ArrayLike, images: Iterable[int] = ()) -> float:
    """Returns the step 1/n of shares of n images; 0 for other numbers, such as times and counts.

    n is the smallest of the given counts of images that all numbers are shares of. If there is none, n is the least common
    denominator of the numbers: the step is then too large rather than too small, and a test conservative. One or two numbers,
    such as 0.8 in all seeds, say little about n: then it is the smallest multiple that reaches `FEWEST_IMAGES`.

    Args:
        images: the counts of images that the numbers may be shares of.
    """
    different = np.unique(np.asarray(numbers, dtype=float))
    known = _find_denominators(different, np.array(sorted(images), dtype=np.int64))
    if len(known):
        return float(1 / known[0])
    possible = _find_denominators(different, np.arange(1, MOST_IMAGES + 1))
    # Whole numbers are "shares" of one image; those above 1 are counts.
    if not len(possible) or (possible[0] == 1 and np.abs(different).max(initial=0) > 1):
        return 0.0
    count = int(possible[0])
    if len(different) < FEWEST_NUMBERS:
        count *= math.ceil(FEWEST_IMAGES / count)
    return 1 / count


def _find_denominators(numbers: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the counts that all numbers are shares of, up to rounding; float32's if all numbers are float32 values."""
    in_float32 = bool((numbers.astype(np.float32) == numbers).all())
    rounding = ROUNDING_FLOAT32 if in_float32 else ROUNDING
    for number in numbers:
        if not len(counts):
            break
        errors = np.abs(number - np.rint(number * counts) / counts)
        counts = counts[errors <= rounding * max(1.0, abs(number))]
    return counts
