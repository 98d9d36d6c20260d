"""Operations on sixteen numbers at a time, against NumPy."""

import numpy as np
import pytest
from numba import njit

from capsbench_kernels.passes.cpu.lanes import (
    WIDTH,
    add_lane_sums,
    advance_pointer,
    exp,
    fill,
    gather,
    get,
    is_given,
    load,
    maximum,
    minimum,
    point_to,
    put,
    scatter,
    store,
    sum_lanes,
)

numbers = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def compute_arithmetic(x, y, result):
    a, b = load(point_to(x), 0), load(point_to(y), 0)
    target = point_to(result)
    for row, lanes in enumerate((a + b, a - b, a * b, a / b, maximum(a, b), minimum(a, b), fill(x[3]))):
        store(target, row * WIDTH, lanes)


@numbers
def test_arithmetic_is_that_of_each_lane(dtype):
    x, y = np.random.default_rng(0).standard_normal((2, WIDTH)).astype(dtype)
    result = np.full((7, WIDTH), np.nan, dtype)
    compute_arithmetic(x, y, result)
    expected = [x + y, x - y, x * y, x / y, np.maximum(x, y), np.minimum(x, y), np.full(WIDTH, x[3])]
    np.testing.assert_array_equal(result, expected)


@njit
def compute_exponential(x, result):
    for start in range(0, x.size, WIDTH):
        store(point_to(result), start, exp(load(point_to(x), start)))


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_exp_is_right_to_the_last_places(dtype, error):
    x = np.linspace(-86, 87, 1 << 12).astype(dtype)
    result = np.empty_like(x)
    compute_exponential(x, result)
    np.testing.assert_allclose(result, np.exp(x.astype(np.float64)), rtol=error)


def test_exp_of_what_has_no_exponential_is_not_hidden():
    x = np.array([np.nan, -np.inf, -1e30, 0, np.inf, 89, 1e30, 0] * 2, np.float32)
    result = np.empty_like(x)
    compute_exponential(x, result)
    assert np.isnan(result[0])
    assert (result[1:3] == 0).all()  # and no denormal number
    assert result[3] == 1
    assert (result[4:7] == np.inf).all()


@njit
def compute_sums(x, four):
    start = point_to(x)
    add_lane_sums(point_to(four), 1, load(start, 0), load(start, WIDTH), load(start, 2 * WIDTH), load(start, 3 * WIDTH))
    return sum_lanes(load(start, 0))


@numbers
def test_totals_are_the_sums_over_the_lanes(dtype):
    x = np.arange(4 * WIDTH).astype(dtype).reshape(4, WIDTH)  # whole numbers: exact in any order
    four = np.array([7, 1, 2, 3, 4, 9], dtype)
    assert compute_sums(x, four) == x[0].sum()
    np.testing.assert_array_equal(four, [7, *(x.sum(axis=1) + np.arange(1, 5)), 9])


@njit
def transpose(x, rows, result):
    for row in range(rows):
        scatter(point_to(result), row * WIDTH, 1, gather(point_to(x), row, rows))
    put(point_to(result), 0, get(advance_pointer(point_to(x), 2), 3))


@numbers
def test_gather_and_scatter_step_through_memory(dtype):
    x = np.random.default_rng(0).standard_normal((WIDTH, 3)).astype(dtype)
    result = np.empty((3, WIDTH), dtype)
    transpose(x, 3, result)
    assert result[0, 0] == x.ravel()[5]
    np.testing.assert_array_equal(result.ravel()[1:], x.T.ravel()[1:])


@njit
def holds_numbers(x):
    return is_given(point_to(x))


def test_an_empty_array_is_not_given():
    assert holds_numbers(np.ones(1))
    assert not holds_numbers(np.empty((0, 0)))
