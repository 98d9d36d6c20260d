"""Bands of a distribution function, beside opda's, beside closed forms and beside draws."""

from __future__ import annotations

import numpy as np
import pytest
from opda import nonparametric, utils
from scipy import stats

from capsbench.errors import ArgumentError
from capsbench.stats.bands import MOST_DRAWS, chance_of_holding, find_band, find_shortest_intervals


@pytest.mark.parametrize("coverage", [0.5, 0.95, 0.9963])
@pytest.mark.parametrize("draws", [2, 5, 20, 121])
def test_the_shortest_intervals_are_opdas(draws: int, coverage: float) -> None:
    first = np.arange(1, draws + 1)
    expected = utils.beta_highest_density_interval(first, draws + 1 - first, coverage, atol=1e-13)
    for ends, opdas in zip(find_shortest_intervals(draws, coverage), expected, strict=True):
        assert ends == pytest.approx(opdas, abs=1e-10)


def test_a_shortest_interval_has_its_coverage_and_equal_densities_at_its_ends() -> None:
    low, high = find_shortest_intervals(9, 0.97)
    beta = stats.beta(np.arange(1, 10), 10 - np.arange(1, 10))
    assert beta.cdf(high) - beta.cdf(low) == pytest.approx(0.97)
    assert beta.pdf(low)[1:-1] == pytest.approx(beta.pdf(high)[1:-1])
    assert (low[0], high[-1]) == (0, 1)  # the modes of the first and the last draw


@pytest.mark.slow
@pytest.mark.parametrize(("draws", "level"), [(5, 0.05), (10, 0.05), (12, 0.2)])
def test_the_band_is_opdas_up_to_the_error_of_its_simulation(draws: int, level: float) -> None:
    values = np.linspace(0.1, 0.9, draws)
    opdas = nonparametric.EmpiricalDistribution.confidence_bands(
        values, 1 - level, a=0.0, b=1.0, generator=np.random.default_rng(0), n_jobs=1
    )
    band = find_band(draws, level)
    at = [0.0, *values]
    assert band.low == pytest.approx(opdas[0].cdf(at), abs=2e-3)
    assert band.high == pytest.approx(opdas[2].cdf(at), abs=2e-3)


def test_the_chance_that_ordered_draws_lie_between_bounds_has_closed_forms() -> None:
    # Of two draws, the smaller below b and the larger above a (b > a): all but both above b and both below a
    assert chance_of_holding(np.array([0.0, 0.3]), np.array([0.6, 1.0])) == pytest.approx(1 - 0.4**2 - 0.3**2)
    assert chance_of_holding(np.zeros(7), np.ones(7)) == pytest.approx(1)
    # Kolmogorov's statistic: each draw within d of the steps on either side of it
    steps = np.arange(1, 21) / 20
    d = 0.25
    expected = stats.kstwo(20).cdf(d)
    assert chance_of_holding(np.maximum(steps - d, 0), np.minimum(steps - 1 / 20 + d, 1)) == pytest.approx(expected)


def test_a_band_of_two_draws_is_bonferronis() -> None:
    """Two draws never miss both of their intervals, so each has half of the level: the larger is Beta(2, 1) distributed."""
    band = find_band(2, 0.05)
    assert band.low == pytest.approx([0, 0, 0.025**0.5])
    assert band.high == pytest.approx([1 - 0.025**0.5, 1, 1])


@pytest.mark.parametrize("draws", [3, 20, 80])
def test_a_band_misses_with_its_level(draws: int) -> None:
    uniform = np.sort(np.random.default_rng(draws).random((20_000, draws)), axis=1)
    band = find_band(draws, 0.05)
    missed = ((uniform < band.low[1:]) | (uniform > band.high[:-1])).any(axis=1)
    assert missed.mean() == pytest.approx(0.05, abs=0.006)
    # It is symmetric, and its bounds ascend.
    assert band.low == pytest.approx(1 - band.high[::-1])
    assert (np.diff(band.low) >= 0).all()


def test_draws_on_a_grid_are_missed_more_seldom() -> None:
    """Draws of 0, 0.1, ... 1, each as likely; the distribution function at each is known."""
    draw = np.random.default_rng(0)
    band = find_band(20, 0.2)
    grid = np.arange(11) / 10
    missed = 0
    for _ in range(2000):
        draws = np.sort(draw.integers(0, 11, 20)) / 10
        counts = np.searchsorted(draws, grid, side="right")
        true = (np.arange(11) + 1) / 11
        missed += bool(((true < band.low[counts]) | (true > band.high[counts])).any())
    assert 0.02 < missed / 2000 < 0.2


def test_a_band_is_shared_and_cannot_be_changed() -> None:
    assert find_band(20) is find_band(20)
    with pytest.raises(ValueError, match="read-only"):
        find_band(20).low[0] = 1


@pytest.mark.parametrize(("draws", "level"), [(1, 0.05), (MOST_DRAWS + 1, 0.05), (5, 0.0), (5, 1.0)])
def test_too_few_draws_too_many_and_no_level_are_refused(draws: int, level: float) -> None:
    with pytest.raises(ArgumentError) as caught:
        find_band(draws, level)
    assert caught.value.value in (draws, level)
