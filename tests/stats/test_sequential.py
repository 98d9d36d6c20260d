"""The group-sequential test beside published boundaries, and its decisions on given differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from capsbench.errors import ArgumentError
from capsbench.stats.differences import ALPHA, Difference, paired_seeds
from capsbench.stats.sequential import LEVELS, LOOKS, Progress, judge_sequence, simulate_levels, spend_level

PUBLISHED = (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)
"""Critical values of five equally spaced looks at a difference of known variance, at 5 % two-sided, of the same function."""


def test_the_level_is_spent_from_almost_none_of_it_to_all() -> None:
    assert spend_level(1.0) == pytest.approx(ALPHA)
    assert spend_level(1.0, 0.01) == pytest.approx(0.01)
    z = stats.norm.isf(ALPHA / 4)
    assert spend_level(0.25) == pytest.approx(4 * stats.norm.sf(2 * z))
    assert spend_level(0.2) == pytest.approx(2 * stats.norm.sf(PUBLISHED[0]), rel=1e-3)


@pytest.mark.slow
def test_with_many_seeds_the_levels_are_the_published_ones() -> None:
    levels = simulate_levels((40, 80, 120, 160, 200), sequences=100_000)
    published = 2 * stats.norm.sf(PUBLISHED)
    assert levels[0] == pytest.approx(published[0], rel=1e-3)
    assert levels[1] == pytest.approx(published[1], rel=0.3)
    assert levels[2:] == pytest.approx(published[2:], rel=0.06)


@pytest.mark.slow
def test_the_levels_in_the_source_are_what_the_simulation_gives() -> None:
    levels = simulate_levels(LOOKS, sequences=2_000_000, seed=1)
    assert levels[0] == pytest.approx(LEVELS[0], rel=0.01)
    assert levels[1] == pytest.approx(LEVELS[1], rel=0.5)  # of 2 million sequences, 30 stop at the second look
    assert levels[2] == pytest.approx(LEVELS[2], rel=0.08)
    assert levels[3:] == pytest.approx(LEVELS[3:], rel=0.02)


def test_a_single_look_has_the_whole_level() -> None:
    assert simulate_levels((5,), sequences=10) == (pytest.approx(ALPHA),)


def test_a_second_look_stops_as_many_as_the_first_left_to_it() -> None:
    """Counted a second time, from the same numbers and scipy's t-test."""
    levels = simulate_levels((3, 6), level=0.2, sequences=4000, seed=3)
    differences = np.random.default_rng(3).standard_normal((4000, 6))
    p_values = [stats.ttest_1samp(differences[:, :look], 0, axis=1).pvalue for look in (3, 6)]
    stopped = (p_values[0] < levels[0]) | (p_values[1] <= levels[1] * (1 + 1e-4))
    assert levels[0] == pytest.approx(spend_level(0.5, 0.2))
    assert stopped.sum() == 800


@pytest.mark.parametrize("looks", [(), (2, 5), (5, 3), (3, 3)])
def test_looks_ascend_from_three_seeds(looks: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError) as caught:
        simulate_levels(looks)
    assert caught.value.value == looks


def drawn(mean: float, seeds: int = 20) -> list[float]:
    return np.random.default_rng(0).normal(mean, 1.0, seeds).tolist()


def compare(values: list[float]):
    """The difference between numbers of the first seeds and 0."""
    return lambda seeds: paired_seeds(values[:seeds], [0.0] * seeds, step=0.0)


def test_a_clear_difference_is_decided_early_and_stays_so() -> None:
    values = drawn(6.0)
    decided = judge_sequence(compare(values), 20)
    assert decided.progress is Progress.BETTER
    assert decided.seeds in LOOKS[:-1]
    assert decided.next_seeds is None
    p_values = [stats.ttest_1samp(values[:look], 0).pvalue for look in LOOKS]
    first = next(place for place, (p, level) in enumerate(zip(p_values, LEVELS, strict=True)) if p < level)
    assert (decided.seeds, decided.level) == (LOOKS[first], LEVELS[first])
    assert judge_sequence(compare(values), decided.seeds) == decided
    assert judge_sequence(compare([-value for value in values]), 20).progress is Progress.WORSE
    assert judge_sequence(compare(values), 20, higher_is_better=False).progress is Progress.WORSE


def test_the_interval_at_its_level_excludes_0_exactly_if_it_is_decided() -> None:
    for mean in (0.0, 0.5, 0.8, 1.5):
        verdict = judge_sequence(compare(drawn(mean)), 20)
        assert verdict.difference is not None
        clear = abs(verdict.difference.mean) > verdict.difference.half_at(verdict.level)
        assert clear == (verdict.progress in (Progress.BETTER, Progress.WORSE))


def test_no_difference_is_undecided_at_the_ceiling_and_continues_before() -> None:
    values = drawn(0.0)
    verdict = judge_sequence(compare(values), 20)
    assert verdict[:2] == (Progress.UNDECIDED, 20)
    assert verdict.level == LEVELS[-1]
    assert verdict.next_seeds is None
    assert judge_sequence(compare(values), 25) == verdict
    for seeds, look, coming in ((3, 3, 5), (4, 3, 5), (11, 8, 12), (19, 12, 20)):
        verdict = judge_sequence(compare(values), seeds)
        assert (verdict.progress, verdict.seeds, verdict.next_seeds) == (Progress.CONTINUE, look, coming)
        assert verdict.difference == compare(values)(look)


def test_before_the_first_look_nothing_is_compared() -> None:
    verdict = judge_sequence(compare([]), 2)
    assert (verdict.progress, verdict.seeds, verdict.difference, verdict.next_seeds) == (Progress.CONTINUE, 0, None, 3)
    assert math.isnan(verdict.level)


def test_a_p_value_of_the_level_itself_does_not_decide() -> None:
    for factor, progress in ((1.0, Progress.CONTINUE), (0.999, Progress.BETTER)):
        verdict = judge_sequence(lambda seeds, p=LEVELS[0] * factor: Difference(0.1, p, seeds, 0), 3)
        assert verdict.progress is progress


def test_a_difference_over_other_seeds_than_the_look_is_refused() -> None:
    with pytest.raises(ArgumentError) as caught:
        judge_sequence(lambda seeds: Difference(0.1, 0.5, seeds - 1, 0), 5)
    assert caught.value.value == 2
