"""The exponential, logarithms and sigmoids of sixteen numbers at a time, against NumPy."""

import numpy as np
import pytest
from numba import njit

from capsbench_kernels.passes.cpu.exponential import exp, log, log_sigmoid, sigmoid
from capsbench_kernels.passes.cpu.lanes import WIDTH, load, point_to, store


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
def compute_logarithm(x, result):
    for start in range(0, x.size, WIDTH):
        store(point_to(result), start, log(load(point_to(x), start), result[0]))


@njit
def compute_sigmoids(x, sigmoids, logarithms):
    for start in range(0, x.size, WIDTH):
        store(point_to(sigmoids), start, sigmoid(load(point_to(x), start)))
        store(point_to(logarithms), start, log_sigmoid(load(point_to(x), start)))


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 1e-7), (np.float64, 1e-15)])
def test_log_is_right_to_the_last_places(dtype, error):
    x = np.concatenate([np.geomspace(1e-300, 1e300, 1 << 11), np.linspace(0.5, 2, 1 << 11)])
    result = np.empty(x.shape, dtype)
    compute_logarithm(x, result)
    np.testing.assert_allclose(result, np.log(x), rtol=error, atol=error)


def test_log_of_what_has_no_logarithm_is_not_hidden():
    x, result = np.array([0, np.inf, np.nan, 1] * 4, np.float64), np.empty(16)
    compute_logarithm(x, result)
    np.testing.assert_array_equal(result[:4], [-np.inf, np.inf, np.nan, 0])


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_sigmoids_are_right_to_the_last_places(dtype, error):
    x = np.linspace(-80, 80, 1 << 12).astype(dtype)
    sigmoids, logarithms = np.empty_like(x), np.empty_like(x)
    compute_sigmoids(x, sigmoids, logarithms)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(sigmoids, 1 / (1 + np.exp(-exact)), rtol=error)
    np.testing.assert_allclose(logarithms, -np.logaddexp(0, -exact), rtol=error)
