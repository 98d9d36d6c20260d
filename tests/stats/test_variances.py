"""Variances by hand, and intervals and p-values beside the tables of Student's t."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from capsbench.stats import variances
from capsbench.stats.variances import (
    ALPHA,
    LEAST,
    Variance,
    critical_value,
    half_width,
    p_value,
    variance_of_seeds,
    variances_of_images,
)

INFINITE = math.inf


def test_seeds_images_and_the_rest_by_hand() -> None:
    # Means of the seeds 0 and 2/3, of the images 1, 1/2 and -1/2; the residual is 1/3, -1/6, -1/6 and its negative.
    spread = [[1, 0, -1], [1, 1, 0]]
    # Seeds 2/9 / 2; images 7/12 / 3; the rest 1/6 / 6 is less than the seeds' part, which it does not raise.
    assert variances_of_images(np.array(spread, dtype=np.int8)) == (
        (pytest.approx(1 / 9), 1, False),
        (0, 2, False),
        (pytest.approx(7 / 36), 2, True),
    )


def test_seeds_that_agree_are_raised_to_the_rest_and_images_to_one_image() -> None:
    # Each seed gains one image of four and loses another; no two seeds the same. Means of seeds and of images are all 0.
    alike = np.array([[1, -1, 0, 0], [-1, 1, 0, 0]], dtype=np.int8)
    of_seeds, raised, of_images = variances_of_images(alike)
    assert of_seeds == (0, 1, False)
    assert raised == (pytest.approx(4 / 3 / 8), 3, False)
    assert of_images == (1 / 16, 3, True)


def test_tables_are_estimated_at_once() -> None:
    tables = np.random.default_rng(0).integers(-1, 2, size=(2, 3, 4, 5)).astype(np.int8)
    parts = variances_of_images(tables)
    for place in np.ndindex(2, 3):
        for part, alone in zip(parts, variances_of_images(tables[place]), strict=True):
            assert part.value[place] == pytest.approx(alone.value)
            assert part.freedom == alone.freedom


def test_one_image_has_one_degree_of_freedom() -> None:
    parts = variances_of_images(np.array([[1], [0]], dtype=np.int8))
    assert [part.freedom for part in parts] == [1, 1, 1]
    assert parts[2].value == 1


def test_the_variance_of_seeds_and_of_their_rounding() -> None:
    values = np.array([1.0, 2.0, 4.0])
    assert variance_of_seeds(values, 0.0, 1) == (pytest.approx(7 / 3 / 3), 2, False)
    assert variance_of_seeds(values, 0.6, 2).value == pytest.approx(7 / 9 + 2 * 0.36 / 12 / 3)
    several = variance_of_seeds(np.array([[1.0, 2.0, 4.0], [5.0, 5.0, 5.0]]), 0.0, 1)
    assert several.value == pytest.approx([7 / 9, 0.0])


def test_errors_of_float64_are_no_variance() -> None:
    assert variance_of_seeds(np.array([0.1 + 0.2, 0.3, 0.3]), 0.0, 1).value == 0


def test_seeds_that_vary_by_the_rounding_error_exactly_do_not_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    error = 2.0**-20
    monkeypatch.setattr(variances, "ROUNDING", error)
    values = np.array([1 - 2 * error, 1 - error, 1])
    assert values.var(ddof=1) == error**2
    assert variance_of_seeds(values, 0.0, 1).value == 0


def test_critical_values_are_those_of_the_tables() -> None:
    assert critical_value(2) == pytest.approx(4.302653)
    assert critical_value(INFINITE) == pytest.approx(1.959964)
    assert critical_value(5, 0.01) == pytest.approx(4.032143)
    assert math.isnan(critical_value(0))
    assert critical_value(INFINITE, 1e-100) == pytest.approx(stats.norm.isf(5e-101))


def test_a_half_width_weights_the_critical_values_by_the_variances() -> None:
    parts = [Variance(3.0, 2), Variance(1.0, INFINITE)]
    assert half_width(parts) == pytest.approx((3 * 4.302653 + 1.959964) / 2)
    assert half_width([Variance(4.0, 2)]) == pytest.approx(2 * 4.302653)
    assert half_width([Variance(4.0, 5)], 0.01) == pytest.approx(2 * 4.032143)


@pytest.mark.parametrize("mean", [4.302653, -4.302653])
def test_a_mean_at_the_end_of_its_interval_has_the_p_value_of_its_level(mean: float) -> None:
    assert p_value(mean, [Variance(1.0, 2)]) == pytest.approx(ALPHA) == pytest.approx(0.05)
    assert p_value(mean * 3, [Variance(9.0, 2), Variance(0.0, 1)]) == pytest.approx(0.05)
    both = [Variance(0.5, 2), Variance(0.5, INFINITE)]
    assert half_width(both, p_value(mean, both)) == pytest.approx(4.302653)
    alone = [p_value(mean, [Variance(1.0, freedom)]) for freedom in (INFINITE, 2)]
    assert alone[0] < p_value(mean, both) < alone[1]


def test_the_smallest_p_value_is_not_0() -> None:
    assert p_value(1e6, [Variance(1.0, INFINITE)]) == pytest.approx(LEAST) == pytest.approx(1e-300)
    assert p_value(0.0, [Variance(1.0, 2)]) == 1
