"""The inner loops of the vote pass, written as LLVM code: everything that is done once a vote.

A loop works on two rows of votes and four columns of them: eight values of type `Lanes`, each of sixteen children. Loads are what
limits it. So a matrix is loaded once for both rows, a pose once for four columns, and what is summed over children stays in
registers. The Python code below runs once, when the loop is compiled: it writes the instructions of one step, unrolled over rows
and columns. Numba would spend more time on such code than LLVM does.

An absent tensor is a few zeros that are read again and again, so there is one version of each loop for all options.

Arguments: ``poses`` ``[ROWS, D, WIDTH]``, ``weights`` ``[D, QUAD, WIDTH]`` and ``offset`` ``[ROWS, QUAD, WIDTH]`` of the first
group of sixteen children, and ``sizes``: the number of groups, D, the distances from a group to the next of poses, weights and
offset, and that from a row of the offset to the next, then these two of the offset's gradient. A belief and a sum are a `BLOCK`
of numbers ``[ROWS, QUAD]``. Rows of one number a child, ``logits`` and ``shares``, are ``[groups, WIDTH]``; ``row`` is the
distance between those of the two rows of votes, 0 if both are rows of one vote.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from capsbench_kernels.passes.cpu.emit import Vector, Writer, define_template
from capsbench_kernels.passes.cpu.lanes import WIDTH

ROWS, QUAD = 2, 4
"""Rows and columns of the votes that are worked on together."""

BLOCK = ROWS * QUAD
"""Values of a parent that are worked on together, neighbours in memory."""

CELLS = [(row, column) for row in range(ROWS) for column in range(QUAD)]


class Sizes(NamedTuple):
    """The argument ``sizes`` of the loops."""

    groups: int
    depth: int
    poses: int
    weights: int
    offset: int
    offset_row: int
    to_offset: int
    to_offset_row: int


class _Group(NamedTuple):
    """The tiles of one group of sixteen children, and its place in rows of one number a child."""

    poses: Any
    weights: Any
    offset: Any
    index: Any
    place: Any


@contextmanager
def _each_group(k: Writer, poses: Any, weights: Any, offset: Any, sizes: Sizes) -> Iterator[_Group]:
    with k.loop(sizes.groups) as group:
        u, w = k.move(poses, (group.index, sizes.poses)), k.move(weights, (group.index, sizes.weights))
        o = k.move(offset, (group.index, sizes.offset))
        yield _Group(u, w, o, group.index, k.multiply(group.index, WIDTH))


def _compute_votes(k: Writer, group: _Group, sizes: Sizes) -> list[Vector]:
    """Computes the votes V = u @ W + o in the order of `CELLS`."""
    votes = k.make_variables(len(CELLS))
    for variable, (row, column) in zip(votes, CELLS, strict=True):
        k.write(variable, k.load(k.move(group.offset, (row, sizes.offset_row), column * WIDTH)))
    with k.loop(sizes.depth) as step:
        u = [k.load(k.move(group.poses, (row * WIDTH, sizes.depth), (step.index, WIDTH))) for row in range(ROWS)]
        w = [k.load(k.move(group.weights, (step.index, QUAD * WIDTH), column * WIDTH)) for column in range(QUAD)]
        for variable, (row, column) in zip(votes, CELLS, strict=True):
            k.write(variable, k.read(variable) + u[row] * w[column])
    return [k.read(variable) for variable in votes]


def _add_quadratic(
    k: Writer, votes: list[Vector], centre: Any, linear: Any, square: Any, target: Any, row: Any
) -> None:
    """Adds ``sum_h x_h (linear_h + square_h x_h)`` with x = V - centre to a row a problem."""
    terms: list[list[Vector]] = [[] for _ in range(ROWS)]
    for cell, (r, _) in enumerate(CELLS):
        x = votes[cell] - k.spread(centre, cell)
        terms[r].append(x * (k.spread(linear, cell) + k.spread(square, cell) * x))
    for r, (total, *others) in enumerate(terms):
        for term in others:
            total = total + term
        k.add(k.move(target, (r, row)), total)


@define_template
def add_logits(k, poses, weights, offset, sizes, mean, direction, steepness, logits, row):
    """Adds the part of these rows and columns to the logits: t (direction + steepness t), t = V - mean.

    The steepness is minus half the precision. As <direction, V> = <direction, mean> + <direction, t>, the caller has added the
    first.
    """
    sizes = k.unpack(Sizes, sizes)
    with _each_group(k, poses, weights, offset, sizes) as group:
        votes = _compute_votes(k, group, sizes)
        _add_quadratic(k, votes, mean, direction, steepness, k.move(logits, group.place), row)


@define_template
def add_logits_and_gains(
    k, poses, weights, offset, sizes, mean, direction, steepness, logits, row, centre, first, second, gains
):
    """Adds to the logits as `add_logits` does, and to the gains: D (g1 + g2 D) with D = V - centre and the upstream g1, g2."""
    sizes = k.unpack(Sizes, sizes)
    with _each_group(k, poses, weights, offset, sizes) as group:
        votes = _compute_votes(k, group, sizes)
        _add_quadratic(k, votes, mean, direction, steepness, k.move(logits, group.place), row)
        _add_quadratic(k, votes, centre, first, second, k.move(gains, group.place), row)


@define_template
def add_moments(k, poses, weights, offset, sizes, centre, shares, row, first, second):
    """Adds the sums over the children of w D and of w D^2, with D = V - centre and the shares w."""
    sizes = k.unpack(Sizes, sizes)
    sums, squares = k.make_sums(BLOCK), k.make_sums(BLOCK)
    with _each_group(k, poses, weights, offset, sizes) as group:
        votes = _compute_votes(k, group, sizes)
        w = [k.load(k.move(shares, group.place, (r, row))) for r in range(ROWS)]
        for cell, (r, _) in enumerate(CELLS):
            d = votes[cell] - k.spread(centre, cell)
            part = w[r] * d
            k.write(sums[cell], k.read(sums[cell]) + part)
            k.write(squares[cell], k.read(squares[cell]) + part * d)
    # The sixteen children of a lane are added up once a tile, not once a vote.
    k.add_lane_sums(first, [k.read(variable) for variable in sums])
    k.add_lane_sums(second, [k.read(variable) for variable in squares])


@define_template
def spread_gradients(
    k, poses, weights, offset, sizes, mean, direction, steepness, slopes, row, centre, first, second, shares,
    to_poses, to_weights, to_offset, to_first, to_second,
):  # fmt: skip
    """Adds what the gradients y of the votes send to poses, weights and offset, and the moments of the slopes about the mean.

        y = w (g1 + 2 g2 D) + gl (direction + 2 steepness t)        with D = V - centre, t = V - mean
        gu = y W^T      gW = u^T y      go = y      sum_i gl t      sum_i gl t^2

    The slopes are the gradients gl of the logits. ``to_offset`` is null where no gradient of the offset is wanted.
    """
    sizes = k.unpack(Sizes, sizes)
    sums, squares = k.make_sums(BLOCK), k.make_sums(BLOCK)
    with _each_group(k, poses, weights, offset, sizes) as group:
        votes = _compute_votes(k, group, sizes)
        w, gl = ([k.load(k.move(rows, group.place, (r, row))) for r in range(ROWS)] for rows in (shares, slopes))
        y = []
        for cell, (r, _) in enumerate(CELLS):
            d, t = votes[cell] - k.spread(centre, cell), votes[cell] - k.spread(mean, cell)
            part = gl[r] * t
            k.write(sums[cell], k.read(sums[cell]) + part)
            k.write(squares[cell], k.read(squares[cell]) + part * t)
            through_moments = w[r] * (k.spread(first, cell) + k.spread(second, cell) * (d + d))
            y.append(through_moments + gl[r] * k.spread(direction, cell) + k.spread(steepness, cell) * (part + part))
        _add_vote_gradients(k, y, group, sizes, to_poses, to_weights)
        with k.if_given(to_offset):
            to_o = k.move(to_offset, (group.index, sizes.to_offset))
            for cell, (r, column) in enumerate(CELLS):
                k.add(k.move(to_o, (r, sizes.to_offset_row), column * WIDTH), y[cell])
    k.add_lane_sums(to_first, [k.read(variable) for variable in sums])
    k.add_lane_sums(to_second, [k.read(variable) for variable in squares])


def _add_vote_gradients(
    k: Writer, y: list[Vector], group: _Group, sizes: Sizes, to_poses: Any, to_weights: Any
) -> None:
    """Adds gu = y W^T and gW = u^T y of a group."""
    to_u, to_w = k.move(to_poses, (group.index, sizes.poses)), k.move(to_weights, (group.index, sizes.weights))
    with k.loop(sizes.depth) as step:
        u, w, gradient_of_w = [], [], []
        for column in range(QUAD):
            w.append(k.load(k.move(group.weights, (step.index, QUAD * WIDTH), column * WIDTH)))
            gradient_of_w.append(k.move(to_w, (step.index, QUAD * WIDTH), column * WIDTH))
        for r in range(ROWS):
            u.append(k.load(k.move(group.poses, (r * WIDTH, sizes.depth), (step.index, WIDTH))))
            total = y[r * QUAD] * w[0]
            for column in range(1, QUAD):
                total = total + y[r * QUAD + column] * w[column]
            k.add(k.move(to_u, (r * WIDTH, sizes.depth), (step.index, WIDTH)), total)
        for column in range(QUAD):
            total = u[0] * y[column]
            for r in range(1, ROWS):
                total = total + u[r] * y[r * QUAD + column]
            k.add(gradient_of_w[column], total)
