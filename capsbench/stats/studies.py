"""Tests of differences between tuned contenders. Their unit is the study: a whole search for the setting.

A winner is as good as the search that found it. Seeds of one winner repeat its training, not its search, so a test over the seeds
of one study mistakes the luck of a search for a difference: it finds one between equal contenders in 6, 10 and 17 % of pairs with
3, 5 and 10 seeds (tests/stats/test_tuned_tables.py). Therefore each contender gets several studies with disjoint trials. The
winner of each study is trained anew with fresh seeds, and the test is that of `capsbench.stats.differences` over studies and
images, with the mean over its seeds as the result of a study.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capsbench.errors import ArgumentError
from capsbench.stats.differences import Difference, paired_seeds
from capsbench.stats.steps import step_of
from capsbench.stats.variances import p_value, variances_of_images


def compare_tuned_accuracies(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Difference:
    """Compares two tuned contenders, image by image and study by study, by Cochran and Cox's test (1950).

    The parts of the variance are those of `capsbench.stats.differences.compare_accuracies`, with studies in the place of seeds.
    The variance over seeds within a study adds to that over studies, so it needs no part of its own.

    Args:
        one, other: correct predictions ``[studies, seeds, images]``; columns are the same images in both. Two studies or more.

    Returns:
        A difference whose ``seeds`` are studies.

    Raises:
        ArgumentError: the shapes differ, the arrays are empty, or there is one study only.
    """
    if one.shape != other.shape or one.ndim != 3 or one.size == 0 or len(one) < 2:
        expected = "two arrays [studies, seeds, images] of one shape, with two studies or more"
        raise ArgumentError("one, other", expected, (one.shape, other.shape))
    studies, seeds, images = one.shape
    # Sums over seeds, so that the sums of squares are exact integers.
    differences = one.sum(axis=1, dtype=np.int32) - other.sum(axis=1, dtype=np.int32)
    mean = float(differences.mean()) / seeds
    variances = tuple(
        # The part of the images is at least that of one image, however many seeds agree on it.
        part._replace(value=max(part.value / seeds**2, images**-2 if part.of_images else 0))
        for part in variances_of_images(differences)
    )
    return Difference(mean, p_value(mean, variances), studies, images, variances)


def compare_tuned_numbers(
    one: NDArray[np.float64], other: NDArray[np.float64], step: float | None = None
) -> Difference:
    """Compares a number of two tuned contenders by a paired t-test over studies.

    Args:
        one, other: ``[studies, seeds]``, in the same order of studies.
        step: of a single number, as in `capsbench.stats.differences.paired_seeds`.

    Returns:
        A difference whose ``seeds`` are studies.

    Raises:
        ArgumentError: the shapes differ, or the arrays are empty.
    """
    if one.shape != other.shape or one.ndim != 2 or one.size == 0:
        raise ArgumentError("one, other", "two arrays [studies, seeds] of one shape", (one.shape, other.shape))
    step = step_of([*one.ravel(), *other.ravel()]) if step is None else step
    # The mean of rounded numbers has the variance of one rounding error divided by their number.
    rounding = step / one.shape[1] ** 0.5
    return paired_seeds(one.mean(axis=1).tolist(), other.mean(axis=1).tolist(), rounding)
