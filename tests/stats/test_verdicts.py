"""Differences of a family, and what is said of each."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from capsbench.stats.differences import ALPHA, Difference, adjust_by_holm, compare_accuracies, paired_seeds
from capsbench.stats.power import MOST_SEEDS
from capsbench.stats.variances import Variance
from capsbench.stats.verdicts import Outcome, Verdict, judge_by_bonferroni, judge_by_holm


def _drawn(count: int, seed: int) -> list[Difference]:
    """Differences of all sizes over three to five seeds, by images and by seeds alone."""
    draw = np.random.default_rng(seed)
    found = []
    for place in range(count):
        seeds, better = 3 + place % 3, draw.uniform(0.5, 0.99)
        one, other = draw.random((2, seeds, 200)) < np.array([better, 0.6])[:, None, None]
        found.append(
            compare_accuracies(one, other) if place % 2 else paired_seeds(one.mean(axis=1), other.mean(axis=1))
        )
    return found


def _agrees(verdict: Verdict) -> bool:
    clear = abs(verdict.difference.mean) > verdict.half
    return clear == (verdict.outcome is Outcome.DIFFERENT) == (verdict.p < ALPHA)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_clear_of_0_exactly_where_there_is_a_difference(seed: int) -> None:
    drawn = _drawn(20, seed)
    by_holm, by_bonferroni = judge_by_holm(drawn), [judge_by_bonferroni(each, 20) for each in drawn]
    assert {each.outcome for each in by_holm} == {Outcome.DIFFERENT, Outcome.NOT_SIGNIFICANT}
    assert all(map(_agrees, by_holm))
    assert all(map(_agrees, by_bonferroni))
    assert [each.p for each in by_holm] == pytest.approx(adjust_by_holm([each.p for each in drawn]).tolist())


def test_holms_intervals_are_bonferronis_among_those_left() -> None:
    surely, maybe, hardly = judge_by_holm(
        [Difference(mean, p, 5, 0, (Variance(1e-4, 4),)) for mean, p in ((0.1, 0.0005), (0.06, 0.004), (0.01, 0.4))]
    )
    assert [each.level for each in (surely, maybe, hardly)] == [0.05 / 3, 0.05 / 2, 0.05]
    assert surely.half == pytest.approx(0.01 * stats.t.isf(0.05 / 6, 4))


def test_a_p_value_of_the_level_itself_is_not_significant() -> None:
    at_level, far = judge_by_holm(
        [Difference(0.1, p, 5, 0, (Variance(1e-2, 4),)) for p in (ALPHA / 2, 0.5)]  # of two comparisons
    )
    assert (at_level.p, at_level.outcome) == (ALPHA, Outcome.NOT_SIGNIFICANT)
    assert at_level.level == far.level == ALPHA / 2


@pytest.mark.parametrize("seeds", [1, 2])
def test_of_fewer_than_three_seeds_nothing_is_tested(seeds: int) -> None:
    images = np.ones((seeds, 100), dtype=bool)
    few = compare_accuracies(images, ~images)
    for verdict in (*judge_by_holm([few]), judge_by_bonferroni(few, 1)):
        assert (verdict.outcome, verdict.seeds_needed) == (Outcome.NOT_TESTED, None)
        assert math.isnan(verdict.p)


def test_what_is_not_tested_is_no_part_of_the_family() -> None:
    tested = paired_seeds([0.9, 0.92, 0.91], [0.8, 0.83, 0.8])
    one_seed = paired_seeds([0.9], [0.1])
    alone, beside = judge_by_holm([tested])[0], judge_by_holm([one_seed, tested])[1]
    assert beside == alone


def test_as_many_seeds_as_are_needed_show_the_difference() -> None:
    few = judge_by_holm([paired_seeds([0.90, 0.93, 0.91], [0.90, 0.91, 0.90])])[0]
    assert few.outcome is Outcome.NOT_SIGNIFICANT
    mean, variance = 0.01, 0.0001 + 0.01**2 / 6  # of the differences 0, 2 and 1 point, and of rounding

    def find_power(seeds: int) -> float:
        critical, shift = stats.t.isf(0.025, seeds - 1), mean / math.sqrt(variance / seeds)
        return float(stats.nct.sf(critical, seeds - 1, shift) + stats.nct.cdf(-critical, seeds - 1, shift))

    assert few.seeds_needed == next(n for n in range(4, 101) if find_power(n) >= 0.8)


def test_seeds_do_not_help_where_the_images_are_too_few() -> None:
    one, other = np.ones((2, 3, 20), dtype=bool)
    other[:, 0] = False
    found = judge_by_holm([compare_accuracies(one, other)])[0]
    assert (found.outcome, found.seeds_needed) == (Outcome.NOT_SIGNIFICANT, None)
    assert found.difference.with_seeds(MOST_SEEDS).half > found.difference.mean


def test_the_other_way_round_is_the_same_verdict() -> None:
    verdict = judge_by_bonferroni(paired_seeds([0.9, 0.92, 0.91], [0.8, 0.83, 0.8]), 4)
    other = judge_by_bonferroni(paired_seeds([0.8, 0.83, 0.8], [0.9, 0.92, 0.91]), 4)
    assert verdict.swap_sides()[1:] == other[1:]
    assert verdict.swap_sides().difference.mean == pytest.approx(other.difference.mean)


def test_an_interval_at_the_level_of_its_family_takes_two_seeds() -> None:
    for seeds, known in ((1, False), (2, True)):
        difference = Difference(0.5, 0.2, seeds, 0, (Variance(0.04, 5),))
        half = Verdict(difference, 0.01, 0.2, Outcome.NOT_SIGNIFICANT, None).half
        assert math.isnan(half) != known
        if known:
            assert half == pytest.approx(0.2 * stats.t.isf(0.005, 5))


def test_the_other_side_has_the_negative_difference() -> None:
    verdict = judge_by_bonferroni(Difference(0.5, 0.001, 3, 0, (Variance(0.04, 5),)), 4)
    assert (verdict.p, verdict.level, verdict.outcome) == (0.004, ALPHA / 4, Outcome.DIFFERENT)
    assert verdict.swap_sides() == verdict._replace(difference=verdict.difference._replace(mean=-0.5))
    assert judge_by_bonferroni(verdict.difference._replace(p=0.5), 4).p == 1


def test_where_no_number_of_seeds_is_enough_it_says_how_many_more_images_are() -> None:
    draw = np.random.default_rng(0)
    difficulties = draw.random(500)
    one, other = (draw.random((5, 500)) < difficulties + shift for shift in (0.004, 0.0))  # 0.4 points on 500 images
    verdict = judge_by_holm([compare_accuracies(one, other)])[0]
    assert (verdict.outcome, verdict.seeds_needed) == (Outcome.NOT_SIGNIFICANT, None)
    assert verdict.images_needed is not None
    assert verdict.images_needed > 500
