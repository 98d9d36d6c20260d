"""When a difference between networks is one: paired tests over test images and seeds, corrected for how many are made."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special  # scipy.stats, which has the same by other names, takes a second to import

from capsbench.errors import ArgumentError

ALPHA = 0.05
"""The level of all tests: of a table without any difference, at most this chance to call one of them a difference."""

FEWEST_SEEDS = 3
"""Seeds that it takes to speak of networks trained alike: of two, which may agree by chance, an interval says little."""


class Difference(NamedTuple):
    """One number less another, paired.

    Attributes:
        mean: the difference, as a fraction.
        half: half-width of its 95 % interval; nan where it cannot be told.
        p: two-sided, that a difference of none looks like this; nan where it cannot be told.
        seeds: pairs of networks.
        images: test images that both were shown; 0 where only the numbers of the seeds are known.
    """

    mean: float
    half: float
    p: float
    seeds: int
    images: int


def paired(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Difference:
    """The difference of two accuracies from which images were right.

    Of several seeds, both of its sources of error count: other seeds would give other networks, and other images another test.
    The variance of the mean is estimated as that of the seeds' means divided by the seeds, plus that of the images' means
    divided by the images; what seeds and images have in common is counted twice, so that the test errs towards no difference. The
    test is Cochran and Cox's (1950). Of one seed, the p-value is McNemar's exact one (1947): it is about these two networks, and
    says nothing of others trained alike.

    Args:
        one, other: ``[seeds, images]``; row and column mean the same seed and image in both.

    Raises:
        ArgumentError: the shapes differ, or there is nothing to compare.
    """
    if one.shape != other.shape or one.ndim != 2 or one.size == 0:
        raise ArgumentError("one, other", "two arrays [seeds, images] of one shape", (one.shape, other.shape))
    seeds, images = one.shape
    apart = one.astype(float) - other.astype(float)
    mean = float(apart.mean())
    of_images = float(apart.mean(axis=0).var(ddof=1)) / images if images > 1 else math.nan
    if seeds == 1:
        better, worse = int((apart > 0).sum()), int((apart < 0).sum())
        p = min(1.0, 2 * float(special.bdtr(min(better, worse), better + worse, 0.5))) if better + worse else 1.0
        return Difference(mean, float(special.ndtri(1 - ALPHA / 2)) * math.sqrt(of_images), p, seeds, images)
    of_seeds = float(apart.mean(axis=1).var(ddof=1)) / seeds
    if of_seeds + of_images == 0:
        return _alike(mean, seeds, images)
    return Difference(mean, *_cochran_cox(mean, (of_seeds, of_images), (seeds - 1, images - 1)), seeds, images)


def paired_seeds(one: Sequence[float], other: Sequence[float]) -> Difference:
    """The difference of two numbers, of which only the values of each seed are known: a paired t-test.

    Args:
        one, other: a number of each seed, in the same order.
    """
    apart = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    if len(apart) < 2:
        return Difference(float(apart.mean()), math.nan, math.nan, len(apart), 0)
    return _t_test(float(apart.mean()), float(apart.var(ddof=1)) / len(apart), len(apart) - 1, len(apart))


def unpaired(one: Sequence[float], other: Sequence[float]) -> Difference:
    """The difference of two numbers, of which each has its own seeds: Welch's t-test (1947).

    Args:
        one, other: a number of each seed.
    """
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    mean, seeds = float(first.mean() - second.mean()), min(len(first), len(second))
    if seeds < 2:
        return Difference(mean, math.nan, math.nan, seeds, 0)
    parts = [(float(each.var(ddof=1)) / len(each), len(each) - 1) for each in (first, second)]
    total = sum(part for part, _ in parts)
    freedom = total**2 / sum(part**2 / degrees for part, degrees in parts) if total else math.nan
    return _t_test(mean, total, freedom, seeds)


def quantile(freedom: Any) -> Any:
    """How many standard errors the half-width of a 95 % interval is, at some degrees of freedom; nan for none.

    Args:
        freedom: a number, or a series of them.
    """
    return special.stdtrit(freedom, 1 - ALPHA / 2)


def interval(of_seeds: Sequence[float]) -> tuple[float, float]:
    """The mean of a number over seeds and the half-width of its 95 % t-interval, which is nan for one seed."""
    values = np.asarray(of_seeds, dtype=float)
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)) * float(quantile(len(values) - 1))


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """P-values adjusted for being many (Holm 1979): below `ALPHA`, a difference holds among all of them. A nan stays one."""
    given = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(given), np.nan)
    order = [place for place in np.argsort(given) if not np.isnan(given[place])]
    least = 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * given[place]))
        adjusted[place] = least
    return adjusted


def _alike(mean: float, seeds: int, images: int) -> Difference:
    """Where no pair differs from another: what a few seeds happen to agree on shows no variance."""
    return Difference(mean, 0.0 if mean == 0 else math.nan, 1.0 if mean == 0 else math.nan, seeds, images)


def _t_test(mean: float, variance: float, freedom: float, seeds: int) -> Difference:
    """A t-test of a mean over seeds, from the estimated variance of that mean."""
    if variance == 0:
        return _alike(mean, seeds, 0)
    error = math.sqrt(variance)
    return Difference(
        mean, float(quantile(freedom)) * error, 2 * float(special.stdtr(freedom, -abs(mean) / error)), seeds, 0
    )


def _cochran_cox(mean: float, parts: tuple[float, float], freedom: tuple[int, int]) -> tuple[float, float]:
    """Half-width of the interval, and p-value, of a mean whose variance is a sum of two estimates, one of few degrees of freedom.

    The critical value is that of either part alone, weighted by its share of the variance. Satterthwaite's degrees of freedom
    would be many whenever three seeds happen to agree; after correction for many comparisons that calls differences where there
    are none: of 6 equal networks beside another, in 15 to 21 % of tables in place of 5 (docs/protocol.md).
    """
    total = sum(parts)
    shares, error = np.asarray(parts) / total, math.sqrt(total)

    def critical(p: float) -> float:
        return -float(shares @ special.stdtrit(freedom, p / 2))

    # The p-value is that of which the critical value is the one found: between those of the parts alone.
    t = abs(mean) / error
    alone = 2 * special.stdtr(freedom, -t)
    low, high = (math.log(max(float(p), sys.float_info.min)) for p in (alone.min(), alone.max()))
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if critical(math.exp(middle)) > t else (low, middle)
    return critical(ALPHA) * error, math.exp(high)
