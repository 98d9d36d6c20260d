"""The variance of a mean over seeds and images, its confidence interval and its p-value.

All functions but `p_value` take one number or an array of them, such as all differences of a table.
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
"""The significance level of all tests: the probability of any false positive in a table without true differences."""

LEAST = 1e-300
"""The smallest p-value searched for: 0 to any reader, but its quantiles are finite."""


class Variance(NamedTuple):
    """An estimated variance of a mean, or a part of it, and its degrees of freedom.

    ``of_images`` is true if more images would reduce it and more seeds would not.
    """

    value: Any
    freedom: Any
    of_images: bool = False


def variances_of_images(differences: NDArray[Any]) -> tuple[Variance, ...]:
    """Estimates the parts of the variance of a mean difference of two accuracies.

    Seeds and images each contribute the variance of their means. Three seeds that agree by chance show too little variance, or
    none. So the seeds' part is raised to the variance that the images alone cause in a seed's accuracy: the residual of the
    analysis of variance, which has many degrees of freedom. The images' part is at least that of one image.

    Args:
        differences: one minus the other, ``[..., seeds, images]`` of -1, 0 and 1; two seeds or more.

    Returns:
        The parts of the variance, each ``[...]``.
    """
    seeds, images = differences.shape[-2:]
    by_seed = differences.sum(axis=-1, dtype=np.int64)
    by_image = differences.sum(axis=-2, dtype=np.int16)
    # Sums of squares of the seeds, the images and the residual, multiplied by seeds * images so that they are exact integers.
    count = seeds * images
    common = by_seed.sum(axis=-1) ** 2
    of_seeds = seeds * np.square(by_seed).sum(axis=-1) - common
    of_images = images * np.square(by_image, dtype=np.int64).sum(axis=-1) - common
    rest = count * np.square(differences).sum(axis=(-2, -1), dtype=np.int64) - common - of_seeds - of_images
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
    """Estimates the variance of a mean over seeds: the observed variance and that of rounding (Sheppard 1898).

    Args:
        values: ``[..., seeds]``.
        step: the numbers are multiples of it; 0 if they are not rounded.
        rounded: the number of rounded numbers that each value is a sum or difference of.
    """
    seeds = values.shape[-1]
    observed = values.var(axis=-1, ddof=1)
    observed = np.where(observed > (ROUNDING * np.abs(values).max(axis=-1)) ** 2, observed, 0.0)
    return Variance((observed + rounded * step**2 / 12) / seeds, seeds - 1)


def critical_value(freedom: Any, level: float = ALPHA) -> Any:
    """Returns the two-sided critical value of Student's t; nan for 0 degrees of freedom.

    Args:
        freedom: the degrees of freedom, a number or a series.
        level: the significance level, 0.05 for a 95 % interval.
    """
    # The lower quantile: 1 - level / 2, for the upper one, would round a small level away.
    return -special.stdtrit(freedom, level / 2)


def half_width(variances: Sequence[Variance], level: float = ALPHA) -> Any:
    """Returns the half-width of the interval of a mean whose variance is a sum of estimates.

    The critical value is Cochran and Cox's (1950): the mean of the parts' critical values, weighted by their variances.
    Satterthwaite's degrees of freedom would be too many whenever three seeds agree by chance, which gives false positives after
    correction for multiple comparisons (docs/statistics.md).
    """
    total = sum(part.value for part in variances)
    weighted = sum(part.value * critical_value(part.freedom, level) for part in variances)
    return weighted / np.sqrt(total)


def p_value(mean: float, variances: Sequence[Variance]) -> float:
    """Returns the two-sided p-value of a mean: the level at which an end of the interval is 0."""
    t = abs(mean) / math.sqrt(sum(part.value for part in variances))
    # The p-value lies between those of the single parts; bisection of its logarithm finds it.
    single = [2 * float(special.stdtr(part.freedom, -t)) for part in variances if part.value > 0]
    low, high = (math.log(max(p, LEAST)) for p in (min(single), max(single)))
    for _ in range(50 if low < high else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if half_width(variances, math.exp(middle)) > abs(mean) else (low, middle)
    return math.exp(high)
