"""When a network is said to have collapsed, stated a second time by counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from capsbench.stats.collapse import Counts, binomial_tail


@pytest.mark.parametrize(
    ("counts", "collapsed"),
    [
        (Counts(images=500, predicted=500, labelled=52, right=50), True),  # one class of ten
        (Counts(500, predicted=475, labelled=52, right=75), True),  # 95 % are enough, though 15 % are right
        (Counts(500, predicted=474, labelled=52, right=76), False),
        (Counts(500, predicted=60, labelled=52, right=480), False),
        (Counts(500, predicted=60, labelled=50, right=61), True),  # chance: 61 of 500 or more has p = 0.060 at 10 %
        (Counts(500, predicted=60, labelled=50, right=62), False),  # p = 0.045
    ],
)
def test_one_class_or_no_better_than_one_class(counts: Counts, collapsed: bool) -> None:
    assert counts.collapsed is collapsed


@pytest.mark.parametrize(
    ("counts", "collapsed"),
    [
        (Counts(1000, predicted=1000, labelled=900, right=900), True),  # the majority's class alone
        (Counts(1000, predicted=905, labelled=900, right=985), False),
        (Counts(1000, predicted=1000, labelled=960, right=960), True),
        (Counts(1000, predicted=962, labelled=960, right=994), False),  # beyond 95 %, as the images are
        (Counts(1000, predicted=981, labelled=960, right=979), True),  # fewer than half of the others are found
    ],
)
def test_a_class_of_most_images_is_no_collapse(counts: Counts, collapsed: bool) -> None:
    assert counts.collapsed is collapsed


@pytest.mark.parametrize("images", range(1, 20))
def test_few_images_tell_nothing(images: int) -> None:
    assert Counts(images, images, 1, 1).collapsed is None
    assert Counts(images, 1, 1, images).collapsed is None


def test_twenty_images_do() -> None:
    assert Counts(20, predicted=2, labelled=2, right=20).collapsed is False
    assert Counts(20, predicted=19, labelled=2, right=3).collapsed is True


def test_where_nobody_could_be_above_the_largest_class_nothing_is_told() -> None:
    assert Counts(500, predicted=500, labelled=500, right=500).collapsed is None
    assert Counts(50, predicted=50, labelled=48, right=48).collapsed is None  # 0.96 ** 50 is 0.13
    assert Counts(100, predicted=100, labelled=96, right=96).collapsed is True  # 0.96 ** 100 is 0.017


@pytest.mark.parametrize("count", [0, 1, 61, 500])
def test_the_test_is_the_exact_binomial_one(count: int) -> None:
    assert binomial_tail(count, 500, 0.1) == pytest.approx(stats.binom.sf(count - 1, 500, 0.1))


def test_counts_are_of_predictions_and_labels() -> None:
    predictions, labels = np.array([2, 2, 2, 0], np.int32), np.array([2, 1, 1, 0], np.int32)
    assert Counts.from_predictions(predictions, labels) == (4, 3, 2, 2)
