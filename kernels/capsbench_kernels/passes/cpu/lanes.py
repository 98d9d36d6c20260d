"""Vectors of sixteen numbers in Numba: ``load``, ``store``, ``+ - * /``, and the other operations of a vote pass.

LLVM leaves Numba's loops over short rows scalar, or guards them by alias checks that cost more than the row. A value of type
`Lanes` is an LLVM vector. It becomes the vectors of the machine (AVX-512, AVX2, NEON), and code on it reads like the formula for
one child.

Each instruction below is a function of types: it returns the signature, and a function that emits the LLVM code for it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload, register_model
from numba.np.arrayobj import make_array

WIDTH = 16
"""Numbers in a value of type `Lanes`."""

CONTRACT = ("contract",)
"""Fast-math flags of LLVM: a product and a sum may be rounded once. NaN and infinity keep their meaning."""


class Lanes(types.Type):
    """Numba's type of `WIDTH` numbers of ``dtype``."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(f"Lanes({dtype})")


SINGLE, DOUBLE = Lanes(types.float32), Lanes(types.float64)


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        element = ir.FloatType() if kind.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, kind, ir.VectorType(element, WIDTH))


def _make_intrinsic(define: Callable[..., Any]) -> Any:
    """Makes an instruction for compiled code: ``define`` gets Numba's typing context and the types of the arguments."""
    return intrinsic(define)


def _define_operator(symbol: Callable[..., Any], instruction: str) -> None:
    """Defines an operator of Python on two `Lanes` as an instruction of LLVM."""

    @infer_global(symbol)
    class Operation(ConcreteTemplate):
        cases = [signature(kind, kind, kind) for kind in (SINGLE, DOUBLE)]

    def lower_operator(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments, flags=CONTRACT)

    for kind in (SINGLE, DOUBLE):
        lower_builtin(symbol, kind, kind)(lower_operator)


for _symbol, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define_operator(_symbol, _name)


@_make_intrinsic
def point_to(typing: Any, array: Any) -> Any:
    """Returns a pointer to the first number of a contiguous array; a null pointer if the array is empty.

    Numba counts references at every call with an array, also at one that it inlines, and spends more time on that than on
    the arithmetic. A pointer is not counted: the caller keeps the array alive.
    """

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = make_array(array)(context, builder, arguments[0])
        empty = builder.icmp_signed("==", struct.nitems, ir.Constant(struct.nitems.type, 0))
        return builder.select(empty, ir.Constant(struct.data.type, None), struct.data)

    return types.CPointer(array.dtype)(array), emit_code


@_make_intrinsic
def is_given(typing: Any, pointer: Any) -> Any:
    """Tells whether the pointer is not null: whether there is such a tensor."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.icmp_unsigned("!=", arguments[0], ir.Constant(arguments[0].type, None))

    return types.boolean(pointer), emit_code


@_make_intrinsic
def advance_pointer(typing: Any, pointer: Any, count: Any) -> Any:
    """Returns the pointer moved on by ``count`` numbers."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.intp), emit_code


def _vector_pointer(context: Any, builder: Any, dtype: Any, pointer: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), context.get_value_type(Lanes(dtype)).as_pointer())


@_make_intrinsic
def load(typing: Any, pointer: Any, index: Any) -> Any:
    """Returns `WIDTH` numbers from ``pointer[index]`` on."""
    dtype = pointer.dtype

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_vector_pointer(context, builder, dtype, *arguments), align=dtype.bitwidth // 8)

    return Lanes(dtype)(pointer, types.intp), emit_code


@_make_intrinsic
def store(typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Writes `WIDTH` numbers to ``pointer[index]`` and on."""
    dtype = pointer.dtype

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _vector_pointer(context, builder, dtype, *arguments[:2]), align=dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(pointer, types.intp, Lanes(dtype)), emit_code


@_make_intrinsic
def gather(typing: Any, pointer: Any, index: Any, stride: Any) -> Any:
    """Returns `WIDTH` numbers, ``stride`` apart, from ``pointer[index]`` on."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, index, stride = arguments
        lanes = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        for lane in range(WIDTH):
            lanes = builder.insert_element(lanes, builder.load(builder.gep(data, [index])), _lane_index(lane))
            index = builder.add(index, stride)
        return lanes

    return Lanes(pointer.dtype)(pointer, types.intp, types.intp), emit_code


@_make_intrinsic
def scatter(typing: Any, pointer: Any, index: Any, stride: Any, value: Any) -> Any:
    """Writes `WIDTH` numbers to the places that `gather` reads."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, index, stride, lanes = arguments
        for lane in range(WIDTH):
            builder.store(builder.extract_element(lanes, _lane_index(lane)), builder.gep(data, [index]))
            index = builder.add(index, stride)
        return context.get_dummy_value()

    return types.none(pointer, types.intp, types.intp, Lanes(pointer.dtype)), emit_code


def _lane_index(number: int) -> Any:
    return ir.Constant(ir.IntType(32), number)


@_make_intrinsic
def get(typing: Any, pointer: Any, index: Any) -> Any:
    """Returns ``pointer[index]``."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.gep(arguments[0], [arguments[1]]))

    return pointer.dtype(pointer, types.intp), emit_code


@_make_intrinsic
def put(typing: Any, pointer: Any, index: Any, number: Any) -> Any:
    """Writes a number to ``pointer[index]``."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], builder.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    return types.none(pointer, types.intp, pointer.dtype), emit_code


@_make_intrinsic
def fill(typing: Any, number: Any) -> Any:
    """Returns ``number`` in every lane."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        # Into the first lane, then from there to all: LLVM makes one broadcast of the pair.
        undefined = ir.Constant(kind, ir.Undefined)
        first = builder.insert_element(undefined, arguments[0], _lane_index(0))
        return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))

    return Lanes(number)(number), emit_code


@_make_intrinsic
def sum_lanes(typing: Any, lanes: Any) -> Any:
    """Returns the sum over the lanes, added in pairs in a fixed order."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (lanes,) = arguments
        while lanes.type.count > 1:
            lanes = _fold_halves(builder, lanes, lanes, 1)
        return builder.extract_element(lanes, _lane_index(0))

    return lanes.dtype(lanes), emit_code


@_make_intrinsic
def add_lane_sums(typing: Any, pointer: Any, index: Any, a0: Any, a1: Any, a2: Any, a3: Any) -> Any:
    """Adds the sums of four `Lanes` to four numbers from ``pointer[index]`` on.

    It takes a third of the steps of four `sum_lanes`: the four are folded into one vector, which is halved together.
    """
    dtype = pointer.dtype

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, index, first, second, third, fourth = arguments
        lanes = _fold_halves(
            builder, _fold_halves(builder, first, second, 2), _fold_halves(builder, third, fourth, 2), 4
        )
        while lanes.type.count > 4:
            lanes = _fold_halves(builder, lanes, lanes, 4)
        target = builder.bitcast(builder.gep(data, [index]), lanes.type.as_pointer())
        align = dtype.bitwidth // 8
        builder.store(builder.fadd(builder.load(target, align=align), lanes), target, align=align)
        return context.get_dummy_value()

    return types.none(pointer, types.intp, a0, a1, a2, a3), emit_code


def _fold_halves(builder: Any, left: Any, right: Any, columns: int) -> Any:
    """Adds the upper half of each of the ``columns`` stretches of left and right to its lower half.

    Left and right may be one value, which then holds all the stretches.
    """
    count = left.type.count if left is right else 2 * left.type.count
    stretch = count // columns
    lower, upper = (
        ir.Constant(
            ir.VectorType(ir.IntType(32), count // 2),
            [column * stretch + half + lane for column in range(columns) for lane in range(stretch // 2)],
        )
        for half in (0, stretch // 2)
    )
    return builder.fadd(builder.shuffle_vector(left, right, lower), builder.shuffle_vector(left, right, upper))


def _make_unary(name: str) -> Callable[..., Any]:
    """Makes an instruction of an elementwise function of LLVM, such as ``llvm.floor``."""

    @_make_intrinsic
    def apply_function(typing: Any, lanes: Any) -> Any:
        def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = arguments[0].type
            suffix = "f32" if lanes == SINGLE else "f64"
            declared = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.v{WIDTH}{suffix}"
            )
            return builder.call(declared, arguments)

        return lanes(lanes), emit_code

    return apply_function


floor = _make_unary("floor")
_library_exp = _make_unary("exp")


def _make_choice(comparison: str) -> Callable[..., Any]:
    """Makes an instruction that selects, lane by lane, the right number if it compares so with the left one.

    The left one is selected where either is NaN: the comparison is an ordered one.
    """

    @_make_intrinsic
    def apply_function(typing: Any, left: Any, right: Any) -> Any:
        def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            first, second = arguments
            return builder.select(builder.fcmp_ordered(comparison, second, first), second, first)

        return left(left, right), emit_code

    return apply_function


maximum, minimum = _make_choice(">"), _make_choice("<")


@_make_intrinsic
def _power_of_two(typing: Any, exponent: Any) -> Any:
    """Returns 2 to the power of each lane, a whole number in [-126, 127], in float32."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # The bits of a power of two are its exponent plus 127, above the 23 bits of a mantissa of 0.
        integers = ir.VectorType(ir.IntType(32), WIDTH)
        biased = builder.add(builder.fptosi(arguments[0], integers), ir.Constant(integers, [127] * WIDTH))
        bits = builder.shl(biased, ir.Constant(integers, [23] * WIDTH))
        return builder.bitcast(bits, arguments[0].type)

    return exponent(exponent), emit_code


@_make_intrinsic
def _zero_below(typing: Any, lanes: Any, of: Any, bound: Any) -> Any:
    """Returns the lanes, but 0 where ``of`` is below the bound."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, compared, bound = arguments
        return builder.select(builder.fcmp_ordered("<", compared, bound), ir.Constant(value.type, None), value)

    return lanes(lanes, of, bound), emit_code


# exp(r) = 1 + r + r^2 p(r) on |r| <= ln(2) / 2; p is fitted to minimise the largest relative error, 5e-11 before rounding.
_P = tuple(np.float32(c) for c in (0.5, 0.16666666, 0.041666295, 0.008333497, 0.0013944649, 0.00019790353))
_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.1219444e-4)
_LOWEST, _HIGHEST, _HALF, _ONE = np.float32(-87), np.float32(89), np.float32(0.5), np.float32(1)


@njit(error_model="numpy")
def _exp_single(exponent: Any) -> Any:
    x = minimum(maximum(exponent, fill(_LOWEST)), fill(_HIGHEST))
    # exp(x) = 2^k exp(r) with |r| <= ln(2) / 2. ln(2) is subtracted in two parts: the high one times k is exact in float32.
    k = floor(x * fill(_LOG2_E) + fill(_HALF))
    r = x - k * fill(_LN2_HIGH) - k * fill(_LN2_LOW)
    # Horner's scheme.
    p = fill(_P[5]) * r + fill(_P[4])
    p = p * r + fill(_P[3])
    p = p * r + fill(_P[2])
    p = p * r + fill(_P[1])
    p = p * r + fill(_P[0])
    # A tiny share becomes 0: products with denormal numbers would take a hundred times as long.
    return _zero_below((p * r * r + r + fill(_ONE)) * _power_of_two(k), exponent, fill(_LOWEST))


def exp(lanes: Any) -> Any:
    """Returns e to the power of each lane; in float32 a polynomial of relative error below 3e-7, and 0 below exp(-87)."""
    raise TypeError("exp of lanes: callable from compiled code only")


@overload(exp)
def _overload_exp(lanes):  # without annotations: Numba compares the signature with that of the implementation
    if lanes == SINGLE:
        return lambda lanes: _exp_single(lanes)
    return lambda lanes: _library_exp(lanes)
