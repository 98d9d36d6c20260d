"""The exponential of sixteen numbers at a time, against NumPy."""

import numpy as np
import pytest
from numba import njit

from capsbench_kernels.passes.cpu.exponential import exp
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
