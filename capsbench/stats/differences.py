"""When a difference between networks is one: paired tests over test images and seeds, corrected for how many are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special  # scipy.stats, which has the same by other names, takes a second to import

from capsbench.errors import ArgumentError
from capsbench.stats.steps import ROUNDING, step_of
from capsbench.stats.variances import ALPHA as ALPHA
from capsbench.stats.variances import Variance, half_width, p_value, variance_of_seeds, variances_of_images

FEWEST_SEEDS = 3
"""Seeds that it takes to speak of networks trained alike: of two, which may agree by chance, an interval says little."""


class Difference(NamedTuple):
    """One number less another, paired.

    Attributes:
        mean: the difference, as a fraction.
        p: two-sided, that a difference of none looks like this; nan for the numbers of one seed.
        seeds: pairs of networks.
        images: test images that both were shown; 0 where only the numbers of the seeds are known.
        variances: the parts of the variance of the mean; none where nothing shows it.
    """

    mean: float
    p: float
    seeds: int
    images: int
    variances: tuple[Variance, ...] = ()

    def half_at(self, level: float) -> float:
        """Half-width of the interval that misses by chance at a level; nan where it cannot be told."""
        return float(half_width(self.variances, level)) if self.variances else math.nan

    def with_seeds(self, seeds: int) -> Difference:
        """The same difference and spread as so many seeds would show them; of the p-value nothing is said."""
        ratio = seeds / self.seeds
        variances = tuple(
            part
            if part.of_images
            else part._replace(value=part.value / ratio, freedom=part.freedom * (seeds - 1) / (self.seeds - 1))
            for part in self.variances
        )
        return self._replace(p=math.nan, seeds=seeds, variances=variances)

    @property
    def half(self) -> float:
        """Half-width of the 95 % interval of this difference alone; nan where it cannot be told."""
        return self.half_at(ALPHA)


def paired(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Difference:
    """The difference of two accuracies from which images were right.

    Of several seeds, both of its sources of error count: other seeds would give other networks, and other images another test.
    The variance of the mean is estimated as that of the seeds' means divided by the seeds, plus that of the images' means
    divided by the images, neither less than the images make it
    (`capsbench.stats.variances.variances_of_images`); what seeds and images have in common is counted twice, so that the test
    errs towards no difference. The test is Cochran and Cox's (1950). Of one seed, the p-value is McNemar's exact one (1947): it
    is about these two networks, and says nothing of others trained alike.

    Args:
        one, other: ``[seeds, images]``; row and column mean the same seed and image in both.

    Raises:
        ArgumentError: the shapes differ, or there is nothing to compare.
    """
    if one.shape != other.shape or one.ndim != 2 or one.size == 0:
        raise ArgumentError("one, other", "two arrays [seeds, images] of one shape", (one.shape, other.shape))
    seeds, images = one.shape
    apart = one.astype(np.int8) - other.astype(np.int8)
    mean = float(apart.mean())
    if seeds == 1:
        better, worse = int((apart > 0).sum()), int((apart < 0).sum())
        p = min(1.0, 2 * float(special.bdtr(min(better, worse), better + worse, 0.5))) if better + worse else 1.0
        of_images = max((better + worse - images * mean**2) / max(images - 1, 1) / images, images**-2)
        return Difference(mean, p, seeds, images, (Variance(of_images, math.inf),))
    variances = variances_of_images(apart)
    return Difference(mean, p_value(mean, variances), seeds, images, variances)


def paired_seeds(one: Sequence[float], other: Sequence[float], step: float | None = None) -> Difference:
    """The difference of two numbers, of which only the values of each seed are known: a paired t-test.

    Args:
        one, other: a number of each seed, in the same order.
        step: the numbers are multiples of it, such as 1/n for accuracies on n images, and that much is rounded away; 0 for none.
            None: what these numbers are multiples of.
    """
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    mean, seeds = float((first - second).mean()), len(first)
    if seeds < 2:
        return Difference(mean, math.nan, seeds, 0)
    found = step_of([*one, *other]) if step is None else step
    return _tested(mean, (variance_of_seeds(first - second, found, rounded=2),), seeds)


def unpaired(one: Sequence[float], other: Sequence[float], step: float | None = None) -> Difference:
    """The difference of two numbers, of which each has its own seeds: Welch's t-test (1947).

    Args:
        one, other: a number of each seed.
        step: as in `paired_seeds`.
    """
    sides = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    mean, seeds = float(sides[0].mean() - sides[1].mean()), min(map(len, sides))
    if seeds < 2:
        return Difference(mean, math.nan, seeds, 0)
    found = step_of([*one, *other]) if step is None else step
    parts = [variance_of_seeds(values, found, rounded=1) for values in sides]
    total = sum(part.value for part in parts)
    spread = sum(part.value**2 / part.freedom for part in parts)
    return _tested(mean, (Variance(total, total**2 / spread if spread else math.nan),), seeds)


def interval(of_seeds: Sequence[float], step: float | None = None, level: float = ALPHA) -> tuple[float, float]:
    """The mean of a number over seeds and the half-width of its t-interval, which misses by chance at a level.

    The half-width is nan for one seed, and for equal numbers without a step, which show no spread.

    Args:
        step: as in `paired_seeds`.
    """
    values = np.asarray(of_seeds, dtype=float)
    if len(values) < 2:
        return float(values.mean()), math.nan
    variance = variance_of_seeds(values, step_of(values) if step is None else step, rounded=1)
    return float(values.mean()), float(half_width([variance], level)) if variance.value else math.nan


def intervals(means: pd.Series, errors: pd.Series, seeds: pd.Series, steps: pd.Series) -> pd.Series:
    """The half-widths of `interval` for many numbers at once: series of means over seeds, standard errors, seeds and steps."""
    seen = errors.where(errors > ROUNDING * means.abs(), 0.0)
    variances = seen**2 + steps**2 / (12 * seeds)
    halves: pd.Series = half_width([Variance(variances.where((variances > 0) & (seeds > 1)), seeds - 1)])
    return halves


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values adjusted for being many (Holm 1979): below `ALPHA`, a difference holds among all of them. A nan stays one.

    Args:
        p_values: ``[..., many]``.
    """
    given = np.asarray(p_values, dtype=float)
    order = np.argsort(given, axis=-1)  # nan at the end
    left = np.count_nonzero(~np.isnan(given), axis=-1, keepdims=True) - np.arange(given.shape[-1])
    ranked = np.minimum(np.take_along_axis(given, order, axis=-1) * left, 1.0)
    adjusted = np.empty_like(given)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(ranked, axis=-1), axis=-1)
    return adjusted


def _tested(mean: float, variances: tuple[Variance, ...], seeds: int) -> Difference:
    """A difference with its p-value, which is 1 where seeds that agree show no spread to hold it against."""
    if not sum(part.value for part in variances):
        return Difference(mean, 1.0, seeds, 0)
    return Difference(mean, p_value(mean, variances), seeds, 0, variances)
