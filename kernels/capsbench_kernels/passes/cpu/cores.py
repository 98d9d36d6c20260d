"""The inner loops of the vote pass, written as LLVM code: everything that is done once a vote.

A loop works on two rows of votes and four columns of them: eight values of type `Lanes`, each of sixteen children. Loads are what
limits it. So a matrix is loaded once for both rows, a pose once for four columns, and what is summed over children stays in
registers. The Python code below runs once, when the loop is compiled: it writes the instructions of one step, unrolled over rows
and columns. Numba would spend more time on such code than LLVM does.

An absent tensor is a null pointer. Its instructions are in the loop, behind a branch that always goes the same way: there is one
version of each loop for all options, and an option that is absent costs no load and no multiplication.

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


class Passes(NamedTuple):
    """The argument ``passes`` of `spread_gradients`."""

    number: int
    values: int
    rows: int
    about_mean: int  # 1 if the centre is the mean in every pass, and steepness and second moments are given
    with_votes: int


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
        o = k.move_if_given(offset, (group.index, sizes.offset))
        yield _Group(u, w, o, group.index, k.multiply(group.index, WIDTH))


def _compute_votes(k: Writer, group: _Group, sizes: Sizes) -> list[Vector]:
    """Computes the votes V = u @ W + o in the order of `CELLS`."""
    votes = k.make_sums(BLOCK)
    with k.if_given(group.offset):
        for variable, (row, column) in zip(votes, CELLS, strict=True):
            k.write(variable, k.load(k.move(group.offset, (row, sizes.offset_row), column * WIDTH)))
    with k.loop(sizes.depth) as step:
        u = [k.load(k.move(group.poses, (row * WIDTH, sizes.depth), (step.index, WIDTH))) for row in range(ROWS)]
        w = [k.load(k.move(group.weights, (step.index, QUAD * WIDTH), column * WIDTH)) for column in range(QUAD)]
        for variable, (row, column) in zip(votes, CELLS, strict=True):
            k.write(variable, k.read(variable) + u[row] * w[column])
    return [k.read(variable) for variable in votes]


def _subtract(k: Writer, votes: list[Vector], centre: Any) -> list[Vector]:
    """Computes V - centre, or V if there is no centre."""
    differences = k.make_copies(votes)
    with k.if_given(centre):
        for cell, variable in enumerate(differences):
            k.write(variable, votes[cell] - k.spread(centre, cell))
    return [k.read(variable) for variable in differences]


def _add_quadratic(k: Writer, x: list[Vector], linear: Any, square: Any, target: Any, row: Any) -> None:
    """Adds ``sum_h x_h (linear_h + square_h x_h)`` to a row a problem; without linear or square, that part is 0."""
    slopes = k.make_sums(BLOCK)
    with k.if_given(square):
        for cell, variable in enumerate(slopes):
            k.write(variable, k.spread(square, cell) * x[cell])
    with k.if_given(linear):
        for cell, variable in enumerate(slopes):
            k.write(variable, k.read(variable) + k.spread(linear, cell))
    terms: list[list[Vector]] = [[] for _ in range(ROWS)]
    for cell, (r, _) in enumerate(CELLS):
        terms[r].append(x[cell] * k.read(slopes[cell]))
    for r, (total, *others) in enumerate(terms):
        for term in others:
            total = total + term
        k.add(k.move(target, (r, row)), total)


@define_template
def add_logits(
    k, poses, weights, offset, sizes, mean, direction, steepness, logits, row, centre, first, second, gains
):  # fmt: skip
    """Adds the part of these rows and columns to the logits, and, with the upstream g1, to the gains.

        logits      t (direction + steepness t)     with t = V - mean
        gains       D (g1 + g2 D)                   with D = V - centre

    The steepness is minus half the precision. <direction, V> = <direction, mean> + <direction, t>; the first is in the bias.
    """
    sizes = k.unpack(Sizes, sizes)
    with _each_group(k, poses, weights, offset, sizes) as group:
        votes = _compute_votes(k, group, sizes)
        t = _subtract(k, votes, mean)
        _add_quadratic(k, t, direction, steepness, k.move(logits, group.place), row)
        with k.if_given(first):
            # The centre is mostly the mean itself: its differences are at hand.
            d = k.make_copies(t)
            with k.if_different(centre, mean):
                for variable, difference in zip(d, _subtract(k, votes, centre), strict=True):
                    k.write(variable, difference)
            _add_quadratic(k, [k.read(variable) for variable in d], first, second, k.move(gains, group.place), row)


@define_template
def add_moments(k, poses, weights, offset, sizes, centre, shares, row, first, second):
    """Adds the sums over the children of w D and of w D^2, with D = V - centre and the shares w."""
    sizes = k.unpack(Sizes, sizes)
    sums, squares = k.make_sums(BLOCK), k.make_sums(BLOCK)
    with _each_group(k, poses, weights, offset, sizes) as group:
        d = _subtract(k, _compute_votes(k, group, sizes), centre)
        w = [k.load(k.move(shares, group.place, (r, row))) for r in range(ROWS)]
        parts = [w[r] * d[cell] for cell, (r, _) in enumerate(CELLS)]
        for cell, part in enumerate(parts):
            k.write(sums[cell], k.read(sums[cell]) + part)
        with k.if_given(second):
            for cell, part in enumerate(parts):
                k.write(squares[cell], k.read(squares[cell]) + part * d[cell])
    # The sixteen children of a lane are added up once a tile, not once a vote.
    k.add_lane_sums(first, [k.read(variable) for variable in sums])
    with k.if_given(second):
        k.add_lane_sums(second, [k.read(variable) for variable in squares])


@define_template
def spread_gradients(
    k, poses, weights, offset, sizes, passes, mean, direction, steepness, slopes, row, centre, first, second, shares,
    equal_shares, equal_row, equal_centre, equal_first, equal_second, gains, to_poses, to_weights, to_offset,
):  # fmt: skip
    """Adds what the gradients y of the votes send to poses, weights and offset, all passes of a routing at once.

        y = sum over the passes of w (g1 + 2 g2 D) + gl (direction + 2 steepness t)     with D = V - centre, t = V - mean
        gu = y W^T      gW = u^T y      go = y

    The slopes are the gradients gl of the logits. ``passes`` has their number and the distances from one to the next: of values
    of a parent, and of shares and slopes. The pass without a belief, in which each parent gets ``equal_shares``, has its own
    tensors; its gains, D (g1 + g2 D), are added to a row a problem. Votes are computed if anything needs them.
    """
    sizes, passes = k.unpack(Sizes, sizes), k.unpack(Passes, passes)
    with _each_group(k, poses, weights, offset, sizes) as group:
        y, kept_votes = k.make_sums(BLOCK), k.make_sums(BLOCK)
        with k.if_set(passes.with_votes):
            for variable, vote in zip(kept_votes, _compute_votes(k, group, sizes), strict=True):
                k.write(variable, vote)
        votes = [k.read(variable) for variable in kept_votes]
        with k.if_given(equal_shares):
            d = _subtract(k, votes, equal_centre)
            w = [k.load(k.move(equal_shares, group.place, (r, equal_row))) for r in range(ROWS)]
            inner = [k.spread(equal_first, cell) for cell in range(BLOCK)]
            slope = k.make_copies(inner)
            with k.if_given(equal_second):
                for cell in range(BLOCK):
                    part = k.spread(equal_second, cell) * d[cell]
                    k.write(slope[cell], inner[cell] + (part + part))
            for cell, (r, _) in enumerate(CELLS):
                k.write(y[cell], w[r] * k.read(slope[cell]))
            with k.if_given(gains):
                _add_quadratic(k, d, equal_first, equal_second, k.move(gains, group.place), equal_row)
        with k.loop(passes.number) as step:
            _add_pass(
                k, y, votes, passes,
                *(k.move_if_given(values, (step.index, passes.values)) for values in (mean, direction, steepness)),
                *(k.move_if_given(values, (step.index, passes.values)) for values in (centre, first, second)),
                *(
                    [k.load(k.move(rows, (step.index, passes.rows), group.place, (r, row))) for r in range(ROWS)]
                    for rows in (shares, slopes)
                ),
            )  # fmt: skip
        gradients = [k.read(variable) for variable in y]
        _add_vote_gradients(k, gradients, group, sizes, to_poses, to_weights)
        with k.if_given(to_offset):
            to_o = k.move(to_offset, (group.index, sizes.to_offset))
            for cell, (r, column) in enumerate(CELLS):
                k.add(k.move(to_o, (r, sizes.to_offset_row), column * WIDTH), gradients[cell])


def _add_pass(
    k: Writer, y: list[Any], votes: list[Vector], passes: Passes, mean: Any, direction: Any, steepness: Any, centre: Any,
    first: Any, second: Any, w: list[Vector], gl: list[Vector],
) -> None:  # fmt: skip
    """Adds the gradients that a pass sends to the votes."""

    def add(cell: int, part: Vector) -> None:
        k.write(y[cell], k.read(y[cell]) + part)

    t = _subtract(k, votes, mean)
    for cell, (r, _) in enumerate(CELLS):
        add(cell, w[r] * k.spread(first, cell))
    with k.if_given(direction):
        for cell, (r, _) in enumerate(CELLS):
            add(cell, gl[r] * k.spread(direction, cell))
    with k.if_else(passes.about_mean) as (about_mean, otherwise):
        with about_mean:  # D = t
            for cell, (r, _) in enumerate(CELLS):
                half = w[r] * k.spread(second, cell) + gl[r] * k.spread(steepness, cell)
                add(cell, t[cell] * (half + half))
        with otherwise:
            with k.if_given(second):
                d = _subtract(k, votes, centre)
                for cell, (r, _) in enumerate(CELLS):
                    add(cell, w[r] * (k.spread(second, cell) * (d[cell] + d[cell])))
            with k.if_given(steepness):
                for cell, (r, _) in enumerate(CELLS):
                    add(cell, gl[r] * (k.spread(steepness, cell) * (t[cell] + t[cell])))


def _add_vote_gradients(
    k: Writer, y: list[Vector], group: _Group, sizes: Sizes, to_poses: Any, to_weights: Any
) -> None:
    """Adds gu = y W^T and gW = u^T y of a group."""
    to_u, to_w = k.move(to_poses, (group.index, sizes.poses)), k.move_if_given(to_weights, (group.index, sizes.weights))
    with k.loop(sizes.depth) as step:
        w = [k.load(k.move(group.weights, (step.index, QUAD * WIDTH), column * WIDTH)) for column in range(QUAD)]
        places = [((r * WIDTH, sizes.depth), (step.index, WIDTH)) for r in range(ROWS)]
        for r, place in enumerate(places):
            total = k.load(k.move(to_u, *place))
            for column in range(QUAD):
                total = total + y[r * QUAD + column] * w[column]
            k.store(k.move(to_u, *place), total)
        with k.if_given(to_w):
            u = [k.load(k.move(group.poses, *place)) for place in places]
            for column in range(QUAD):
                gradient = k.move(to_w, (step.index, QUAD * WIDTH), column * WIDTH)
                total = k.load(gradient)
                for r in range(ROWS):
                    total = total + u[r] * y[r * QUAD + column]
                k.store(gradient, total)
