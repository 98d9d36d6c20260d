"""Operations on sixteen numbers at a time, against NumPy."""

import numpy as np
import pytest
from numba import njit

from capsbench_kernels.passes.cpu.lanes import (
    WIDTH,
    advance_pointer,
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
def compute_sum(x):
    return sum_lanes(load(point_to(x), 0))


@numbers
def test_a_total_is_the_sum_over_the_lanes(dtype):
    x = np.arange(WIDTH).astype(dtype)  # whole numbers: exact in any order
    assert compute_sum(x) == x.sum()


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


@njit
def choose(left, right):
    return maximum(left, right), minimum(left, right)


@pytest.mark.parametrize("kind", [int, float, np.float32])
def test_the_larger_and_the_smaller_number_are_chosen(kind):
    assert choose(kind(2), kind(-3)) == choose(kind(-3), kind(2)) == (2, -3)


def test_the_left_number_is_chosen_beside_nan():
    assert choose(1.0, np.nan) == (1, 1)
    assert np.isnan(choose(np.nan, 1.0)).all()
