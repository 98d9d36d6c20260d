"""A writer of LLVM instructions on vectors of children, for the inner loops of `cores.py`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from capsbench_kernels.passes.cpu.lanes import CONTRACT, WIDTH, fold_halves, make_intrinsic


class Vector:
    """A value of LLVM, one number a child, with the operators of arithmetic."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fadd(self.value, other.value, flags=CONTRACT))

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fsub(self.value, other.value, flags=CONTRACT))

    def __mul__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fmul(self.value, other.value, flags=CONTRACT))

    def __truediv__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fdiv(self.value, other.value, flags=CONTRACT))


class Writer:
    """Writes instructions on vectors of children at pointers to numbers."""

    def __init__(self, context: Any, builder: Any, dtype: Any, width: int = WIDTH) -> None:
        self.builder = builder
        self.align = dtype.bitwidth // 8
        self.number = context.get_value_type(dtype)
        self.kind = ir.VectorType(self.number, width)

    def move(self, pointer: Any, *counts: Any) -> Any:
        """Returns the pointer moved on by the sum of counts; a count may be a pair of factors."""
        for count in counts:
            pointer = self.builder.gep(
                pointer, [self.multiply(*count) if isinstance(count, tuple) else self.multiply(count)]
            )
        return pointer

    def multiply(self, *factors: Any) -> Any:
        """Returns the product of whole numbers."""
        first, *others = (
            ir.Constant(ir.IntType(64), factor) if isinstance(factor, int) else factor for factor in factors
        )
        for factor in others:
            first = self.builder.mul(first, factor)
        return first

    def unpack(self, kind: Any, values: Any) -> Any:
        """Returns a tuple of compiled code as a named tuple of Python."""
        return kind(*(self.builder.extract_value(values, index) for index in range(len(kind._fields))))

    def load(self, pointer: Any) -> Vector:
        place = self.builder.bitcast(pointer, self.kind.as_pointer())
        return Vector(self.builder, self.builder.load(place, align=self.align))

    def store(self, pointer: Any, vector: Vector) -> None:
        place = self.builder.bitcast(pointer, self.kind.as_pointer())
        self.builder.store(vector.value, place, align=self.align)

    def add(self, pointer: Any, vector: Vector) -> None:
        """Adds a vector to the numbers at a pointer."""
        self.store(pointer, self.load(pointer) + vector)

    def if_given(self, pointer: Any) -> Any:
        """Makes the instructions of a ``with`` block depend on the pointer: they run unless it is null."""
        return self.builder.if_then(self.builder.icmp_unsigned("!=", pointer, ir.Constant(pointer.type, None)))

    def if_different(self, left: Any, right: Any) -> Any:
        """Makes the instructions of a ``with`` block depend on two pointers: they run unless these are the same."""
        return self.builder.if_then(self.builder.icmp_unsigned("!=", left, right))

    def if_set(self, number: Any) -> Any:
        """Makes the instructions of a ``with`` block depend on a whole number: they run unless it is 0."""
        return self.builder.if_then(self.builder.icmp_unsigned("!=", number, ir.Constant(number.type, 0)))

    def if_else(self, number: Any) -> Any:
        """Returns two blocks, of which the first runs unless the whole number is 0, and else the second."""
        return self.builder.if_else(self.builder.icmp_unsigned("!=", number, ir.Constant(number.type, 0)))

    def move_if_given(self, pointer: Any, *counts: Any) -> Any:
        """Returns the pointer moved on as by `move`, but a null pointer as it is."""
        given = self.builder.icmp_unsigned("!=", pointer, ir.Constant(pointer.type, None))
        return self.builder.select(given, self.move(pointer, *counts), pointer)

    def spread(self, pointer: Any, number: int) -> Vector:
        """Returns ``pointer[number]`` in every lane."""
        return self.join(self.builder.load(self.move(pointer, number)))

    def join(self, *numbers: Any) -> Vector:
        """Returns numbers, each in an equal share of the lanes."""
        undefined = ir.Constant(self.kind, ir.Undefined)
        value, places = undefined, []
        for index, number in enumerate(numbers):
            number = ir.Constant(self.number, number) if isinstance(number, float) else number
            value = self.builder.insert_element(value, number, ir.Constant(ir.IntType(32), index))
            places += [index] * (self.kind.count // len(numbers))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.kind.count), places)
        return Vector(self.builder, self.builder.shuffle_vector(value, undefined, lanes))

    def select_positive(self, vector: Vector, chosen: Vector) -> Vector:
        """Returns ``chosen``, but 0 where the vector is below 0 or NaN."""
        zero = ir.Constant(self.kind, None)
        positive = self.builder.fcmp_ordered(">=", vector.value, zero)
        return Vector(self.builder, self.builder.select(positive, chosen.value, zero))

    def make_variables(self, count: int) -> list[Any]:
        """Returns variables for ``count`` vectors; LLVM keeps them in registers."""
        return [cgutils.alloca_once(self.builder, self.kind) for _ in range(count)]

    def make_sums(self, count: int) -> list[Any]:
        """Returns variables that begin at 0."""
        variables = self.make_variables(count)
        for variable in variables:
            self.builder.store(ir.Constant(self.kind, None), variable)
        return variables

    def make_copies(self, vectors: list[Vector]) -> list[Any]:
        """Returns variables that begin as vectors."""
        variables = self.make_variables(len(vectors))
        for variable, vector in zip(variables, vectors, strict=True):
            self.write(variable, vector)
        return variables

    def read(self, variable: Any) -> Vector:
        return Vector(self.builder, self.builder.load(variable))

    def write(self, variable: Any, vector: Vector) -> None:
        self.builder.store(vector.value, variable)

    def loop(self, count: Any) -> Any:
        """Repeats the instructions of a ``with`` block; its value has the ``index``."""
        return cgutils.for_range(self.builder, count, intp=ir.IntType(64))

    def add_lane_sums(self, pointer: Any, vectors: list[Vector]) -> None:
        """Adds the sum over the lanes of each of 8 vectors to 8 numbers.

        Two vectors become one, whose halves hold half as many numbers of each, until one vector is left: a third of the steps of
        8 separate sums.
        """
        values, columns = [vector.value for vector in vectors], 1
        while len(values) > 1:
            columns *= 2
            values = [fold_halves(self.builder, *pair, columns) for pair in zip(values[::2], values[1::2], strict=True)]
        (value,) = values
        while value.type.count > columns:
            value = fold_halves(self.builder, value, value, columns)
        place = self.builder.bitcast(pointer, value.type.as_pointer())
        total = self.builder.fadd(self.builder.load(place, align=self.align), value)
        self.builder.store(total, place, align=self.align)

    def select_cells(self, rows: Any, columns: Any) -> Any:
        """Returns which lanes are in the first rows and columns of ``[2, width / 2]``."""
        half = self.kind.count // 2
        inside = []
        for limit, places in ((rows, [0] * half + [1] * half), (columns, [*range(half)] * 2)):
            numbers = ir.VectorType(ir.IntType(64), self.kind.count)
            first = self.builder.insert_element(
                ir.Constant(numbers, ir.Undefined), limit, ir.Constant(ir.IntType(32), 0)
            )
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.kind.count), [0] * self.kind.count)
            limits = self.builder.shuffle_vector(first, ir.Constant(numbers, ir.Undefined), zeros)
            inside.append(self.builder.icmp_signed("<", ir.Constant(numbers, places), limits))
        return self.builder.and_(*inside)

    def choose(self, mask: Any, chosen: Vector, other: Vector) -> Vector:
        """Returns, lane by lane, ``chosen`` where the mask is set."""
        return Vector(self.builder, self.builder.select(mask, chosen.value, other.value))

    def reduce_rows(self, operation: str, vector: Vector) -> list[Any]:
        """Returns the sum (``fadd``) or the product (``fmul``) of each half of the lanes, in double precision."""
        value = vector.value
        doubles = ir.VectorType(ir.DoubleType(), self.kind.count)
        if value.type != doubles:
            value = self.builder.fpext(value, doubles)
        while value.type.count > 2:
            value = fold_halves(self.builder, value, value, 2, operation)
        return [self.builder.extract_element(value, ir.Constant(ir.IntType(32), row)) for row in range(2)]

    def tell_any_above(self, mask: Any, left: Vector, right: Vector) -> Any:
        """Returns 1.0 if a number of the mask's lanes is larger on the left, else 0.0."""
        above = self.builder.and_(mask, self.builder.fcmp_ordered(">", left.value, right.value))
        bits = ir.IntType(self.kind.count)
        return self.builder.uitofp(
            self.builder.icmp_unsigned("!=", self.builder.bitcast(above, bits), ir.Constant(bits, 0)), ir.DoubleType()
        )


def define_template(write: Callable[..., Any], width: int = WIDTH, results: int = 0) -> Any:
    """Makes a function for compiled code of a template, which gets a `Writer` and the arguments of the function.

    The first argument is a pointer to numbers of the dtype of the vectors. The function returns as many numbers in double
    precision as ``results``, a tuple.
    """
    returned = types.UniTuple(types.float64, results) if results else types.none

    def define(typing: Any, *arguments: Any) -> Any:
        def emit_code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            numbers = write(Writer(context, builder, arguments[0].dtype, width), *values)
            return context.make_tuple(builder, returned, numbers) if results else context.get_dummy_value()

        return returned(*arguments), emit_code

    # Numba asks for the names of the arguments: those of the template.
    define.__signature__ = inspect.signature(write)  # type: ignore[attr-defined]
    return intrinsic(define)


@make_intrinsic
def point_at(typing: Any, address: Any, number: Any) -> Any:
    """Returns a pointer to numbers of the type of ``number`` at an address; a null pointer if that is 0."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(number)(address, number), emit_code


@make_intrinsic
def choose(typing: Any, values: Any, at: Any) -> Any:
    """Returns the pointer moved on by ``at`` numbers, but a null pointer as it is: there is no such tensor."""

    def emit_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return Writer(context, builder, values.dtype).move_if_given(*arguments)

    return values(values, types.intp), emit_code


@define_template
def fill_rows(k: Writer, tile: Any, rows: Any, number: Any) -> None:
    """Fills rows of `WIDTH` numbers with a number."""
    vector = k.join(number)
    with k.loop(rows) as row:
        k.store(k.move(tile, (row.index, WIDTH)), vector)


@define_template
def clear(k: Writer, numbers: Any, count: Any, zero: Any) -> None:
    """Fills numbers with zeros."""
    with k.loop(count) as place:
        k.builder.store(zero, k.move(numbers, place.index))
