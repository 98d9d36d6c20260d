"""The seeds and images that would show a difference, beside scipy's noncentral t and beside simulated networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from capsbench.stats.differences import ALPHA, Difference, compare_accuracies, paired_seeds
from capsbench.stats.power import POWER, find_power, plan_seeds
from capsbench.stats.variances import Variance, half_width, variances_of_images


def over_seeds(mean: float, seeds: int = 5, spread: float = 1.0) -> Difference:
    return Difference(mean, 0.5, seeds, 0, (Variance(spread**2 / seeds, seeds - 1),))


@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize("seeds", [3, 5, 20])
@pytest.mark.parametrize("effect", [0.0, 0.5, 1.5])
def test_over_seeds_the_power_is_that_of_students_test(effect: float, seeds: int, level: float) -> None:
    t, shift = stats.t.isf(level / 2, seeds - 1), effect * math.sqrt(seeds)
    expected = stats.nct.sf(t, seeds - 1, shift) + stats.nct.cdf(-t, seeds - 1, shift) if effect else level
    assert find_power(over_seeds(0.1, seeds), effect, level) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("effect", "seeds"), [(0.5, 34), (1.0, 10), (2.0, 5), (6.0, 3)])
def test_the_seeds_are_those_of_cohens_tables(effect: float, seeds: int) -> None:
    """34 pairs for an effect of half a standard deviation, 10 for one (Cohen 1988, a paired t-test at 5 %, power 80 %)."""
    plan = plan_seeds(over_seeds(effect))
    assert (plan.effect, plan.seeds, plan.more_images) == (effect, seeds, None)
    assert plan_seeds(over_seeds(-effect)).seeds == seeds


def test_a_smaller_effect_and_a_smaller_level_take_more_seeds() -> None:
    observed = over_seeds(1.0)
    assert plan_seeds(observed, effect=0.5).seeds == 34
    assert plan_seeds(observed, effect=-0.5).seeds == 34
    at_level = plan_seeds(observed, level=0.01).seeds
    assert at_level is not None
    assert at_level > 10
    assert plan_seeds(observed, effect=0.5, most_seeds=33).seeds is None


def test_one_seed_and_equal_seeds_plan_nothing() -> None:
    one = compare_accuracies(np.array([[True, False, True]]), np.array([[False, False, True]]))
    for difference in (one, paired_seeds([0.5, 0.5], [0.4, 0.4], step=0.0)):
        plan = plan_seeds(difference)
        assert math.isnan(plan.power)
        assert plan[2:] == (None, None)


def by_images(mean: float, of_seeds: float, of_images: float, seeds: int = 3, images: int = 500) -> Difference:
    parts = Variance(of_seeds / seeds, seeds - 1), Variance(0.0, 998), Variance(of_images / images, images - 1, True)
    return Difference(mean, 0.5, seeds, images, parts)


def test_where_images_vary_more_than_the_difference_no_seeds_help_but_images_do() -> None:
    few = by_images(0.01, of_seeds=1e-4, of_images=0.1)
    plan = plan_seeds(few)
    assert plan.seeds is None
    assert plan.more_images is not None
    # With endless seeds the images alone decide: their number is that of a normal test.
    z = stats.norm.isf(ALPHA / 2) + stats.norm.ppf(POWER)
    endless = 0.1 * (z / 0.01) ** 2
    assert endless < 500 + plan.more_images < 1.1 * endless
    enough = by_images(0.01, of_seeds=1e-4, of_images=0.1, images=500 + plan.more_images)
    assert find_power(enough.with_seeds(100), 0.01) == pytest.approx(POWER, abs=1e-3)
    assert plan_seeds(by_images(0.01, 1e-4, 0.1, images=2 * (500 + plan.more_images))).seeds is not None


def test_a_difference_below_the_spread_of_100_seeds_takes_neither() -> None:
    plan = plan_seeds(by_images(0.001, of_seeds=1e-3, of_images=0.1))
    assert plan[2:] == (None, None)
    assert 0 < plan.power < ALPHA


def test_a_difference_without_spread_over_seeds_is_planned_by_its_images() -> None:
    plan = plan_seeds(by_images(0.05, of_seeds=0.0, of_images=0.1))
    assert plan.seeds == 3
    assert plan.power > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("images", [1000, 4000])
def test_the_planned_seeds_find_the_difference_as_often_as_promised(images: int) -> None:
    """The variances are those of many seeds; then runs of the planned number are drawn. Cochran and Cox's test counts what seeds
    and images share twice, so it may find a little less or more than planned."""
    draw = np.random.default_rng(images)
    chances = []

    def draw_differences(seeds: int) -> np.ndarray:
        difficulty = draw.normal(0, 2, images)
        chance = [special.expit(draw.normal(skill, 0.3, (seeds, 1)) - difficulty) for skill in (3.6, 3.2)]
        one, other = (right > draw.random((seeds, images)) for right in chance)
        return one.astype(np.int8) - other

    long = [draw_differences(50) for _ in range(20)]
    mean = float(np.mean([apart.mean() for apart in long]))
    parts = [variances_of_images(apart) for apart in long]
    typical = tuple(
        part._replace(value=float(np.mean([run[place].value for run in parts]))) for place, part in enumerate(parts[0])
    )
    plan = plan_seeds(Difference(mean, 0.5, 50, images, typical))
    assert plan.seeds is not None
    for _ in range(400):
        apart = draw_differences(plan.seeds)
        chances.append(apart.mean() > half_width(variances_of_images(apart)))
    print(f"{images} images: {plan.seeds} seeds, found in {100 * np.mean(chances):.0f} % of runs")
    assert 0.7 < np.mean(chances) < 0.95
