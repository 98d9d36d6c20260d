"""The tests by which a difference counts as one, beside scipy's and beside networks that are drawn by chance."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from capsbench.errors import ArgumentError
from capsbench.stats.differences import (
    ALPHA,
    Difference,
    adjust_by_holm,
    compare_accuracies,
    compare_unpaired_seeds,
    estimate_interval,
    estimate_intervals,
    paired_seeds,
)
from capsbench.stats.variances import Variance


def test_of_one_seed_the_p_value_is_mcnemars_exact_one() -> None:
    one = np.array([[True] * 9 + [False] * 2 + [True] * 89])
    other = np.array([[False] * 9 + [True] * 2 + [True] * 89])
    found = compare_accuracies(one, other)
    # 9 images against 2, by a fair coin: twice the chance of 2 heads or fewer of 11
    assert found.p == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    assert found.mean == pytest.approx(0.07)
    assert (found.seeds, found.images) == (1, 100)
    assert found.variances == ((pytest.approx((11 - 100 * 0.07**2) / 99 / 100), math.inf, False),)


def test_one_seed_without_a_difference_varies_as_one_image_would() -> None:
    same = np.array([[True, True, False, True]])
    assert compare_accuracies(same, same).variances == (Variance(1 / 16, math.inf),)
    assert compare_accuracies(same[:, :1], ~same[:, :1]).variances[0].value == 1


def test_two_images_have_one_degree_of_freedom() -> None:
    one = np.array([[True, False]])
    # One image gained and one lost: the mean of two differences, whose variance is 2, has the variance 1.
    assert compare_accuracies(one, ~one).variances == (Variance(1.0, math.inf),)


def test_more_seeds_shrink_the_parts_of_the_seeds_alone() -> None:
    of_three = Difference(
        0.1, 0.2, 3, 100, (Variance(0.09, 2), Variance(0.06, 198), Variance(0.04, 99, of_images=True))
    )
    mean, p, seeds, images, variances = of_three.with_seeds(9)
    assert (mean, seeds, images) == (0.1, 9, 100)
    assert math.isnan(p)
    assert variances == (
        (pytest.approx(0.03), pytest.approx(8), False),
        (pytest.approx(0.02), pytest.approx(198 * 4), False),
        Variance(0.04, 99, of_images=True),
    )
    assert math.isnan(Difference(0.1, math.nan, 1, 0).half)


def test_seeds_and_images_both_count_as_sources_of_error() -> None:
    one = np.array([[1, 1, 1, 0], [1, 1, 0, 1], [1, 1, 1, 1]], dtype=bool)
    other = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 1]], dtype=bool)
    found = compare_accuracies(one, other)
    apart = one.astype(float) - other
    seeds, images = apart.mean(axis=1).var(ddof=1) / 3, apart.mean(axis=0).var(ddof=1) / 4
    rest = apart - apart.mean(axis=0) - apart.mean(axis=1, keepdims=True) + apart.mean()
    least = (rest**2).sum() / (2 * 3) / 12  # what the images alone make the mean of the seeds vary by
    parts = [(seeds, 2), (max(0, least - seeds), 2 * 3), (max(images, 1 / 4**2), 3)]
    total = sum(part for part, _ in parts)

    def critical(p: float) -> float:
        """Cochran and Cox's: the critical values of each source alone, weighted by their variances."""
        return float(sum(part * stats.t.isf(p / 2, freedom) for part, freedom in parts) / total)

    assert critical(found.p) == pytest.approx(apart.mean() / math.sqrt(total))
    assert found.half == pytest.approx(critical(0.05) * math.sqrt(total))
    assert found.half_at(0.01) == pytest.approx(critical(0.01) * math.sqrt(total))


def test_the_interval_at_the_level_of_the_p_value_just_holds_nothing() -> None:
    one, other = np.random.default_rng(0).random((2, 3, 50)) < np.array([0.9, 0.7])[:, None, None]
    for found in (compare_accuracies(one, other), paired_seeds([0.8, 0.9, 0.9], [0.7, 0.8, 0.85])):
        assert found.half_at(found.p) == pytest.approx(abs(found.mean))


def test_seeds_that_agree_by_chance_have_the_variance_of_the_images() -> None:
    """Each network has one image of 50 wrong that the other has right: no seed differs, and every pair of networks does."""
    one, other = np.ones((2, 3, 50), dtype=bool)
    one[[0, 1, 2], [0, 1, 2]] = other[[0, 1, 2], [3, 4, 5]] = False
    found = compare_accuracies(one, other)
    assert found.variances[0].value == 0
    assert found.variances[1].value == pytest.approx(6 / (2 * 49) * (1 - 1 / 3) / 150, rel=1e-2)
    assert found.p == 1


@pytest.mark.parametrize(("images", "p"), [(1, 0.5), (100, 0.0)])
def test_images_that_all_differ_count_by_how_many_they_are(images: int, p: float) -> None:
    one, other = np.ones((3, images), dtype=bool), np.zeros((3, images), dtype=bool)
    found = compare_accuracies(one, other)
    assert found.mean == 1
    assert found.p == pytest.approx(p)
    assert found.half == pytest.approx(stats.t.isf(0.025, max(1, images - 1)) / images)  # of one image


def test_equal_networks_differ_by_nothing() -> None:
    same = np.array([[True, False, True], [False, False, True]])
    assert compare_accuracies(same, same)[:2] == (0.0, 1.0)
    assert compare_accuracies(same[:1], same[:1]).p == 1.0


def test_numbers_of_seeds_are_tested_by_scipys_paired_t_test() -> None:
    one, other = [0.97, 0.98, 0.95, 0.99], [0.95, 0.97, 0.96, 0.96]
    assert paired_seeds(one, other, step=0.0).p == pytest.approx(stats.ttest_rel(one, other).pvalue)


@pytest.mark.parametrize(
    ("one", "other", "step"),
    [([0.80, 0.85, 0.90], [0.75, 0.80, 0.85], 0.05), ([0.81, 0.83, 0.90], [0.80, 0.82, 0.89], 0.01)],
)
def test_a_difference_that_is_constant_up_to_rounding_has_the_variance_of_its_step(
    one: list[float], other: list[float], step: float
) -> None:
    found = paired_seeds(one, other)
    # Two accuracies that are rounded to a step, uniformly: twice a twelfth of its square in each of three seeds.
    t = found.mean / math.sqrt(2 * step**2 / 12 / 3)
    assert found.p == pytest.approx(2 * stats.t.sf(t, 2))
    assert found.p > ALPHA


def test_rounding_is_nothing_beside_a_spread_of_many_images() -> None:
    one, other = [0.9712, 0.9794, 0.9533], [0.9501, 0.9714, 0.9618]
    assert paired_seeds(one, other).p == pytest.approx(stats.ttest_rel(one, other).pvalue, rel=1e-4)


def test_seeds_that_agree_without_a_step_prove_nothing() -> None:
    times = [12.345678901234, 11.345678901234]
    found = paired_seeds(times, [time - 0.1 for time in times])
    assert found.p == 1
    assert math.isnan(found.half)
    assert math.isnan(paired_seeds([0.5], [0.25]).p)


def test_other_seeds_are_tested_by_scipys_welch_test() -> None:
    one, other = [0.97, 0.98, 0.95, 0.99], [0.90, 0.97, 0.93]
    found = compare_unpaired_seeds(one, other, step=0.0)
    expected = stats.ttest_ind(one, other, equal_var=False)
    assert found[:4] == (pytest.approx(0.9725 - 2.8 / 3), pytest.approx(expected.pvalue), 3, 0)
    assert found.variances[0].freedom == pytest.approx(expected.df)
    low, high = expected.confidence_interval()
    assert found.half == pytest.approx((high - low) / 2)


def test_other_seeds_that_agree_have_the_variance_of_their_step() -> None:
    found = compare_unpaired_seeds([0.9, 0.9], [0.8, 0.8, 0.8], step=0.06)
    parts = [0.06**2 / 12 / 2, 0.06**2 / 12 / 3]
    assert found.variances[0].value == pytest.approx(sum(parts))
    assert found.variances[0].freedom == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 1 + parts[1] ** 2 / 2))
    assert compare_unpaired_seeds([0.9, 0.9], [0.8, 0.8], step=0.0)[:2] == (pytest.approx(0.1), 1.0)
    single = compare_unpaired_seeds([0.9], [0.8, 0.7])
    assert math.isnan(single.p)
    assert (single.mean, single.seeds, single.images) == (pytest.approx(0.15), 1, 0)
    # Variances of 1/32 of two seeds each, and the rounding to a step of 1/4 that the numbers show
    assert compare_unpaired_seeds([0.75, 0.5], [0.25, 0.5]).variances[0].value == pytest.approx(1 / 32 + 1 / 192)


def test_an_interval_is_scipys() -> None:
    values = [0.95, 0.97, 0.98]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert estimate_interval(values, step=0.0) == (pytest.approx(np.mean(values)), pytest.approx((high - low) / 2))


def test_an_interval_of_equal_numbers_is_that_of_their_step() -> None:
    half = estimate_interval([0.98, 0.98, 0.98], step=0.002)[1]
    assert half == pytest.approx(stats.t.isf(0.025, 2) * 0.002 / math.sqrt(12 * 3))
    means = pd.DataFrame({"mean": [0.98, 0.98], "error": [0.0, 1e-17], "seeds": [3, 1], "step": [0.002, 0.002]})
    halves = estimate_intervals(means["mean"], means["error"], means["seeds"], means["step"])
    assert halves.tolist() == pytest.approx([half, math.nan], nan_ok=True)


def test_an_error_of_rounding_is_relative_to_its_mean() -> None:
    means, errors = pd.Series([100.0, 100.0, 0.01, 0.01]), pd.Series([5e-11, 5e-10, 5e-15, 5e-14])
    halves = estimate_intervals(means, errors, seeds=pd.Series([4] * 4), steps=pd.Series([0.0] * 4))
    assert halves.isna().tolist() == [True, False, True, False]
    assert halves[1] == pytest.approx(5e-10 * stats.t.isf(0.025, 3))


def test_holm_multiplies_by_how_many_are_left_and_never_falls() -> None:
    assert adjust_by_holm([0.03, 0.01, math.nan, 0.04]).tolist() == pytest.approx(
        [0.06, 0.03, math.nan, 0.06], nan_ok=True
    )
    assert adjust_by_holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert adjust_by_holm([]).tolist() == []
    assert adjust_by_holm([[0.03, 0.01], [0.9, 0.8]]).tolist() == [pytest.approx([0.03, 0.02]), [1.0, 1.0]]


def _network(rng: np.random.Generator, difficulty: NDArray[np.float64], seeds: int, skill: float) -> NDArray[np.bool_]:
    """Networks trained alike: each has a skill of its own, each image a difficulty, and some of it is chance."""
    own = rng.normal(skill, 0.4, size=(seeds, 1))
    return np.asarray(own - difficulty + rng.normal(size=(seeds, len(difficulty))) > 0)


@pytest.mark.parametrize("seeds", [3, 5])
def test_networks_trained_alike_are_seldom_called_different_and_others_mostly(seeds: int) -> None:
    rng = np.random.default_rng(0)
    wrong, found, runs = 0, 0, 400
    for _ in range(runs):
        difficulty = rng.normal(-2, 1.5, size=360)
        ours, alike = (_network(rng, difficulty, seeds, 0.0) for _ in range(2))
        better = _network(rng, difficulty, seeds, 2.0)
        wrong += compare_accuracies(ours, alike).p < ALPHA
        found += compare_accuracies(better, ours).p < ALPHA
    assert wrong / runs < 0.1
    assert found / runs > 0.55


@pytest.mark.parametrize("other", [np.zeros((1, 3), dtype=bool), np.zeros((2, 2), dtype=bool)])
def test_only_the_same_seeds_and_images_are_compared(other: NDArray[np.bool_]) -> None:
    with pytest.raises(ArgumentError) as caught:
        compare_accuracies(np.zeros((1, 2), dtype=bool), other)
    assert caught.value.value == ((1, 2), other.shape)
