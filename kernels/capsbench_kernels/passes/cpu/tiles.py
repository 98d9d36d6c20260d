"""Tiles of children, which the kernels of `passes.py` work on: their layout, and the copies into and out of them.

A tile is up to TILE children. They are last in every scratch array, so one `Lanes` holds the same number of 16 children.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import njit

from capsbench_kernels.passes.cpu.lanes import WIDTH, fill, gather, get, is_given, load, put, scatter, store

TILE = 96
"""Largest number of children in a tile: their matrices fit the second-level cache, and a sum over them is worth its set-up.

It is no power of 2, or the rows of a scratch array would compete for the same places in the first-level cache."""

BLOCK = 4
"""Problems worked on together, so that a matrix is read once for all of them."""

QUAD = 4
"""Columns of a vote worked on together, so that a pose is read once for all of them."""

# LLVM inlines these functions, so a pointer and a `Lanes` stay in registers across the call.
inlined = njit(nogil=True, error_model="numpy", forceinline=True)


class Shape(NamedTuple):
    """The sizes of a vote pass; ``quads`` are E / 4, rounded up."""

    problems: int
    children: int
    parents: int
    rows: int
    depth: int
    columns: int
    quads: int


class Scratch(NamedTuple):
    """Places of the tiles in an item's scratch memory, counted in numbers; ``size`` is the length of that memory.

    Children are last: poses ``[BLOCK, R, D]``, weights ``[J, E/4, D, 4]``, offset ``[BLOCK, R, E/4, 4]``, logits and shares
    ``[BLOCK, J]``, then some single rows. Columns beyond E are zero.
    """

    poses: int
    weights: int
    offset: int
    logits: int
    shares: int
    rows: int
    to_poses: int
    to_weights: int
    to_offset: int
    size: int

    @classmethod
    def lay_out(cls, shape: Shape, *, offset: bool, backward: bool) -> Scratch:
        """Returns the places for a forward or a backward pass, with or without an offset."""
        poses = BLOCK * shape.rows * shape.depth
        weights = shape.parents * shape.quads * shape.depth * QUAD
        offsets = BLOCK * shape.rows * shape.quads * QUAD * offset
        shares = BLOCK * shape.parents
        lengths = [poses, weights, offsets, shares, shares, 4, *(backward * n for n in (poses, weights, offsets))]
        starts = [sum(lengths[:n]) * TILE for n in range(len(lengths) + 1)]
        return cls(*starts)


@inlined
def read_row(source, at, stride, count, tile, row, zero):
    """Copies ``count`` numbers, ``stride`` apart, to a row of a tile; fills the last `Lanes` in use up with zeros."""
    whole = count // WIDTH * WIDTH
    for lane in range(0, whole, WIDTH):
        store(tile, row + lane, gather(source, at + lane * stride, stride))
    if whole < count:
        store(tile, row + whole, fill(zero))
        for lane in range(whole, count):
            put(tile, row + lane, get(source, at + lane * stride))


@inlined
def write_row(tile, row, target, at, stride, count):
    """Copies a row of a tile to where `read_row` reads one."""
    whole = count // WIDTH * WIDTH
    for lane in range(0, whole, WIDTH):
        scatter(target, at + lane * stride, stride, load(tile, row + lane))
    for lane in range(whole, count):
        put(target, at + lane * stride, get(tile, row + lane))


@inlined
def fill_rows(tile, row, rows, number):
    """Fills ``rows`` rows of a tile from ``row`` on with a number."""
    for lane in range(row, row + rows * TILE, WIDTH):
        store(tile, lane, fill(number))


@inlined
def read_weights(weights, shape, child, count, tile, zero):
    """Copies W ``[I, J, D, E]`` of ``count`` children to a tile, see `Scratch`."""
    parents, depth, columns, quads = shape.parents, shape.depth, shape.columns, shape.quads
    stride = parents * depth * columns
    fill_rows(tile, 0, parents * quads * depth * QUAD, zero)
    for group in range(
        0, count, WIDTH
    ):  # 16 children at a time: their matrices stay in the first-level cache meanwhile
        for j in range(parents):
            for d in range(depth):
                for e in range(columns):
                    row = (((j * quads + e // QUAD) * depth + d) * QUAD + e % QUAD) * TILE + group
                    at = (child + group) * stride + (j * depth + d) * columns + e
                    read_row(weights, at, stride, min(WIDTH, count - group), tile, row, zero)


@inlined
def write_weights(tile, weights, shape, child, count):
    """Copies a tile, laid out as by `read_weights`, to ``[I, J, D, E]``."""
    parents, depth, columns, quads = shape.parents, shape.depth, shape.columns, shape.quads
    stride = parents * depth * columns
    for group in range(0, count, WIDTH):
        for j in range(parents):
            for d in range(depth):
                for e in range(columns):
                    row = (((j * quads + e // QUAD) * depth + d) * QUAD + e % QUAD) * TILE + group
                    at = (child + group) * stride + (j * depth + d) * columns + e
                    write_row(tile, row, weights, at, stride, min(WIDTH, count - group))


@inlined
def read_children(source, shape, columns, n, child, count, tile, start, padded, zero):
    """Copies ``[N, I, R, columns]`` of one problem to ``[R, padded, TILE]`` from ``start``."""
    for r in range(shape.rows):
        for c in range(columns):
            at = ((n * shape.children + child) * shape.rows + r) * columns + c
            read_row(source, at, shape.rows * columns, count, tile, start + (r * padded + c) * TILE, zero)
        fill_rows(tile, start + (r * padded + columns) * TILE, padded - columns, zero)


@inlined
def read_problem(poses, offset, offset_shared, shape, n, child, count, b, u, o, zero):
    """Copies the poses and the offset of problem n, the b-th of a block, to their tiles ``u`` and ``o``."""
    read_children(poses, shape, shape.depth, n, child, count, u, b * shape.rows * shape.depth * TILE, shape.depth, zero)
    if is_given(offset):
        padded = shape.quads * QUAD
        at = 0 if offset_shared else n
        read_children(offset, shape, shape.columns, at, child, count, o, b * shape.rows * padded * TILE, padded, zero)


@inlined
def write_children(tile, start, padded, target, shape, columns, n, child, count):
    """Copies ``[R, padded, TILE]`` from ``start`` to ``[N, I, R, columns]`` of one problem."""
    for r in range(shape.rows):
        for c in range(columns):
            at = ((n * shape.children + child) * shape.rows + r) * columns + c
            write_row(tile, start + (r * padded + c) * TILE, target, at, shape.rows * columns, count)


@inlined
def read_numbers(source, at, count, row, absent, beyond):
    """Copies ``count`` numbers of ``[N, I]`` to a row: ``absent`` if there is no tensor, ``beyond`` where there is no child."""
    for lane in range(count):
        put(row, lane, get(source, at + lane) if is_given(source) else absent)
    for lane in range(count, TILE):
        put(row, lane, beyond)


@inlined
def place_weights(shape, j, q):
    """Returns the place in their tile of the weights of parent j and columns 4q to 4q + 3: ``[D, 4, TILE]``."""
    return (j * shape.quads + q) * shape.depth * QUAD * TILE


@inlined
def place_row(shape, b, r, q):
    """Returns the places in their tiles of row r of problem b: its poses ``[D, TILE]``, its offset ``[4, TILE]`` of quad q."""
    return (b * shape.rows + r) * shape.depth * TILE, ((b * shape.rows + r) * shape.quads + q) * QUAD * TILE


@inlined
def place_value(shape, n, j, r, q):
    """Returns the place, in an array ``[N, J, R, padded E]``, of the four values of quad q."""
    return (((n * shape.parents + j) * shape.rows + r) * shape.quads + q) * QUAD
