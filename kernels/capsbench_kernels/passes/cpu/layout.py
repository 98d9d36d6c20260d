"""The memory layout of the CPU kernels, and the copies into and out of it.

Children are last: a group is `WIDTH` children, and a value of type `Lanes` holds the same number of each. Two rows of votes
form a pair. A unit is what one problem adds to the rows: a problem with R/2 pairs, or, where R = 1, two problems with one pair.
R, E, N and I are filled up with zeros.

    poses, offset    [groups, units, pairs * ROWS, D or E, WIDTH]
    weights          [groups, J, E/4, D, QUAD, WIDTH]
    a parent's values, such as its mean      [units, J, pairs, E/4, ROWS, QUAD]
    a parent's number, such as its mass      [problems, J]
"""

from __future__ import annotations

import math
from typing import NamedTuple

from capsbench_kernels.passes.cpu.caching import compile_kernel
from capsbench_kernels.passes.cpu.cores import BLOCK, QUAD, ROWS
from capsbench_kernels.passes.cpu.emit import point_at
from capsbench_kernels.passes.cpu.inlining import inlined
from capsbench_kernels.passes.cpu.lanes import (
    WIDTH,
    advance_pointer,
    favour_small_code,
    fill,
    gather,
    get,
    load,
    minimum,
    put,
    scatter,
    store,
)


class Layer(NamedTuple):
    """The sizes of a layer of capsules and of its tiles."""

    problems: int
    children: int
    parents: int
    rows: int
    depth: int
    columns: int
    groups: int
    units: int
    unit_problems: int
    pairs: int
    quads: int

    @classmethod
    def of_sizes(cls, problems: int, children: int, parents: int, rows: int, depth: int, columns: int) -> Layer:
        """Returns the layer of N, I, J, R, D and E."""
        unit_problems = ROWS if rows == 1 else 1
        return cls(
            problems, children, parents, rows, depth, columns,
            groups=math.ceil(children / WIDTH), units=math.ceil(problems / unit_problems),
            unit_problems=unit_problems, pairs=math.ceil(rows / ROWS), quads=math.ceil(columns / QUAD),
        )  # fmt: skip

    @property
    def padded_problems(self) -> int:
        """N, filled up to whole units."""
        return self.units * self.unit_problems

    @property
    def has_padding(self) -> bool:
        """Whether some of a parent's values belong to no problem, row or column."""
        return self.parent_values > self.problems * self.parents * self.rows * self.columns

    @property
    def parent_values(self) -> int:
        """The numbers of all units of a parent's values."""
        return self.units * self.parents * self.pairs * self.quads * BLOCK


@inlined
def fill_rows(tile, rows, number):
    """Fills rows of a tile with a number."""
    for row in range(rows):
        store(tile, row * WIDTH, fill(number))


@compile_kernel
def read_children(layer, source, tile, columns, padded, zero, first_group, last_group, first_unit, last_unit):
    """Copies the numbers ``[N, I, R, columns]`` of groups and units to a tile of these with ``padded`` columns."""
    favour_small_code()
    numbers, rows, stride = point_at(source, zero), layer.pairs * ROWS, layer.rows * columns
    units = last_unit - first_unit
    for group in range(first_group, last_group):
        count = minimum(WIDTH, layer.children - group * WIDTH)
        for unit in range(first_unit, last_unit):
            start = ((group - first_group) * units + unit - first_unit) * rows
            for row in range(rows):
                n, r = (unit * ROWS + row, 0) if layer.unit_problems > 1 else (unit, row)
                at = (n * layer.children + group * WIDTH) * stride + r * columns
                for column in range(padded):
                    place = advance_pointer(point_at(tile, zero), ((start + row) * padded + column) * WIDTH)
                    if n >= layer.problems or r >= layer.rows or column >= columns:
                        store(place, 0, fill(zero))
                    elif count == WIDTH:
                        store(place, 0, gather(numbers, at + column, stride))
                    else:
                        store(place, 0, fill(zero))
                        for lane in range(count):
                            put(place, lane, get(numbers, at + column + lane * stride))


@compile_kernel
def write_children(layer, tile, target, columns, padded, zero, first_group, last_group, first_unit, last_unit):
    """Copies a tile to where `read_children` reads one."""
    favour_small_code()
    numbers, rows, stride = point_at(target, zero), layer.pairs * ROWS, layer.rows * columns
    units = last_unit - first_unit
    for group in range(first_group, last_group):
        count = minimum(WIDTH, layer.children - group * WIDTH)
        for unit in range(first_unit, last_unit):
            start = ((group - first_group) * units + unit - first_unit) * rows
            for row in range(rows):
                n, r = (unit * ROWS + row, 0) if layer.unit_problems > 1 else (unit, row)
                at = (n * layer.children + group * WIDTH) * stride + r * columns
                if n < layer.problems and r < layer.rows:
                    for column in range(columns):
                        place = advance_pointer(point_at(tile, zero), ((start + row) * padded + column) * WIDTH)
                        if count == WIDTH:
                            scatter(numbers, at + column, stride, load(place, 0))
                        else:
                            for lane in range(count):
                                put(numbers, at + column + lane * stride, get(place, lane))


@compile_kernel
def read_weights(layer, source, tile, zero, first_group, last_group):
    """Copies the matrices ``[I, J, D, E]`` of groups to a tile."""
    favour_small_code()
    numbers, stride = point_at(source, zero), layer.parents * layer.depth * layer.columns
    for group in range(first_group, last_group):
        count = minimum(WIDTH, layer.children - group * WIDTH)
        for matrix in range(layer.parents * layer.quads):
            j, q = matrix // layer.quads, matrix % layer.quads
            for d in range(layer.depth):
                for column in range(QUAD):
                    e = q * QUAD + column
                    row = ((group * layer.parents * layer.quads + matrix) * layer.depth + d) * QUAD + column
                    place = advance_pointer(point_at(tile, zero), row * WIDTH)
                    at = group * WIDTH * stride + (j * layer.depth + d) * layer.columns + e
                    if e < layer.columns and count == WIDTH:
                        store(place, 0, gather(numbers, at, stride))
                    else:
                        store(place, 0, fill(zero))
                        for lane in range(count if e < layer.columns else 0):
                            put(place, lane, get(numbers, at + lane * stride))


@compile_kernel
def write_weights(layer, tiles, parts, target, zero, first_group, last_group):
    """Writes the sum of ``parts`` tiles, one after the other in memory, to where `read_weights` reads one."""
    favour_small_code()
    numbers, stride = point_at(target, zero), layer.parents * layer.depth * layer.columns
    size = layer.groups * layer.parents * layer.quads * layer.depth * QUAD * WIDTH
    for group in range(first_group, last_group):
        count = minimum(WIDTH, layer.children - group * WIDTH)
        for matrix in range(layer.parents * layer.quads):
            j, q = matrix // layer.quads, matrix % layer.quads
            for d in range(layer.depth):
                for column in range(minimum(QUAD, layer.columns - q * QUAD)):
                    row = ((group * layer.parents * layer.quads + matrix) * layer.depth + d) * QUAD + column
                    place = advance_pointer(point_at(tiles, zero), row * WIDTH)
                    total = load(place, 0)
                    for part in range(1, parts):
                        total = total + load(place, part * size)
                    store(place, 0, total)
                    at = group * WIDTH * stride + (j * layer.depth + d) * layer.columns + q * QUAD + column
                    if count == WIDTH:
                        scatter(numbers, at, stride, total)
                    else:
                        for lane in range(count):
                            put(numbers, at + lane * stride, get(place, lane))
