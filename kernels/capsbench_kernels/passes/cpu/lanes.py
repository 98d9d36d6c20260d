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

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model
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


def make_intrinsic(define: Callable[..., Any]) -> Any:
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


@make_intrinsic
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


@make_intrinsic
def favour_small_code(typing: Any) -> Any:
    """Makes LLVM unroll and copy fewer loops of the function: on `Lanes` that gains nothing, and compiling takes half as long."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("optsize")
        return context.get_dummy_value()

    return types.none(), emit_code


@make_intrinsic
def is_given(typing: Any, pointer: Any) -> Any:
    """Tells whether the pointer is not null: whether there is such a tensor."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.icmp_unsigned("!=", arguments[0], ir.Constant(arguments[0].type, None))

    return types.boolean(pointer), emit_code


@make_intrinsic
def advance_pointer(typing: Any, pointer: Any, count: Any) -> Any:
    """Returns the pointer moved on by ``count`` numbers."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.intp), emit_code


def point_to_lanes(context: Any, builder: Any, dtype: Any, pointer: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), context.get_value_type(Lanes(dtype)).as_pointer())


@make_intrinsic
def load(typing: Any, pointer: Any, index: Any) -> Any:
    """Returns `WIDTH` numbers from ``pointer[index]`` on."""
    dtype = pointer.dtype

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(point_to_lanes(context, builder, dtype, *arguments), align=dtype.bitwidth // 8)

    return Lanes(dtype)(pointer, types.intp), emit_code


@make_intrinsic
def store(typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Writes `WIDTH` numbers to ``pointer[index]`` and on."""
    dtype = pointer.dtype

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], point_to_lanes(context, builder, dtype, *arguments[:2]), align=dtype.bitwidth // 8)

    return types.none(pointer, types.intp, Lanes(dtype)), emit_code


@make_intrinsic
def gather(typing: Any, pointer: Any, index: Any, stride: Any) -> Any:
    """Returns `WIDTH` numbers, ``stride`` apart, from ``pointer[index]`` on."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, index, stride = arguments
        lanes = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        for lane in range(WIDTH):
            lanes = builder.insert_element(lanes, builder.load(builder.gep(data, [index])), make_index(lane))
            index = builder.add(index, stride)
        return lanes

    return Lanes(pointer.dtype)(pointer, types.intp, types.intp), emit_code


@make_intrinsic
def scatter(typing: Any, pointer: Any, index: Any, stride: Any, value: Any) -> Any:
    """Writes `WIDTH` numbers to the places that `gather` reads."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, index, stride, lanes = arguments
        for lane in range(WIDTH):
            builder.store(builder.extract_element(lanes, make_index(lane)), builder.gep(data, [index]))
            index = builder.add(index, stride)

    return types.none(pointer, types.intp, types.intp, Lanes(pointer.dtype)), emit_code


def make_index(number: int) -> Any:
    return ir.Constant(ir.IntType(32), number)


@make_intrinsic
def get(typing: Any, pointer: Any, index: Any) -> Any:
    """Returns ``pointer[index]``."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.gep(arguments[0], [arguments[1]]))

    return pointer.dtype(pointer, types.intp), emit_code


@make_intrinsic
def put(typing: Any, pointer: Any, index: Any, number: Any) -> Any:
    """Writes a number to ``pointer[index]``."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], builder.gep(arguments[0], [arguments[1]]))

    return types.none(pointer, types.intp, pointer.dtype), emit_code


@make_intrinsic
def load_first(typing: Any, pointer: Any, index: Any, count: Any) -> Any:
    """Returns ``count`` numbers from ``pointer[index]`` on, at most `WIDTH`; the other lanes are 1."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        variable = cgutils.alloca_once(builder, kind)
        builder.store(ir.Constant(kind, [1.0] * WIDTH), variable)
        source, place = builder.gep(arguments[0], [arguments[1]]), builder.bitcast(variable, kind.element.as_pointer())
        with cgutils.for_range(builder, arguments[2], intp=ir.IntType(64)) as lane:
            builder.store(builder.load(builder.gep(source, [lane.index])), builder.gep(place, [lane.index]))
        return builder.load(variable)

    return Lanes(pointer.dtype)(pointer, types.intp, types.intp), emit_code


@make_intrinsic
def store_first(typing: Any, pointer: Any, index: Any, count: Any, value: Any) -> Any:
    """Writes the first ``count`` lanes to ``pointer[index]`` and on."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        variable = cgutils.alloca_once(builder, arguments[3].type)
        builder.store(arguments[3], variable)
        target, place = builder.gep(arguments[0], [arguments[1]]), builder.bitcast(variable, arguments[0].type)
        with cgutils.for_range(builder, arguments[2], intp=ir.IntType(64)) as lane:
            builder.store(builder.load(builder.gep(place, [lane.index])), builder.gep(target, [lane.index]))

    return types.none(pointer, types.intp, types.intp, Lanes(pointer.dtype)), emit_code


@make_intrinsic
def fill(typing: Any, number: Any) -> Any:
    """Returns ``number`` in every lane."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        # Into the first lane, then from there to all: LLVM makes one broadcast of the pair.
        undefined = ir.Constant(kind, ir.Undefined)
        first = builder.insert_element(undefined, arguments[0], make_index(0))
        return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))

    return Lanes(number)(number), emit_code


@make_intrinsic
def sum_lanes(typing: Any, lanes: Any) -> Any:
    """Returns the sum over the lanes, added in pairs in a fixed order."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (lanes,) = arguments
        while lanes.type.count > 1:
            lanes = fold_halves(builder, lanes, lanes, 1)
        return builder.extract_element(lanes, make_index(0))

    return lanes.dtype(lanes), emit_code


def fold_halves(builder: Any, left: Any, right: Any, columns: int, operation: str = "fadd") -> Any:
    """Adds the upper half of each of the ``columns`` stretches of left and right to its lower half, or multiplies them.

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
    halves = (builder.shuffle_vector(left, right, half) for half in (lower, upper))
    return getattr(builder, operation)(*halves)


def _make_choice(comparison: str) -> Callable[..., Any]:
    """Makes an instruction that selects the right number if it compares so with the left one, lane by lane in `Lanes`.

    The left one is selected where either is NaN: the comparison is an ordered one. Numba would compile a function for each call
    of ``max`` and ``min``.
    """

    @make_intrinsic
    def apply_function(typing: Any, left: Any, right: Any) -> Any:
        def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return select_by_comparison(builder, comparison, *arguments)

        return left(left, right), emit_code

    return apply_function


def select_by_comparison(builder: Any, comparison: str, left: Any, right: Any) -> Any:
    compare = builder.icmp_signed if isinstance(left.type, ir.IntType) else builder.fcmp_ordered
    return builder.select(compare(comparison, right, left), right, left)


maximum, minimum = _make_choice(">"), _make_choice("<")
