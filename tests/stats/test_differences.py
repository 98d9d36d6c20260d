"""The tests by which a difference counts as one, beside scipy's and beside networks that are drawn by chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from capsbench.errors import ArgumentError
from capsbench.stats.differences import ALPHA, holm, interval, paired, paired_seeds


def test_of_one_seed_the_p_value_is_mcnemars_exact_one() -> None:
    one = np.array([[True] * 9 + [False] * 2 + [True] * 89])
    other = np.array([[False] * 9 + [True] * 2 + [True] * 89])
    found = paired(one, other)
    # 9 images against 2, by a fair coin: twice the chance of 2 heads or fewer of 11
    assert found.p == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    assert found.mean == pytest.approx(0.07)
    assert (found.seeds, found.images) == (1, 100)


def test_seeds_and_images_both_count_as_sources_of_error() -> None:
    one = np.array([[1, 1, 1, 0], [1, 1, 0, 1], [1, 1, 1, 1]], dtype=bool)
    other = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 1]], dtype=bool)
    found = paired(one, other)
    apart = one.astype(float) - other
    seeds, images = apart.mean(axis=1).var(ddof=1) / 3, apart.mean(axis=0).var(ddof=1) / 4
    error = math.sqrt(seeds + images)

    def critical(p: float) -> float:
        """Cochran and Cox's: the critical values of either source alone, weighted by their variances."""
        return float((seeds * stats.t.isf(p / 2, 2) + images * stats.t.isf(p / 2, 3)) / (seeds + images))

    assert critical(found.p) == pytest.approx(apart.mean() / error)
    assert found.half == pytest.approx(critical(0.05) * error)


def test_one_source_of_error_alone_gives_the_t_test() -> None:
    one = np.array([[1, 1, 1, 0], [1, 1, 0, 1], [1, 0, 1, 1]], dtype=bool)  # each seed has three of the four right
    found = paired(one, np.zeros((3, 4), dtype=bool))
    expected = stats.ttest_1samp(one.mean(axis=0), 0)
    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert found.half == pytest.approx((high - low) / 2)


def test_equal_networks_differ_by_nothing() -> None:
    same = np.array([[True, False, True], [False, False, True]])
    assert paired(same, same)[:3] == (0.0, 0.0, 1.0)
    assert paired(same[:1], same[:1]).p == 1.0


def test_numbers_of_seeds_are_tested_by_scipys_paired_t_test() -> None:
    one, other = [0.97, 0.98, 0.95, 0.99], [0.95, 0.97, 0.96, 0.96]
    assert paired_seeds(one, other).p == pytest.approx(stats.ttest_rel(one, other).pvalue)


def test_seeds_that_agree_to_the_last_digit_prove_nothing() -> None:
    found = paired_seeds([0.5, 0.75], [0.25, 0.5])
    assert math.isnan(found.p)
    assert math.isnan(paired_seeds([0.5], [0.25]).p)


def test_an_interval_is_scipys() -> None:
    values = [0.95, 0.97, 0.98]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert interval(values) == (pytest.approx(np.mean(values)), pytest.approx((high - low) / 2))


def test_holm_multiplies_by_how_many_are_left_and_never_falls() -> None:
    assert holm([0.03, 0.01, math.nan, 0.04]).tolist() == pytest.approx([0.06, 0.03, math.nan, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


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
        wrong += paired(ours, alike).p < ALPHA
        found += paired(better, ours).p < ALPHA
    assert wrong / runs < 0.1
    assert found / runs > 0.55


@pytest.mark.parametrize("other", [np.zeros((1, 3), dtype=bool), np.zeros((2, 2), dtype=bool)])
def test_only_the_same_seeds_and_images_are_compared(other: NDArray[np.bool_]) -> None:
    with pytest.raises(ArgumentError) as caught:
        paired(np.zeros((1, 2), dtype=bool), other)
    assert caught.value.value == ((1, 2), other.shape)


def test_a_table_of_networks_trained_alike_seldom_has_a_difference() -> None:
    """Six beside another, after Holm: Satterthwaite's degrees of freedom would find one in a table of seven, not of twenty."""
    rng = np.random.default_rng(3)
    tables, wrong = 200, 0
    for _ in range(tables):
        difficulty = rng.normal(0, 2, 10_000)
        networks = [
            special.expit(rng.normal(5.5, 0.3, (3, 1)) - difficulty) > rng.random((3, 10_000)) for _ in range(7)
        ]
        wrong += holm([paired(networks[0], other).p for other in networks[1:]]).min() < ALPHA
    assert wrong / tables < 0.09
