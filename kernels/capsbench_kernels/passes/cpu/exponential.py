"""The exponential function of sixteen numbers at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from capsbench_kernels.passes.cpu.lanes import CONTRACT, SINGLE, make_intrinsic, select_by_comparison


@make_intrinsic
def exp(typing: Any, lanes: Any) -> Any:
    """Returns e to the power of each lane; in float32 a polynomial of relative error below 3e-7, and 0 below exp(-87)."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _emit_exp_single(builder, *arguments) if lanes == SINGLE else _call_llvm(builder, "exp", *arguments)

    return lanes(lanes), emit_code


def _call_llvm(builder: Any, name: str, lanes: Any) -> Any:
    """Calls an elementwise function of LLVM, such as ``llvm.floor``."""
    kind = lanes.type
    suffix = "f32" if kind.element == ir.FloatType() else "f64"
    declared = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.v{kind.count}{suffix}"
    )
    return builder.call(declared, [lanes])


# exp(r) = 1 + r + r^2 p(r) on |r| <= ln(2) / 2; p is fitted to minimise the largest relative error, 5e-11 before rounding.
_P = (0.00019790353, 0.0013944649, 0.008333497, 0.041666295, 0.16666666, 0.5)  # the highest power first
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.44269504, 0.693359375, -2.1219444e-4
_LOWEST, _HIGHEST = -87.0, 89.0


def _emit_exp_single(builder: Any, exponent: Any) -> Any:
    kind = exponent.type
    integers = ir.VectorType(ir.IntType(32), kind.count)

    def fill_constant(number: float) -> Any:
        return ir.Constant(kind, [float(np.float32(number))] * kind.count)

    def add(left: Any, right: Any) -> Any:
        return builder.fadd(left, right, flags=CONTRACT)

    def multiply(left: Any, right: Any) -> Any:
        return builder.fmul(left, right, flags=CONTRACT)

    lowest = fill_constant(_LOWEST)
    x = select_by_comparison(
        builder, "<", select_by_comparison(builder, ">", exponent, lowest), fill_constant(_HIGHEST)
    )
    # exp(x) = 2^k exp(r) with |r| <= ln(2) / 2. ln(2) is subtracted in two parts: the high one times k is exact in float32.
    k = _call_llvm(builder, "floor", add(multiply(x, fill_constant(_LOG2_E)), fill_constant(0.5)))
    r = builder.fsub(x, multiply(k, fill_constant(_LN2_HIGH)), flags=CONTRACT)
    r = builder.fsub(r, multiply(k, fill_constant(_LN2_LOW)), flags=CONTRACT)
    # Horner's scheme.
    p = fill_constant(_P[0])
    for coefficient in _P[1:]:
        p = add(multiply(p, r), fill_constant(coefficient))
    p = add(add(multiply(multiply(p, r), r), r), fill_constant(1.0))
    # The bits of 2^k are its exponent plus 127, above the 23 bits of a mantissa of 0.
    biased = builder.add(builder.fptosi(k, integers), ir.Constant(integers, [127] * kind.count))
    power = builder.bitcast(builder.shl(biased, ir.Constant(integers, [23] * kind.count)), kind)
    # A tiny share becomes 0: products with denormal numbers would take a hundred times as long.
    below = builder.fcmp_ordered("<", exponent, lowest)
    return builder.select(below, ir.Constant(kind, None), multiply(p, power))
