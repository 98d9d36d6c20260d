"""The variance of a mean from its sources, other seeds and other images, and the interval and the p-value that follow.

All functions take one number or an array of them, such as all differences of a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special  # scipy.stats, which has the same by other names, takes a second to import

from capsbench.stats.steps import ROUNDING

ALPHA = 0.05
"""The level of all tests: of a table without any difference, at most this chance to call one of them a difference."""

LEAST = 1e-300
"""A p-value that no reader tells from 0, and whose quantiles are finite."""


class Variance(NamedTuple):
    """An estimated variance of a mean, or a part of it, and its degrees of freedom.

    ``of_images`` is true of what more images would lessen and more seeds would not.
    """

    value: Any
    freedom: Any
    of_images: bool = False


def variances_of_images(apart: NDArray[Any]) -> tuple[Variance, ...]:
    """The sources of error of the mean difference of two accuracies.

    Seeds and images each count with the variance of their means. Three seeds that happen to agree show too little variance, or
    none: their share is filled up to what the images alone make the accuracy of a seed vary by, the residual of the analysis of
    variance, which has many degrees of freedom. The share of the images is that of one image at least.

    Args:
        apart: one less the other, ``[..., seeds, images]`` of -1, 0 and 1; two seeds or more.

    Returns:
        The parts of the variance, each ``[...]``.
    """
    seeds, images = apart.shape[-2:]
    by_seed = apart.sum(axis=-1, dtype=np.int64)
    by_image = apart.sum(axis=-2, dtype=np.int16)
    # Sums of squares, times their number so that they stay whole: of seeds, of images and of the rest.
    count = seeds * images
    common = by_seed.sum(axis=-1) ** 2
    of_seeds = seeds * np.square(by_seed).sum(axis=-1) - common
    of_images = images * np.square(by_image, dtype=np.int64).sum(axis=-1) - common
    rest = count * np.square(apart).sum(axis=(-2, -1), dtype=np.int64) - common - of_seeds - of_images
    freedom = seeds - 1, max(images - 1, 1)
    seed, image, least = (
        squares / degrees / count**2
        for squares, degrees in zip((of_seeds, of_images, rest), (*freedom, math.prod(freedom)), strict=True)
    )
    return (
        Variance(seed, freedom[0]),
        Variance(np.maximum(least - seed, 0), math.prod(freedom)),
        Variance(np.maximum(image, images**-2), freedom[1], of_images=True),
    )


def variance_of_seeds(values: NDArray[np.float64], step: float, rounded: int) -> Variance:
    """The variance of the mean over seeds of numbers that are known to a step: that seen, and that of rounding (Sheppard 1898).

    Args:
        values: ``[..., seeds]``.
        step: of the numbers, 0 for none.
        rounded: how many such numbers each value is a sum or difference of.
    """
    seeds = values.shape[-1]
    seen = values.var(axis=-1, ddof=1)
    seen = np.where(seen > (ROUNDING * np.abs(values).max(axis=-1)) ** 2, seen, 0.0)
    return Variance((seen + rounded * step**2 / 12) / seeds, seeds - 1)


def quantile(freedom: Any, level: float = ALPHA) -> Any:
    """How many standard errors the half-width of an interval is, at some degrees of freedom; nan for none.

    Args:
        freedom: a number, or a series of them.
        level: the chance to miss, 5 % of a 95 % interval.
    """
    return -special.stdtrit(freedom, level / 2)  # beside 1, a small level would be rounded away


def half_width(variances: Sequence[Variance], level: float = ALPHA) -> Any:
    """Half-width of the interval of a mean whose variance is a sum of estimates, some of few degrees of freedom.

    The critical value is Cochran and Cox's (1950): that of each part alone, weighted by its share of the variance.
    Satterthwaite's degrees of freedom would be many whenever three seeds happen to agree; after correction for many comparisons
    that calls differences where there are none (docs/protocol.md).
    """
    total = sum(part.value for part in variances)
    weighted = sum(part.value * quantile(part.freedom, level) for part in variances)
    return weighted / np.sqrt(total)


def p_value(mean: float, variances: Sequence[Variance]) -> float:
    """The two-sided p-value of a mean: the level of which the interval just holds 0."""
    t = abs(mean) / math.sqrt(sum(part.value for part in variances))
    # It lies between those of the parts alone.
    alone = [2 * float(special.stdtr(part.freedom, -t)) for part in variances if part.value > 0]
    low, high = (math.log(max(p, LEAST)) for p in (min(alone), max(alone)))
    for _ in range(50 if low < high else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if half_width(variances, math.exp(middle)) > abs(mean) else (low, middle)
    return math.exp(high)
