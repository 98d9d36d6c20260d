"""The gate's tests, beside other statements of them and beside what they promise."""

import math

import numpy as np
import pytest
from scipy import special, stats

from capsbench.stats.differences import adjust_by_holm
from capsbench.stats.moderation import chance_of_drop, chance_of_failures, moderate_variances
from capsbench.stats.variances import Variance


def test_of_one_contender_the_test_is_students():
    before, now = [0.91, 0.93, 0.90, 0.94, 0.92], 0.85
    (variance,) = moderate_variances([np.var(before, ddof=1)], [4])
    t = (now - np.mean(before)) / (np.std(before, ddof=1) * math.sqrt(1 + 1 / 5))
    expected = stats.t.cdf(t, 4)
    assert chance_of_drop(np.mean(before) - now, variance, 5, 1, tolerance=0.0) == pytest.approx(expected)


def test_variances_are_drawn_towards_the_usual_one_by_the_weights_of_their_prior():
    """Of contenders whose variances are spread as 2 degrees of freedom spread them, each seen in 4 seeds."""
    draw = np.random.default_rng(0)
    variances = 0.04 * 2 / draw.chisquare(2, size=400) * draw.chisquare(4, size=400) / 4
    found = moderate_variances(variances, [4] * 400)
    prior = found[0].freedom - 4
    assert prior == pytest.approx(2, rel=0.25)
    usual = {round((f.value * f.freedom - 4 * v) / prior, 9) for f, v in zip(found, variances, strict=True)}
    assert len(usual) == 1
    assert usual.pop() == pytest.approx(0.04, rel=0.25)


def test_what_is_usual_weighs_no_more_than_a_contenders_own_seeds():
    found = moderate_variances([1.0, 1.1, 0.9, 1.05], [4, 4, 4, 2])
    assert [each.freedom for each in found] == [8, 8, 8, 4]


def test_contenders_without_spread_get_the_usual_variance_too():
    found = moderate_variances([0.0, 1.0, 1.1, 0.9], [4, 4, 4, 4])
    assert found[0].value > 0


def test_the_inverse_of_trigamma_is_one():
    from capsbench.stats.moderation import _inverse_trigamma

    for y in (0.01, 0.3, 2.0, 50.0):
        assert special.polygamma(1, _inverse_trigamma(y)) == pytest.approx(y)


@pytest.mark.parametrize("prior", [5, 8, math.inf])
def test_networks_trained_alike_are_let_pass_as_often_as_promised(prior):
    """300 runs of 17 contenders and 9 numbers, each with its own spread, against a reference of five seeds."""
    draw = np.random.default_rng(1)
    alarms = 0
    for _ in range(300):
        chances = []
        for _ in range(9):
            spreads = np.ones(17) if math.isinf(prior) else prior / draw.chisquare(prior, size=17)
            seeds = draw.normal(size=(17, 6)) * np.sqrt(spreads)[:, None]
            variances = moderate_variances(seeds[:, :5].var(axis=1, ddof=1), [4] * 17)
            for own, variance in zip(seeds, variances, strict=True):
                chances.append(chance_of_drop(own[:5].mean() - own[5], variance, 5, 1, tolerance=0.0))
        alarms += adjust_by_holm(chances).min() < 0.05
    assert alarms / 300 <= 0.06


def test_no_drop_within_the_tolerance_is_a_regression():
    variance = Variance(1e-12, 8)
    assert chance_of_drop(0.009, variance, 5, 1, tolerance=0.01) > 0.999
    assert chance_of_drop(0.011, variance, 5, 1, tolerance=0.01) < 0.001


def test_without_any_spread_every_drop_beyond_the_tolerance_is_one():
    assert chance_of_drop(0.02, Variance(0.0, 4), 5, 1, tolerance=0.01) == 0
    assert chance_of_drop(0.01, Variance(0.0, 4), 5, 1, tolerance=0.01) == 1


@pytest.mark.parametrize(("now", "before"), [((3, 17), (2, 85)), ((0, 17), (4, 85)), ((17, 17), (0, 85))])
def test_failures_are_tested_by_fishers_exact_test(now, before):
    table = [[now[0], now[1] - now[0]], [before[0], before[1] - before[0]]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    assert chance_of_failures(*now, *before) == pytest.approx(expected)


def test_variances_that_differ_no_more_than_equal_ones_are_drawn_towards_their_geometric_mean():
    variances, freedom = [1.0, 1.2, 0.0], [4, 6, 2]
    # The expected logarithm of a sample variance falls short of that of the true one by log(d / 2) - digamma(d / 2).
    offsets = [math.log(d / 2) - special.digamma(d / 2) for d in freedom[:2]]
    typical = math.exp((math.log(1.0) + math.log(1.2) + sum(offsets)) / 2)
    assert moderate_variances(variances, freedom) == [
        (pytest.approx((typical + value) / 2), 2 * d, False) for value, d in zip(variances, freedom, strict=True)
    ]


def test_one_variance_above_0_has_no_typical_one_beside_it():
    assert moderate_variances([0.0, 2.0], [4, 3]) == [Variance(0.0, 4), Variance(2.0, 3)]
    assert moderate_variances([1.0, 2.0], [0, 3]) == [Variance(1.0, 0), Variance(2.0, 3)]


def test_more_seeds_on_either_side_make_a_drop_surer():
    variance = Variance(0.04, 8)
    for reference, current in ((5, 1), (3, 2)):
        t = 0.5 / (0.2 * math.sqrt(1 / reference + 1 / current))
        expected = stats.t.sf(t, 8)
        assert chance_of_drop(0.6, variance, reference, current, tolerance=0.1) == pytest.approx(expected)
