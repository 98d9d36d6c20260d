"""Budget curves, beside opda's tuning curves and beside known distributions of trials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from opda.nonparametric import EmpiricalDistribution
from scipy import special

from capsbench.errors import ArgumentError
from capsbench.stats.bands import find_band
from capsbench.stats.budgets import (
    BudgetCurve,
    BudgetPoint,
    count_trials_needed,
    estimate_budget_curve,
    find_leads,
    find_reach,
)

ACCURACIES = [0.71, 0.83, 0.83, 0.905, 0.64, 0.88, 0.0, 0.83, 0.915, 0.77, 0.88, 0.9]


@pytest.mark.filterwarnings("ignore:ws gives equal weight")
@pytest.mark.parametrize("quantile", [0.5, 0.2])
def test_the_curve_is_opdas_of_the_same_band(quantile: float) -> None:
    curve = estimate_budget_curve(ACCURACIES, quantile=quantile)
    band = find_band(12)
    values = np.sort(ACCURACIES)
    # opda's lower and upper distribution function have their masses at the draws and at the limits of an accuracy.
    lower, upper = (
        EmpiricalDistribution([0.0, *values, 1.0], ws=np.diff([0.0, *bounds, 1.0]), a=0.0, b=1.0)
        for bounds in (band.low, band.high)
    )
    budgets = [point.budget for point in curve.points]
    assert budgets == list(range(1, 13))
    assert [point.better for point in curve.points] == lower.quantile_tuning_curve(budgets, q=quantile).tolist()
    assert [point.worse for point in curve.points] == upper.quantile_tuning_curve(budgets, q=quantile).tolist()
    known = [point for point in curve.points if not math.isnan(point.estimate)]
    opdas = EmpiricalDistribution(values, a=0.0, b=1.0).quantile_tuning_curve(budgets, q=quantile)
    assert [point.estimate for point in known] == opdas[: len(known)].tolist()


def test_the_estimate_ends_where_it_would_be_the_best_performance_observed() -> None:
    points = estimate_budget_curve(np.arange(20) / 20).points
    known = [point.budget for point in points if not math.isnan(point.estimate)]
    assert known == list(range(1, 14))  # 0.5 ** (1 / 13) is 0.948, 0.5 ** (1 / 14) is 0.952, and 19 of 20 are 0.95
    assert points[12].estimate == 0.90


def test_a_failed_trial_counts_as_the_worst() -> None:
    failed = [math.nan, 0.8, 0.9, 0.7, math.nan]
    as_zero = [0.0, 0.8, 0.9, 0.7, 0.0]
    assert estimate_budget_curve(failed) == estimate_budget_curve(as_zero)
    assert estimate_budget_curve(failed, [1]).points[0].estimate == 0.7
    losses = [math.nan, 0.2, 0.1, 0.3, math.nan]
    point = estimate_budget_curve(losses, [1], worst=math.inf, best=0.0).points[0]
    assert (point.estimate, point.worse) == (0.3, math.inf)


def test_losses_are_accuracies_upside_down() -> None:
    accuracies = estimate_budget_curve(ACCURACIES)
    losses = estimate_budget_curve([1 - value for value in ACCURACIES], worst=1.0, best=0.0)
    assert (accuracies.higher_is_better, losses.higher_is_better) == (True, False)
    for up, down in zip(accuracies.points, losses.points, strict=True):
        assert [1 - number for number in down[1:]] == pytest.approx(up[1:], nan_ok=True)


def test_the_reach_is_where_the_better_end_becomes_the_best_possible() -> None:
    for trials in (5, 7, 20, 60):
        curve = estimate_budget_curve(np.arange(trials) / trials)
        limited = [point.budget for point in curve.points if point.better < 1]
        assert curve.reach == find_reach(trials) == max(limited, default=0)
    assert [find_reach(trials) for trials in (6, 7, 20, 40, 60)] == [0, 1, 2, 4, 7]
    assert find_reach(20, level=0.2) == 3


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_fewer_trials_than_needed_do_not_reach_a_budget(budget: int) -> None:
    needed = count_trials_needed(budget)
    assert needed is not None
    assert find_reach(needed) >= budget > find_reach(needed - 1)


def test_no_number_of_trials_reaches_a_huge_budget() -> None:
    assert count_trials_needed(1000) is None


def test_a_band_holds_the_whole_curve_with_its_confidence() -> None:
    """Trials whose distribution is known: accuracies on a grid of 1 / 200. The curve is missed in at most 5 % of searches."""
    draw = np.random.default_rng(0)
    images, trials, missed = 200, 20, 0
    distribution = special.bdtr(np.arange(images + 1), images, 0.8)
    budgets = [1, 2, 5, 10, 20]
    true = np.array([np.searchsorted(distribution, 0.5 ** (1 / budget)) / images for budget in budgets])
    for _ in range(1000):
        curve = estimate_budget_curve(draw.binomial(images, 0.8, trials) / images, budgets)
        worse, better = (np.array([getattr(point, end) for point in curve.points]) for end in ("worse", "better"))
        missed += bool(((true < worse - 1e-9) | (true > better + 1e-9)).any())
    assert missed / 1000 <= 0.05


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (dict(performances=[0.5]), "performances"),
        (dict(performances=[0.5, 1.5]), "performances"),
        (dict(performances=[0.5, -0.5]), "performances"),
        (dict(performances=[0.5, 0.6], budgets=[0]), "budgets"),
        (dict(performances=[0.5, 0.6], quantile=1.0), "quantile"),
    ],
)
def test_what_is_no_search_is_refused(arguments: dict, name: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        estimate_budget_curve(**arguments)
    assert caught.value.argument == name


def curve(*points: BudgetPoint, trials: int = 20, quantile: float = 0.5, higher_is_better: bool = True) -> BudgetCurve:
    return BudgetCurve(trials, 2, points, quantile, 0.05, higher_is_better)


def test_a_leader_is_beyond_the_bands_of_all_others() -> None:
    curves = {
        "a": curve(BudgetPoint(1, 0.8, 0.70, 0.90), BudgetPoint(5, 0.9, 0.80, 1.0)),
        "b": curve(BudgetPoint(1, 0.9, 0.91, 0.99), BudgetPoint(5, 0.95, 0.85, 1.0)),
        "c": curve(BudgetPoint(1, 0.1, 0.05, 0.20), BudgetPoint(5, 0.2, 0.10, 0.8)),
    }
    first, second = find_leads(curves)
    assert first == (1, "b", ("b",), None)
    assert second == (5, None, ("a", "b"), 41)


def test_bands_that_touch_are_not_disjoint() -> None:
    curves = {"a": curve(BudgetPoint(1, 0.8, 0.7, 0.9)), "b": curve(BudgetPoint(1, 0.95, 0.9, 0.99))}
    assert find_leads(curves)[0][1:3] == (None, ("a", "b"))


def test_of_losses_the_lower_leads() -> None:
    curves = {
        "a": curve(BudgetPoint(1, 0.2, 0.3, 0.1), higher_is_better=False),
        "b": curve(BudgetPoint(1, 0.5, 0.6, 0.4), higher_is_better=False),
    }
    assert find_leads(curves)[0].leader == "a"


def test_as_many_trials_as_a_decision_needs_are_named_only_without_them() -> None:
    point = BudgetPoint(1, 0.5, 0.4, 0.6)
    for trials, needed in ((6, 7), (7, None)):
        assert find_leads({"a": curve(point, trials=trials), "b": curve(point, trials=50)})[0].trials_needed == needed


@pytest.mark.parametrize(
    "other",
    [
        curve(BudgetPoint(2, 0.5, 0.4, 0.6)),
        curve(BudgetPoint(1, 0.5, 0.4, 0.6), quantile=0.2),
        curve(BudgetPoint(1, 0.5, 0.4, 0.6), higher_is_better=False),
    ],
)
def test_curves_of_different_kinds_are_not_compared(other: BudgetCurve) -> None:
    with pytest.raises(ArgumentError):
        find_leads({"a": curve(BudgetPoint(1, 0.5, 0.4, 0.6)), "b": other})
    with pytest.raises(ArgumentError):
        find_leads({"a": other})


@pytest.mark.parametrize("trials", [10, 11, 15, 20, 40, 100])
def test_a_contender_that_is_not_the_best_seldom_leads(trials: int) -> None:
    """Of 8 contenders in at most 5 % of tables, at any one budget.

    Another leads only if the band of the best ends below its curve or that of one of seven others begins above its own.
    """
    band = find_band(trials)
    for budget in range(1, trials + 1):
        share = 0.5 ** (1 / budget)
        worse, better = (int(np.searchsorted(bounds, share)) for bounds in (band.high, band.low))
        # Draw j is above the quantile if fewer than j draws are below it.
        too_high = float(special.bdtr(worse - 1, trials, share)) if worse else 0.0
        too_low = float(special.bdtrc(better - 1, trials, share)) if better <= trials else 0.0
        assert too_low + 7 * too_high <= 0.05
