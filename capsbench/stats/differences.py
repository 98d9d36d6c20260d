"""Tests of differences between networks, over test images and seeds, and their correction for multiple comparisons."""

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
"""The fewest seeds that a test needs: two seeds may agree by chance, so their interval says little."""


class Difference(NamedTuple):
    """The difference of two numbers, one minus the other.

    Attributes:
        mean: the difference, as a fraction.
        p: the two-sided p-value of no difference; nan for single seeds whose images are not known.
        seeds: pairs of networks, or the seeds on the smaller side of an unpaired comparison.
        images: test images that both networks classified; 0 if only the numbers of the seeds are known.
        variances: the parts of the variance of the mean; empty if it cannot be estimated.
    """

    mean: float
    p: float
    seeds: int
    images: int
    variances: tuple[Variance, ...] = ()

    def half_at(self, level: float) -> float:
        """Half-width of the confidence interval at a significance level; nan if the variance is unknown."""
        return float(half_width(self.variances, level)) if self.variances else math.nan

    def with_seeds(self, seeds: int) -> Difference:
        """Extrapolates the difference to another number of seeds of the same spread; its p-value is nan."""
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
        """Half-width of the 95 % interval, without correction for multiple comparisons; nan if the variance is unknown."""
        return self.half_at(ALPHA)


def compare_accuracies(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Difference:
    """Compares two accuracies, image by image and seed by seed.

    With several seeds, both sources of error count: other seeds would give other networks, and other images another test. The
    variance of the mean is the variance of the seeds' means divided by the seeds, plus the variance of the images' means divided
    by the images, each with a lower bound (`capsbench.stats.variances.variances_of_images`). The variance that seeds and images
    share is counted twice, so the test is conservative. The test is Cochran and Cox's (1950).

    With one seed, the p-value is that of McNemar's exact test (1947). It compares these two networks only, not their training.

    Args:
        one, other: correct predictions ``[seeds, images]``; rows are the same seeds, and columns the same images, in both.

    Raises:
        ArgumentError: the shapes differ, or the arrays are empty.
    """
    if one.shape != other.shape or one.ndim != 2 or one.size == 0:
        raise ArgumentError("one, other", "two arrays [seeds, images] of one shape", (one.shape, other.shape))
    seeds, images = one.shape
    differences = one.astype(np.int8) - other.astype(np.int8)
    mean = float(differences.mean())
    if seeds == 1:
        better, worse = int((differences > 0).sum()), int((differences < 0).sum())
        p = min(1.0, 2 * float(special.bdtr(min(better, worse), better + worse, 0.5))) if better + worse else 1.0
        of_images = max((better + worse - images * mean**2) / max(images - 1, 1) / images, images**-2)
        return Difference(mean, p, seeds, images, (Variance(of_images, math.inf),))
    variances = variances_of_images(differences)
    return Difference(mean, p_value(mean, variances), seeds, images, variances)


def paired_seeds(one: Sequence[float], other: Sequence[float], step: float | None = None) -> Difference:
    """Compares two numbers by a paired t-test over seeds.

    Args:
        one, other: one number a seed, in the same order of seeds.
        step: the numbers are multiples of it, such as 1/n for accuracies on n images; its rounding adds to their variance.
            0 if the numbers are not rounded; None to estimate it (`capsbench.stats.steps.step_of`).
    """
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    mean, seeds = float((first - second).mean()), len(first)
    if seeds < 2:
        return Difference(mean, math.nan, seeds, 0)
    step = step_of([*one, *other]) if step is None else step
    return _test_mean(mean, (variance_of_seeds(first - second, step, rounded=2),), seeds)


def compare_unpaired_seeds(one: Sequence[float], other: Sequence[float], step: float | None = None) -> Difference:
    """Compares two numbers that have different seeds by Welch's t-test (1947).

    Args:
        one, other: one number a seed.
        step: as in `paired_seeds`.
    """
    sides = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    mean, seeds = float(sides[0].mean() - sides[1].mean()), min(map(len, sides))
    if seeds < 2:
        return Difference(mean, math.nan, seeds, 0)
    step = step_of([*one, *other]) if step is None else step
    parts = [variance_of_seeds(values, step, rounded=1) for values in sides]
    total = sum(part.value for part in parts)
    spread = sum(part.value**2 / part.freedom for part in parts)
    return _test_mean(mean, (Variance(total, total**2 / spread if spread else math.nan),), seeds)


def estimate_interval(
    of_seeds: Sequence[float], step: float | None = None, level: float = ALPHA
) -> tuple[float, float]:
    """Returns the mean over seeds and the half-width of its t-interval at a significance level.

    The half-width is nan for one seed, and for equal numbers without a step, whose variance is 0.

    Args:
        step: as in `paired_seeds`.
    """
    values = np.asarray(of_seeds, dtype=float)
    if len(values) < 2:
        return float(values.mean()), math.nan
    variance = variance_of_seeds(values, step_of(values) if step is None else step, rounded=1)
    return float(values.mean()), float(half_width([variance], level)) if variance.value else math.nan


def estimate_intervals(means: pd.Series, errors: pd.Series, seeds: pd.Series, steps: pd.Series) -> pd.Series:
    """Returns the half-widths of `estimate_interval` for many means over seeds at once.

    Args:
        means, errors: the means and their standard errors.
        seeds, steps: the number of seeds and the step (as in `paired_seeds`) of each mean.
    """
    observed = errors.where(errors > ROUNDING * means.abs(), 0.0)
    variances = observed**2 + steps**2 / (12 * seeds)  # a uniform rounding error has the variance step**2 / 12
    halves: pd.Series = half_width([Variance(variances.where((variances > 0) & (seeds > 1)), seeds - 1)])
    return halves


def adjust_by_holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusts p-values for multiple comparisons by Holm's method (1979).

    An adjusted p-value below `ALPHA` is significant within the family. A nan stays nan and does not count as a comparison.

    Args:
        p_values: ``[..., comparisons]``.
    """
    raw = np.asarray(p_values, dtype=float)
    order = np.argsort(raw, axis=-1)  # nan at the end
    # The smallest p-value is multiplied by the number of comparisons, the next by one less, and so on.
    remaining = np.count_nonzero(~np.isnan(raw), axis=-1, keepdims=True) - np.arange(raw.shape[-1])
    ranked = np.minimum(np.take_along_axis(raw, order, axis=-1) * remaining, 1.0)
    adjusted = np.empty_like(raw)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(ranked, axis=-1), axis=-1)
    return adjusted


def _test_mean(mean: float, variances: tuple[Variance, ...], seeds: int) -> Difference:
    """Tests a mean against 0; the p-value is 1 if all seeds agree, since the variance is then unknown."""
    if not sum(part.value for part in variances):
        return Difference(mean, 1.0, seeds, 0)
    return Difference(mean, p_value(mean, variances), seeds, 0, variances)
