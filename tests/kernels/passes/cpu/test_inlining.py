"""Functions that become part of their caller."""

import numpy as np
import pytest
from numba import njit

from capsbench_kernels.passes.cpu.inlining import KernelCompiler, inlined
from capsbench_kernels.passes.cpu.lanes import get, point_to, put

TYPES = []


@inlined
def square(number):
    return number * number


@inlined
def add_squares(target, first, second):
    """Calls another one, twice."""
    put(target, 0, get(target, 0) + square(first) + square(second))


@inlined
def order_pair(first, second):
    if first > second:
        first, second = second, first
    return first, second


def call_all(target, first, second):
    add_squares(point_to(target), first, second)
    add_squares(point_to(target), first, second)
    return order_pair(first, second)


@pytest.mark.parametrize("options", [{}, {"pipeline_class": KernelCompiler}], ids=["any compiler", "kernel compiler"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_call_runs_the_function_for_the_types_of_the_call(options, dtype):
    target = np.ones(1, dtype)
    assert njit(**options)(call_all)(target, dtype(5), dtype(3)) == (3, 5)
    assert target == 1 + 2 * (25 + 9)


def test_no_call_is_left_in_the_machine_code():
    kernel = njit(pipeline_class=KernelCompiler)(call_all)
    kernel(np.ones(1), 5.0, 3.0)
    (code,) = kernel.inspect_llvm().values()
    defined = [line for line in code.splitlines() if line.startswith("define")]
    assert not [line for line in defined if "square" in line or "order_pair" in line]
    assert [line for line in defined if "call_all" in line]


def test_an_inlined_function_is_itself():
    assert square(3) == 9
