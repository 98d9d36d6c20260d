"""The seeds, or the test images, that would show a difference."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from capsbench.stats.differences import FEWEST_SEEDS, Difference
from capsbench.stats.variances import ALPHA, critical_value

MOST_SEEDS = 100
"""The most seeds to look for."""

POWER = 0.8
"""The usual power of a planned experiment: the probability that the test finds the difference."""

MOST_TEST_IMAGES = 10**8
"""The most test images to look for."""

QUADRATURE = (np.arange(400) + 0.5) / 400
"""Probabilities of the quantiles that an expectation over an estimated variance is the mean of."""


class Plan(NamedTuple):
    """What would show a difference, with a power of `POWER`.

    Attributes:
        effect: the true difference that is assumed.
        power: the power of the test with the seeds and images at hand; nan for one seed.
        seeds: the fewest seeds, on the same test images; None if as many as were looked for are too few.
        more_images: without such a number of seeds, the test images to add so that the most seeds looked for are enough; None if
            no number of images is enough either, or if the comparison is not image by image.
    """

    effect: float
    power: float
    seeds: int | None
    more_images: int | None


def plan_seeds(
    difference: Difference, effect: float | None = None, level: float = ALPHA, most_seeds: int = MOST_SEEDS
) -> Plan:
    """Finds the seeds, or else the test images, with which the suite's own test would find a difference.

    More seeds average out the variance over seeds. The variance over images remains: beyond it no number of seeds helps.

    The spread is taken as observed, and three seeds estimate it poorly, so the result is a rough guide. So is the difference,
    unless another effect is given: one that was chosen because it looked large is smaller in truth, and takes more seeds.

    Args:
        difference: over two seeds or more.
        effect: the true difference to plan for; the observed one by default.
        level: the significance level of the test, `ALPHA` divided by the comparisons of its family.
        most_seeds: the most seeds to look for.
    """
    effect = abs(difference.mean if effect is None else effect)
    if difference.seeds < 2 or not difference.variances:
        return Plan(effect, math.nan, None, None)
    power = find_power(difference, effect, level)
    # Power grows with the number of seeds.
    choices = range(FEWEST_SEEDS, most_seeds + 1)
    place = bisect_left(choices, POWER, key=lambda seeds: find_power(difference.with_seeds(seeds), effect, level))
    if place < len(choices):
        return Plan(effect, power, choices[place], None)
    return Plan(effect, power, None, _find_images(difference.with_seeds(most_seeds), effect, level))


def find_power(difference: Difference, effect: float, level: float = ALPHA) -> float:
    """Returns the probability that Cochran and Cox's test finds a true difference, given the parts of its variance.

    The estimate of the first part, that over seeds, varies from one run to the next as chi-square does; the others have many
    degrees of freedom and are taken as known. With the first part alone, this is the power of the t-test.
    """
    first, *rest = difference.variances
    variance = sum(part.value for part in difference.variances)
    if not variance:
        return math.nan
    drawn = first.value * special.chdtri(first.freedom, 1 - QUADRATURE) / first.freedom
    total, weighted = drawn.copy(), drawn * critical_value(first.freedom, level)
    for part in rest:
        total += part.value
        weighted += part.value * critical_value(part.freedom, level)
    half: NDArray[np.float64] = weighted / np.sqrt(total)
    error = math.sqrt(variance)
    return float((special.ndtr((effect - half) / error) + special.ndtr((-effect - half) / error)).mean())


def _find_images(difference: Difference, effect: float, level: float) -> int | None:
    """Returns the test images to add until the power is `POWER`; None if there is no such number."""
    if not difference.images or find_power(_with_images(difference, MOST_TEST_IMAGES), effect, level) < POWER:
        return None
    few, enough = difference.images, MOST_TEST_IMAGES
    while enough - few > 1:
        middle = (few + enough) // 2
        is_enough = find_power(_with_images(difference, middle), effect, level) >= POWER
        few, enough = (few, middle) if is_enough else (middle, enough)
    return enough - difference.images


def _with_images(difference: Difference, images: int) -> Difference:
    """Extrapolates a difference to another number of test images: all parts but that of the seeds shrink as 1 / images."""
    ratio = images / difference.images
    first, *rest = difference.variances
    parts = tuple(part._replace(value=part.value / ratio, freedom=part.freedom * ratio) for part in rest)
    return difference._replace(images=images, variances=(first, *parts))
