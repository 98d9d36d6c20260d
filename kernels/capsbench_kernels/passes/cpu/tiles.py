"""What the kernels of `passes.py` work on: tiles of children, and the copies into and out of them.

A tile is up to TILE children, last in every scratch array, so that one `Lanes` is the same number of 16 of them.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import njit

from capsbench_kernels.passes.cpu.lanes import WIDTH, exp, fill, gather, get, given, load, maximum, put, scatter, store

TILE = 96
"""Children of a tile at most: their matrices fit the second-level cache, and a sum over them is worth its set-up. No power of
2, else the rows of a scratch array would compete for the same places in the first-level cache."""

BLOCK = 4
"""Problems worked on together, so that a matrix is read once for all of them."""

QUAD = 4
"""Columns of a vote worked on together, so that a pose is read once for all of them."""

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
    """Where in an item's scratch memory what lies, in numbers; ``size`` in all.

    Children last: poses ``[BLOCK, R, D]``, weights ``[J, E/4, D, 4]``, offset ``[BLOCK, R, E/4, 4]``, logits and shares
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
    def of(cls, shape: Shape, *, offset: bool, backward: bool) -> Scratch:
        poses = BLOCK * shape.rows * shape.depth
        weights = shape.parents * shape.quads * shape.depth * QUAD
        offsets = BLOCK * shape.rows * shape.quads * QUAD * offset
        shares = BLOCK * shape.parents
        lengths = [poses, weights, offsets, shares, shares, 4, *(backward * n for n in (poses, weights, offsets))]
        starts = [sum(lengths[:n]) * TILE for n in range(len(lengths) + 1)]
        return cls(*starts)


@inlined
def read_row(source, at, stride, count, tile, row, zero):
    """``count`` numbers, ``stride`` apart, to a row of a tile; the last `Lanes` in use is filled up with zeros."""
    whole = count // WIDTH * WIDTH
    for lane in range(0, whole, WIDTH):
        store(tile, row + lane, gather(source, at + lane * stride, stride))
    if whole < count:
        store(tile, row + whole, fill(zero))
        for lane in range(whole, count):
            put(tile, row + lane, get(source, at + lane * stride))


@inlined
def write_row(tile, row, target, at, stride, count):
    """A row of a tile to where `read_row` reads one."""
    whole = count // WIDTH * WIDTH
    for lane in range(0, whole, WIDTH):
        scatter(target, at + lane * stride, stride, load(tile, row + lane))
    for lane in range(whole, count):
        put(target, at + lane * stride, get(tile, row + lane))


@inlined
def fill_rows(tile, row, rows, number):
    for lane in range(row, row + rows * TILE, WIDTH):
        store(tile, lane, fill(number))


@inlined
def read_weights(weights, shape, child, count, tile, zero):
    """W ``[I, J, D, E]`` of ``count`` children to a tile, see `Scratch`."""
    parents, depth, columns, quads = shape.parents, shape.depth, shape.columns, shape.quads
    stride = parents * depth * columns
    fill_rows(tile, 0, parents * quads * depth * QUAD, zero)
    for some in range(0, count, WIDTH):  # 16 children at a time: their matrices stay in the first-level cache meanwhile
        for j in range(parents):
            for d in range(depth):
                for e in range(columns):
                    row = (((j * quads + e // QUAD) * depth + d) * QUAD + e % QUAD) * TILE + some
                    at = (child + some) * stride + (j * depth + d) * columns + e
                    read_row(weights, at, stride, min(WIDTH, count - some), tile, row, zero)


@inlined
def write_weights(tile, weights, shape, child, count):
    """A tile as `read_weights` lays it out to ``[I, J, D, E]``."""
    parents, depth, columns, quads = shape.parents, shape.depth, shape.columns, shape.quads
    stride = parents * depth * columns
    for some in range(0, count, WIDTH):
        for j in range(parents):
            for d in range(depth):
                for e in range(columns):
                    row = (((j * quads + e // QUAD) * depth + d) * QUAD + e % QUAD) * TILE + some
                    at = (child + some) * stride + (j * depth + d) * columns + e
                    write_row(tile, row, weights, at, stride, min(WIDTH, count - some))


@inlined
def read_children(source, shape, columns, n, child, count, tile, start, padded, zero):
    """``[N, I, R, columns]`` of one problem to ``[R, padded, TILE]`` from ``start``."""
    for r in range(shape.rows):
        for c in range(columns):
            at = ((n * shape.children + child) * shape.rows + r) * columns + c
            read_row(source, at, shape.rows * columns, count, tile, start + (r * padded + c) * TILE, zero)
        fill_rows(tile, start + (r * padded + columns) * TILE, padded - columns, zero)


@inlined
def read_problem(poses, offset, offset_shared, bias, direction, mean, shape, n, child, count, b, u, o, logits, zero):
    """What problem n, the b-th of a block, starts from: its poses, its offset, and its logits as `constant_logits` has them."""
    read_children(poses, shape, shape.depth, n, child, count, u, b * shape.rows * shape.depth * TILE, shape.depth, zero)
    if given(offset):
        padded = shape.quads * QUAD
        at = 0 if offset_shared else n
        read_children(offset, shape, shape.columns, at, child, count, o, b * shape.rows * padded * TILE, padded, zero)
    constant_logits(bias, direction, mean, shape, n, logits, b * shape.parents * TILE, zero)


@inlined
def write_children(tile, start, padded, target, shape, columns, n, child, count):
    """``[R, padded, TILE]`` from ``start`` to ``[N, I, R, columns]`` of one problem."""
    for r in range(shape.rows):
        for c in range(columns):
            at = ((n * shape.children + child) * shape.rows + r) * columns + c
            write_row(tile, start + (r * padded + c) * TILE, target, at, shape.rows * columns, count)


@inlined
def read_numbers(source, at, count, row, absent, beyond):
    """``count`` numbers of ``[N, I]`` to a row: ``absent`` if there is no such tensor, ``beyond`` where there is no child."""
    for lane in range(count):
        put(row, lane, get(source, at + lane) if given(source) else absent)
    for lane in range(count, TILE):
        put(row, lane, beyond)


@inlined
def share_out(logits, logit, parents, lane, top_row, sum_row, normalised, scale, zero):
    """Turns the logits of 16 children into shares times ``scale``: by the softmax over the parents, whose largest logit and sum
    go into two rows, or, if the logs of the sums are given in ``top_row``, by those.
    """
    if normalised:
        top = load(top_row, lane)
    else:
        top = load(logits, logit + lane)
        for j in range(1, parents):
            top = maximum(top, load(logits, logit + j * TILE + lane))
    powers = fill(zero)
    for j in range(parents):
        row = logit + j * TILE + lane
        power = exp(load(logits, row) - top)
        powers = powers + power
        store(logits, row, power)
    if not normalised:
        scale = scale / powers
        store(top_row, lane, top)
        store(sum_row, lane, powers)
    for j in range(parents):
        row = logit + j * TILE + lane
        store(logits, row, load(logits, row) * scale)


@inlined
def four(values, at, zero):
    """Four numbers of a parent, each in every lane; zeros if there is no such tensor."""
    if given(values):
        return fill(get(values, at)), fill(get(values, at + 1)), fill(get(values, at + 2)), fill(get(values, at + 3))
    return fill(zero), fill(zero), fill(zero), fill(zero)


@inlined
def four_votes(poses, pose, weights, weight, offset, shift, depth, zero):
    """Four columns of one row of the votes of 16 children: V = u @ W (+ o)."""
    if given(offset):
        v0, v1 = load(offset, shift), load(offset, shift + TILE)
        v2, v3 = load(offset, shift + 2 * TILE), load(offset, shift + 3 * TILE)
    else:
        v0, v1, v2, v3 = fill(zero), fill(zero), fill(zero), fill(zero)
    for d in range(depth):
        u = load(poses, pose + d * TILE)
        w = weight + d * QUAD * TILE
        v0 = v0 + u * load(weights, w)
        v1 = v1 + u * load(weights, w + TILE)
        v2 = v2 + u * load(weights, w + 2 * TILE)
        v3 = v3 + u * load(weights, w + 3 * TILE)
    return v0, v1, v2, v3


@inlined
def constant_logits(bias, direction, mean, shape, n, logits, start, zero):
    """Fills the logits of problem n with what they are before its votes are looked at: bias_j + <direction_j, m_j>."""
    values = shape.rows * shape.quads * QUAD
    for j in range(shape.parents):
        logit = get(bias, n * shape.parents + j) if given(bias) else zero
        if given(direction) and given(mean):
            for h in range((n * shape.parents + j) * values, (n * shape.parents + j + 1) * values):
                logit += get(direction, h) * get(mean, h)
        fill_rows(logits, start + j * TILE, 1, logit)
