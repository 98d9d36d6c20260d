"""The step of numbers that are shares of n images: multiples of 1/n, which agree by chance the oftener the fewer images."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_IMAGES = 100_000
"""Images at most: of numbers of a finer grid, such as times and likelihoods, rounding does not matter."""

FEWEST_IMAGES = 100
"""Images at least, where fewer than `FEWEST_NUMBERS` numbers that differ would speak for less."""

FEWEST_NUMBERS = 3

ROUNDING = 1e-12
"""Relative error of a number that was computed: what is nearer to another is the same."""

ROUNDING_FLOAT32 = 2.0**-24
"""The same of a number that was computed in float32."""


def step_of(numbers: ArrayLike, images: Iterable[int] = ()) -> float:
    """The step of shares of n images, 1/n; 0 of numbers that are none, such as times and counts.

    n is the least of the counts of images that all numbers are shares of. Where none is, it is guessed: the least common
    denominator of the numbers, so that the step is rather too large than too small, and a test errs towards no difference. One
    or two numbers, such as 0.8 in all seeds, say little of n: then it is the least multiple above `FEWEST_IMAGES`.

    Args:
        images: counts of images that the numbers may be shares of.
    """
    different = np.unique(np.asarray(numbers, dtype=float))
    known = _denominators(different, np.array(sorted(images), dtype=np.int64))
    if len(known):
        return float(1 / known[0])
    found = _denominators(different, np.arange(1, MOST_IMAGES + 1))
    if not len(found) or (found[0] == 1 and np.abs(different).max(initial=0) > 1):
        return 0.0
    count = int(found[0])
    if len(different) < FEWEST_NUMBERS:
        count *= math.ceil(FEWEST_IMAGES / count)
    return 1 / count


def _denominators(numbers: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some counts that all numbers are shares of, up to rounding: that of float32 where all passed through it."""
    in_float32 = bool((numbers.astype(np.float32) == numbers).all())
    rounding = ROUNDING_FLOAT32 if in_float32 else ROUNDING
    for number in numbers:
        if not len(counts):
            break
        apart = np.abs(number - np.rint(number * counts) / counts)
        counts = counts[apart <= rounding * max(1.0, abs(number))]
    return counts
