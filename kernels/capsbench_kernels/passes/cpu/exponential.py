"""The exponential function and logarithms of sixteen numbers at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from capsbench_kernels.passes.cpu.lanes import CONTRACT, DOUBLE, SINGLE, Lanes, make_intrinsic, select_by_comparison


@make_intrinsic
def exp(typing: Any, lanes: Any) -> Any:
    """Returns e to the power of each lane; in float32 a polynomial of relative error below 3e-7, and 0 below exp(-87)."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _emit_exp(builder, *arguments)

    return lanes(lanes), emit_code


def _emit_exp(builder: Any, lanes: Any) -> Any:
    if lanes.type.element == ir.FloatType():
        return _emit_exp_single(builder, lanes)
    return _call_llvm(builder, "exp", lanes)


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


@make_intrinsic
def log(typing: Any, lanes: Any, number: Any) -> Any:
    """Returns the natural logarithm of each lane of float64, in the dtype of ``number``; as NumPy's for 0, infinity and NaN."""
    assert lanes == DOUBLE

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, _ = arguments
        integers = ir.VectorType(ir.IntType(64), x.type.count)

        def fill_constant(value: float) -> Any:
            return ir.Constant(x.type, [value] * x.type.count)

        # x = 2^k m with m in [sqrt(1/2), sqrt(2)), from the bits of x: those of sqrt(1/2) are subtracted from its exponent and
        # mantissa, which leaves k in the upper 12.
        half_root = ir.Constant(integers, [0x3FE6A09E667F3BCD] * x.type.count)
        bits = builder.bitcast(x, integers)
        shift = ir.Constant(integers, [52] * x.type.count)
        k = builder.ashr(builder.sub(bits, half_root), shift)
        m = builder.bitcast(builder.sub(bits, builder.shl(k, shift)), x.type)
        ratio = builder.fdiv(builder.fsub(m, fill_constant(1.0)), builder.fadd(m, fill_constant(1.0)))
        powers = builder.fmul(builder.sitofp(k, x.type), fill_constant(0.6931471805599453))
        result = builder.fadd(_emit_double_atanh(builder, ratio, 10), powers, flags=CONTRACT)
        finite = builder.and_(
            builder.fcmp_ordered(">", x, fill_constant(0.0)), builder.fcmp_ordered("<", x, fill_constant(math.inf))
        )
        is_zero = builder.fcmp_ordered("==", x, fill_constant(0.0))
        result = builder.select(finite, result, builder.select(is_zero, fill_constant(-math.inf), x))
        target = context.get_value_type(signature.return_type)
        return result if target == x.type else builder.fptrunc(result, target)

    return Lanes(number)(lanes, number), emit_code


@make_intrinsic
def log_sigmoid(typing: Any, lanes: Any) -> Any:
    """Returns -log(1 + exp(-x)) of each lane x."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        zeros = ir.Constant(x.type, None)
        negative, positive = (select_by_comparison(builder, sign, x, zeros) for sign in "<>")
        # log(1 + e) with e = exp(-|x|) in [0, 1], to the last places also where e is tiny.
        e = _emit_exp(builder, builder.fsub(negative, positive))
        ratio = builder.fdiv(e, builder.fadd(e, ir.Constant(x.type, [2.0] * x.type.count)))
        return builder.fsub(negative, _emit_double_atanh(builder, ratio, 8 if lanes == SINGLE else 16))

    return lanes(lanes), emit_code


@make_intrinsic
def sigmoid(typing: Any, lanes: Any) -> Any:
    """Returns 1 / (1 + exp(-x)) of each lane x."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        one = ir.Constant(x.type, [1.0] * x.type.count)
        return builder.fdiv(one, builder.fadd(one, _emit_exp(builder, builder.fsub(ir.Constant(x.type, None), x))))

    return lanes(lanes), emit_code


def _emit_double_atanh(builder: Any, ratio: Any, terms: int) -> Any:
    """Sums 2 (s + s^3 / 3 + s^5 / 5 + ...), which is log((1 + s) / (1 - s)), by Horner's scheme."""
    kind = ratio.type
    is_single = kind.element == ir.FloatType()
    square = builder.fmul(ratio, ratio)
    total = ir.Constant(kind, [0.0] * kind.count)
    for term in reversed(range(terms)):
        number = 2 / (2 * term + 1)
        coefficient = ir.Constant(kind, [float(np.float32(number)) if is_single else number] * kind.count)
        total = builder.fadd(builder.fmul(total, square, flags=CONTRACT), coefficient, flags=CONTRACT)
    return builder.fmul(total, ratio)
