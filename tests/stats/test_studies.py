"""The test over studies, beside the test over seeds and beside sums that are written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from capsbench.errors import ArgumentError
from capsbench.stats.differences import compare_accuracies, paired_seeds
from capsbench.stats.studies import compare_tuned_accuracies, compare_tuned_numbers


def draw_correct(studies: int, seeds: int, images: int, better: float = 0.8) -> tuple[NDArray[np.bool_], ...]:
    draw = np.random.default_rng(studies * seeds)
    return tuple(draw.random((studies, seeds, images)) < share for share in (better, 0.7))


def test_with_one_seed_a_study_is_what_a_seed_is() -> None:
    one, other = draw_correct(4, 1, 60)
    assert compare_tuned_accuracies(one, other) == compare_accuracies(one[:, 0], other[:, 0])


def test_of_many_seeds_the_mean_counts_and_studies_and_images_are_sources_of_error() -> None:
    one, other = draw_correct(4, 3, 60)
    apart = (one.astype(float) - other).mean(axis=1)
    by_study, by_image = apart.mean(axis=1).var(ddof=1) / 4, apart.mean(axis=0).var(ddof=1) / 60
    rest = apart - apart.mean(axis=0) - apart.mean(axis=1, keepdims=True) + apart.mean()
    least = (rest**2).sum() / (3 * 59) / (4 * 60)
    found = compare_tuned_accuracies(one, other)
    assert found.mean == pytest.approx(apart.mean())
    assert (found.seeds, found.images) == (4, 60)
    expected = [by_study, max(0, least - by_study), by_image]
    assert [part.value for part in found.variances] == pytest.approx(expected)
    assert [part.freedom for part in found.variances] == [3, 3 * 59, 59]
    critical = [stats.t.isf(0.025, freedom) for freedom in (3, 3 * 59, 59)]
    assert found.half == pytest.approx(np.dot(expected, critical) / math.sqrt(sum(expected)))


def test_the_images_vary_as_one_image_at_least() -> None:
    one = np.ones((3, 5, 50), dtype=bool)
    for other in (one, ~one):
        assert compare_tuned_accuracies(one, other).variances[2].value == pytest.approx(1 / 50**2)


def test_twenty_seeds_do_not_overflow() -> None:
    one = np.ones((3, 20, 40), dtype=bool)
    other = one.copy()
    other[:, :, :10] = False
    found = compare_tuned_accuracies(one, other)
    assert found.mean == 0.25
    assert found.variances[2].value == pytest.approx((10 * 0.75**2 + 30 * 0.25**2) / 39 / 40)


def test_numbers_are_tested_by_scipys_paired_t_test_over_studies() -> None:
    one, other = np.random.default_rng(0).normal(0.9, 0.02, (2, 4, 3))
    found = compare_tuned_numbers(one, other, step=0.0)
    assert found.p == pytest.approx(stats.ttest_rel(one.mean(axis=1), other.mean(axis=1)).pvalue)
    assert found.seeds == 4


def test_a_mean_over_seeds_has_less_rounding() -> None:
    one, other = np.full((4, 3), 0.91), np.full((4, 3), 0.90)
    for step in (0.01, None):
        (part,) = compare_tuned_numbers(one, other, step).variances
        assert part.value == pytest.approx(2 * 0.01**2 / 12 / 3 / 4)
    assert compare_tuned_numbers(one[:, :1], other[:, :1], 0.01) == paired_seeds([0.91] * 4, [0.9] * 4, 0.01)


@pytest.mark.parametrize(
    ("one", "other"),
    [((4, 2, 9), (4, 3, 9)), ((4, 2, 9), (3, 2, 9)), ((1, 5, 9), (1, 5, 9)), ((4, 9), (4, 9)), ((4, 2, 0), (4, 2, 0))],
)
def test_only_studies_of_one_shape_are_compared(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError) as caught:
        compare_tuned_accuracies(np.zeros(one, dtype=bool), np.zeros(other, dtype=bool))
    assert caught.value.value == (one, other)


@pytest.mark.parametrize(("one", "other"), [((4, 2), (4, 3)), ((4,), (4,)), ((0, 2), (0, 2))])
def test_only_numbers_of_one_shape_are_compared(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError) as caught:
        compare_tuned_numbers(np.zeros(one), np.zeros(other))
    assert caught.value.value == (one, other)
