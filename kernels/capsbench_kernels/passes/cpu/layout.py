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


@compile_kernel
def copy_children(layer, numbers, tile, columns, padded, back, zero, first_group, last_group, first_unit, last_unit):
    """Copies the numbers ``[N, I, R, columns]`` of groups and units to a tile of these with ``padded`` columns, or ``back``."""
    favour_small_code()
    source, rows, stride = point_at(numbers, zero), layer.pairs * ROWS, layer.rows * columns
    units = last_unit - first_unit
    for group in range(first_group, last_group):
        count = minimum(WIDTH, layer.children - group * WIDTH)
        for unit in range(first_unit, last_unit):
            start = ((group - first_group) * units + unit - first_unit) * rows
            for row in range(rows):
                n, r = (unit * ROWS + row, 0) if layer.unit_problems > 1 else (unit, row)
                first = (n * layer.children + group * WIDTH) * stride + r * columns
                for column in range(padded):
                    place = advance_pointer(point_at(tile, zero), ((start + row) * padded + column) * WIDTH)
                    at, present = first + column, count
                    if n >= layer.problems or r >= layer.rows or column >= columns:
                        present = 0
                    copy_lanes(source, at, stride, place, present, back, zero)


@inlined
def copy_lanes(source, at, stride, place, count, back, zero):
    """Copies ``count`` numbers, ``stride`` apart, to a vector that is filled up with zeros, or ``back``."""
    if back:
        if count == WIDTH:
            scatter(source, at, stride, load(place, 0))
        else:
            for lane in range(count):
                put(source, at + lane * stride, get(place, lane))
    elif count == WIDTH:
        store(place, 0, gather(source, at, stride))
    else:
        store(place, 0, fill(zero))
        for lane in range(count):
            put(place, lane, get(source, at + lane * stride))


@compile_kernel
def copy_weights(layer, numbers, tiles, parts, zero, first_group, last_group):
    """Copies the matrices ``[I, J, D, E]`` of groups to a tile; with ``parts``, copies the sum of so many tiles back."""
    favour_small_code()
    source, stride = point_at(numbers, zero), layer.parents * layer.depth * layer.columns
    size = layer.groups * layer.parents * layer.quads * layer.depth * QUAD * WIDTH
    for group in range(first_group, last_group):
        count = minimum(WIDTH, layer.children - group * WIDTH)
        for matrix in range(layer.parents * layer.quads):
            j, q = matrix // layer.quads, matrix % layer.quads
            for line in range(layer.depth * QUAD):
                d, e = line // QUAD, q * QUAD + line % QUAD
                row = (group * layer.parents * layer.quads + matrix) * layer.depth * QUAD + line
                place = advance_pointer(point_at(tiles, zero), row * WIDTH)
                for part in range(1, parts):
                    store(place, 0, load(place, 0) + load(place, part * size))
                at = group * WIDTH * stride + (j * layer.depth + d) * layer.columns + e
                copy_lanes(source, at, stride, place, count if e < layer.columns else 0, parts > 0, zero)
