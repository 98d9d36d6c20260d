"""Sixteen numbers side by side as one value in Numba: ``load``, ``store``, ``+ - * /``, and what else a vote pass needs.

Numba's loops over short rows are left scalar, or guarded by alias checks that cost more than the row. A value of type
`Lanes` is a vector of LLVM's, which becomes whatever the machine has (AVX-512, AVX2, NEON), and code on it reads like
the formula for one child.
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
"""The one liberty given to the compiler: a product and a sum may be rounded once. NaN and infinity stay what they are."""


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


def _instruction(define: Callable[..., Any]) -> Any:
    """What compiled code can call: ``define`` gets Numba's typing context and the types of the arguments."""
    return intrinsic(define)


def _define(symbol: Callable[..., Any], instruction: str) -> None:
    """Gives an operator of Python its meaning between two `Lanes`."""

    @infer_global(symbol)
    class Operation(ConcreteTemplate):
        cases = [signature(kind, kind, kind) for kind in (SINGLE, DOUBLE)]

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments, flags=CONTRACT)

    for kind in (SINGLE, DOUBLE):
        lower_builtin(symbol, kind, kind)(lower)


for _symbol, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define(_symbol, _name)


@_instruction
def pointer(typing: Any, array: Any) -> Any:
    """To the first number of a contiguous array, or to nothing if the array is empty.

    Numba counts references at every call that is given an array, also at one that it inlines, and would spend more time
    on that than on the arithmetic. A pointer is not counted: the caller keeps the array alive.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = make_array(array)(context, builder, arguments[0])
        empty = builder.icmp_signed("==", struct.nitems, ir.Constant(struct.nitems.type, 0))
        return builder.select(empty, ir.Constant(struct.data.type, None), struct.data)

    return types.CPointer(array.dtype)(array), generate


@_instruction
def given(typing: Any, pointer: Any) -> Any:
    """Whether the pointer is to something."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.icmp_unsigned("!=", arguments[0], ir.Constant(arguments[0].type, None))

    return types.boolean(pointer), generate


@_instruction
def advance(typing: Any, pointer: Any, count: Any) -> Any:
    """The pointer, ``count`` numbers on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.intp), generate


def _vector(context: Any, builder: Any, dtype: Any, pointer: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), context.get_value_type(Lanes(dtype)).as_pointer())


@_instruction
def load(typing: Any, pointer: Any, index: Any) -> Any:
    """`WIDTH` numbers from ``pointer[index]`` on."""
    dtype = pointer.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_vector(context, builder, dtype, *arguments), align=dtype.bitwidth // 8)

    return Lanes(dtype)(pointer, types.intp), generate


@_instruction
def store(typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Writes `WIDTH` numbers to ``pointer[index]`` and on."""
    dtype = pointer.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _vector(context, builder, dtype, *arguments[:2]), align=dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(pointer, types.intp, Lanes(dtype)), generate


@_instruction
def gather(typing: Any, pointer: Any, index: Any, stride: Any) -> Any:
    """`WIDTH` numbers, ``stride`` apart, from ``pointer[index]`` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, index, stride = arguments
        lanes = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        for lane in range(WIDTH):
            lanes = builder.insert_element(lanes, builder.load(builder.gep(data, [index])), _lane(lane))
            index = builder.add(index, stride)
        return lanes

    return Lanes(pointer.dtype)(pointer, types.intp, types.intp), generate


@_instruction
def scatter(typing: Any, pointer: Any, index: Any, stride: Any, value: Any) -> Any:
    """Writes `WIDTH` numbers to where `gather` reads them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, index, stride, lanes = arguments
        for lane in range(WIDTH):
            builder.store(builder.extract_element(lanes, _lane(lane)), builder.gep(data, [index]))
            index = builder.add(index, stride)
        return context.get_dummy_value()

    return types.none(pointer, types.intp, types.intp, Lanes(pointer.dtype)), generate


def _lane(number: int) -> Any:
    return ir.Constant(ir.IntType(32), number)


@_instruction
def get(typing: Any, pointer: Any, index: Any) -> Any:
    """``pointer[index]``"""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.gep(arguments[0], [arguments[1]]))

    return pointer.dtype(pointer, types.intp), generate


@_instruction
def put(typing: Any, pointer: Any, index: Any, number: Any) -> Any:
    """``pointer[index] = number``"""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], builder.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    return types.none(pointer, types.intp, pointer.dtype), generate


@_instruction
def fill(typing: Any, number: Any) -> Any:
    """``number`` in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        undefined = ir.Constant(kind, ir.Undefined)
        first = builder.insert_element(undefined, arguments[0], _lane(0))
        return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))

    return Lanes(number)(number), generate


@_instruction
def total(typing: Any, lanes: Any) -> Any:
    """The sum over the lanes, pairwise in a fixed order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (lanes,) = arguments
        while lanes.type.count > 1:
            lanes = _folded(builder, lanes, lanes, 1)
        return builder.extract_element(lanes, _lane(0))

    return lanes.dtype(lanes), generate


@_instruction
def add_totals(typing: Any, pointer: Any, index: Any, a0: Any, a1: Any, a2: Any, a3: Any) -> Any:
    """Adds the totals of four `Lanes` to four numbers from ``pointer[index]`` on, in a third of the steps of four `total`."""
    dtype = pointer.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, index, first, second, third, fourth = arguments
        lanes = _folded(builder, _folded(builder, first, second, 2), _folded(builder, third, fourth, 2), 4)
        while lanes.type.count > 4:
            lanes = _folded(builder, lanes, lanes, 4)
        target = builder.bitcast(builder.gep(data, [index]), lanes.type.as_pointer())
        align = dtype.bitwidth // 8
        builder.store(builder.fadd(builder.load(target, align=align), lanes), target, align=align)
        return context.get_dummy_value()

    return types.none(pointer, types.intp, a0, a1, a2, a3), generate


def _folded(builder: Any, left: Any, right: Any, columns: int) -> Any:
    """Halves what is to be added: in each of the ``columns`` stretches of left and right, the upper half onto the lower.

    Left and right may be one value, whose stretches are then all the columns.
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


def _unary(name: str) -> Callable[..., Any]:
    """An elementwise function of LLVM's, such as ``llvm.floor``."""

    @_instruction
    def function(typing: Any, lanes: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = arguments[0].type
            suffix = "f32" if lanes == SINGLE else "f64"
            declared = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.v{WIDTH}{suffix}"
            )
            return builder.call(declared, arguments)

        return lanes(lanes), generate

    return function


floor = _unary("floor")
_library_exp = _unary("exp")


def _choose(comparison: str) -> Callable[..., Any]:
    """The one of two `Lanes` for which the comparison holds; the left one where either is NaN."""

    @_instruction
    def function(typing: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            first, second = arguments
            return builder.select(builder.fcmp_ordered(comparison, second, first), second, first)

        return left(left, right), generate

    return function


maximum, minimum = _choose(">"), _choose("<")


@_instruction
def _power_of_two(typing: Any, exponent: Any) -> Any:
    """2 to the whole number in every lane, in [-126, 127], by writing the exponent's bits (float32)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integers = ir.VectorType(ir.IntType(32), WIDTH)
        biased = builder.add(builder.fptosi(arguments[0], integers), ir.Constant(integers, [127] * WIDTH))
        bits = builder.shl(biased, ir.Constant(integers, [23] * WIDTH))
        return builder.bitcast(bits, arguments[0].type)

    return exponent(exponent), generate


@_instruction
def _zero_below(typing: Any, lanes: Any, of: Any, bound: Any) -> Any:
    """The lanes, 0 where ``of`` is below the bound."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, compared, bound = arguments
        return builder.select(builder.fcmp_ordered("<", compared, bound), ir.Constant(value.type, None), value)

    return lanes(lanes, of, bound), generate


# exp(r) = 1 + r + r^2 p(r) on |r| <= ln(2) / 2; p fitted to the least largest relative error, 5e-11 before rounding.
_P = tuple(np.float32(c) for c in (0.5, 0.16666666, 0.041666295, 0.008333497, 0.0013944649, 0.00019790353))
_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.1219444e-4)
_LOWEST, _HIGHEST, _HALF, _ONE = np.float32(-87), np.float32(89), np.float32(0.5), np.float32(1)


@njit(error_model="numpy")
def _exp_single(exponent: Any) -> Any:
    x = minimum(maximum(exponent, fill(_LOWEST)), fill(_HIGHEST))
    k = floor(x * fill(_LOG2_E) + fill(_HALF))
    r = x - k * fill(_LN2_HIGH) - k * fill(_LN2_LOW)
    p = fill(_P[5]) * r + fill(_P[4])
    p = p * r + fill(_P[3])
    p = p * r + fill(_P[2])
    p = p * r + fill(_P[1])
    p = p * r + fill(_P[0])
    # A share that is nearly nothing becomes 0: products with denormal numbers would take a hundred times as long.
    return _zero_below((p * r * r + r + fill(_ONE)) * _power_of_two(k), exponent, fill(_LOWEST))


def exp(lanes: Any) -> Any:
    """e to the power of every lane; in float32 a polynomial (relative error below 3e-7), 0 below exp(-87)."""
    raise TypeError("exp of lanes: callable from compiled code only")


@overload(exp)
def _exp(lanes):  # without annotations: Numba compares the signature with that of the implementation
    if lanes == SINGLE:
        return lambda lanes: _exp_single(lanes)
    return lambda lanes: _library_exp(lanes)
