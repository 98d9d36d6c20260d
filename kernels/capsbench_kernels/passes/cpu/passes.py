"""The two kernels of the CPU's vote pass. Each works on one item: some tiles of children of some problems.

Tiles in scratch memory, children last: poses ``u``, weights ``w``, offset ``o``. Rows of one number a child: activations ``a``,
log-normalisers ``z``. Suffixes 0 to 3 are the four columns in hand: votes ``v``, means ``m``, directions ``g``, precisions
``p``, centres ``c``, distances ``t = v - m`` and ``d = v - c``, upstream gradients of the moments ``f`` and ``s``. Names with
``to_`` are gradients. Formulas are in `capsbench_kernels.passes.autograd`.

Each kernel goes over the votes several times, and computes them anew each time: a vote costs D multiplications, less than
writing it to memory and reading it back.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from capsbench_kernels.passes.cpu.caching import compile_kernel
from capsbench_kernels.passes.cpu.lanes import (
    WIDTH,
    add_lane_sums,
    advance_pointer,
    fill,
    get,
    is_given,
    load,
    point_to,
    put,
    store,
)
from capsbench_kernels.passes.cpu.steps import (
    add_four,
    add_lanes,
    add_logits,
    add_row_sum,
    add_vote_gradients,
    compute_votes,
    fill_four,
    fill_logits,
    softmax_shares,
)
from capsbench_kernels.passes.cpu.tiles import (
    BLOCK,
    QUAD,
    TILE,
    fill_rows,
    inlined,
    place_row,
    place_value,
    place_weights,
    read_numbers,
    read_problem,
    read_weights,
    write_children,
    write_weights,
)

Array = NDArray[Any]


class Inputs(NamedTuple):
    """The inputs of a pass, of one dtype, contiguous; an absent one has size 0."""

    poses: Array  # [N, I, R, D]
    weights: Array  # [I, J, D, E]
    activations: Array  # [N, I]
    offset: Array  # [N or 1, I, R, E]
    bias: Array  # [N, J]
    direction: Array  # [N, J, R, E filled up with zeros to a multiple of 4], as the next three
    mean: Array
    precision: Array
    centre: Array
    log_normaliser: Array  # [N, I], the given one


class Sums(NamedTuple):
    """The arrays that the forward kernel fills, and, laid out likewise, the upstream gradients of them."""

    mass: Array
    first: Array
    second: Array
    log_normaliser: Array


class Gradients(NamedTuple):
    """The arrays that the backward kernel fills, named and laid out as in `Inputs`; of size 0 where not wanted."""

    poses: Array
    weights: Array
    activations: Array
    offset: Array
    bias: Array
    direction: Array
    mean: Array
    precision: Array
    log_normaliser: Array


@inlined
def point_to_inputs(inputs):
    """Returns pointers to the arrays of `Inputs`, in their order."""
    poses, weights, offset = point_to(inputs.poses), point_to(inputs.weights), point_to(inputs.offset)
    activations, normaliser = point_to(inputs.activations), point_to(inputs.log_normaliser)
    bias, direction, centre = point_to(inputs.bias), point_to(inputs.direction), point_to(inputs.centre)
    mean, precision = point_to(inputs.mean), point_to(inputs.precision)
    return poses, weights, activations, offset, bias, direction, mean, precision, centre, normaliser


@compile_kernel
def forward_item(inputs, sums, shape, layout, scratch, first_child, last_child, step, first_problem, last_problem):
    """Adds the item's children, ``step`` a tile, to mass, first and second; writes its part of log_normaliser."""
    zero, one, infinity = scratch.dtype.type(0), scratch.dtype.type(1), scratch.dtype.type(np.inf)
    half = fill(scratch.dtype.type(0.5))
    (
        poses, weights, activations, offset, bias, direction, mean, precision, centre, normaliser
    ) = point_to_inputs(inputs)  # fmt: skip
    mass, first, second = point_to(sums.mass), point_to(sums.first), point_to(sums.second)
    log_normaliser = point_to(sums.log_normaliser)
    parents, rows, depth, quads = shape.parents, shape.rows, shape.depth, shape.quads
    offset_shared = inputs.offset.shape[0] == 1
    start = point_to(scratch)
    u, w = advance_pointer(start, layout.poses), advance_pointer(start, layout.weights)
    o = advance_pointer(start, layout.offset) if is_given(offset) else offset
    logits = advance_pointer(start, layout.logits)  # later the shares a_i r_ij
    a = advance_pointer(start, layout.rows)
    z = advance_pointer(start, layout.rows + TILE)  # the given log-normalisers, or the largest logits
    powers = advance_pointer(
        start, layout.rows + 2 * TILE
    )  # the softmax's denominators, relative to the largest logits

    for child in range(first_child, last_child, step):
        count = min(step, last_child - child)
        read_weights(weights, shape, child, count, w, zero)
        for block in range(first_problem, last_problem, BLOCK):
            problems = min(BLOCK, last_problem - block)
            for b in range(problems):
                n = block + b
                read_problem(poses, offset, offset_shared, shape, n, child, count, b, u, o, zero)
                fill_logits(bias, direction, mean, shape, n, logits, b * parents * TILE, zero)

            # Logits. A matrix is used for all rows of all problems of the block while it is in the first-level cache.
            for j in range(parents if is_given(direction) or is_given(mean) else 0):
                for q in range(quads):
                    weight = place_weights(shape, j, q)
                    for b in range(problems):
                        logit = (b * parents + j) * TILE
                        for r in range(rows):
                            at = place_value(shape, block + b, j, r, q)
                            m0, m1, m2, m3 = fill_four(mean, at, zero)
                            g0, g1, g2, g3 = fill_four(direction, at, zero)
                            p0, p1, p2, p3 = fill_four(precision, at, zero)
                            p0, p1, p2, p3 = p0 * half, p1 * half, p2 * half, p3 * half
                            pose, shift = place_row(shape, b, r, q)
                            for lane in range(0, count, WIDTH):
                                v0, v1, v2, v3 = compute_votes(
                                    u, pose + lane, w, weight + lane, o, shift + lane, depth, zero
                                )
                                t0, t1, t2, t3 = v0 - m0, v1 - m1, v2 - m2, v3 - m3
                                add_logits(logits, logit + lane, t0, t1, t2, t3, g0, g1, g2, g3, p0, p1, p2, p3)

            # Shares w_ij = a_i r_ij: the softmax over the parents, times the activation. Their sums over the children are S0.
            for b in range(problems):
                n, logit = block + b, b * parents * TILE
                at = n * shape.children + child
                read_numbers(activations, at, count, a, one, zero)
                if is_given(normaliser):
                    # Places beyond the last child get an infinite one: their shares are exp(-inf) = 0.
                    read_numbers(normaliser, at, count, z, zero, infinity)
                for lane in range(0, count, WIDTH):
                    softmax_shares(logits, logit, parents, lane, z, powers, is_given(normaliser), load(a, lane), zero)
                if not is_given(normaliser):
                    for lane in range(count):
                        put(log_normaliser, at + lane, get(z, lane) + math.log(get(powers, lane)))
                for j in range(parents):
                    add_row_sum(logits, logit + j * TILE, count, mass, n * parents + j, zero)

            # Moments about the centre: S1 = sum_i w_ij (V_ij - c_j), and S2 of the squares.
            for j in range(parents):
                for q in range(quads):
                    weight = place_weights(shape, j, q)
                    for b in range(problems):
                        share = (b * parents + j) * TILE
                        for r in range(rows):
                            at = place_value(shape, block + b, j, r, q)
                            c0, c1, c2, c3 = fill_four(centre, at, zero)
                            f0, f1, f2, f3 = fill(zero), fill(zero), fill(zero), fill(zero)
                            s0, s1, s2, s3 = fill(zero), fill(zero), fill(zero), fill(zero)
                            pose, shift = place_row(shape, b, r, q)
                            for lane in range(0, count, WIDTH):
                                v0, v1, v2, v3 = compute_votes(
                                    u, pose + lane, w, weight + lane, o, shift + lane, depth, zero
                                )
                                d0, d1, d2, d3 = v0 - c0, v1 - c1, v2 - c2, v3 - c3
                                shares = load(logits, share + lane)
                                w0, w1, w2, w3 = shares * d0, shares * d1, shares * d2, shares * d3
                                f0, f1, f2, f3 = f0 + w0, f1 + w1, f2 + w2, f3 + w3
                                s0, s1, s2, s3 = s0 + w0 * d0, s1 + w1 * d1, s2 + w2 * d2, s3 + w3 * d3
                            # The sixteen children of a lane are added up once a tile, not once a vote.
                            add_lane_sums(first, at, f0, f1, f2, f3)
                            add_lane_sums(second, at, s0, s1, s2, s3)


@compile_kernel
def backward_item(
    inputs, upstream, gradients, shape, layout, scratch, constant_shares,
    first_child, last_child, step, first_problem, last_problem,
):  # fmt: skip
    """Adds the item's children to the parents' gradients, and writes its part of the others; the weights' is of its problems."""
    zero, one, infinity = scratch.dtype.type(0), scratch.dtype.type(1), scratch.dtype.type(np.inf)
    half, two = fill(scratch.dtype.type(0.5)), fill(scratch.dtype.type(2))
    (
        poses, weights, activations, offset, bias, direction, mean, precision, centre, normaliser
    ) = point_to_inputs(inputs)  # fmt: skip
    mass, first, second = point_to(upstream.mass), point_to(upstream.first), point_to(upstream.second)
    to_normaliser = point_to(upstream.log_normaliser)
    to_poses, to_offset = point_to(gradients.poses), point_to(gradients.offset)
    to_activations, to_given = point_to(gradients.activations), point_to(gradients.log_normaliser)
    to_bias, to_direction = point_to(gradients.bias), point_to(gradients.direction)
    to_mean, to_precision = point_to(gradients.mean), point_to(gradients.precision)
    parents, rows, depth, quads = shape.parents, shape.rows, shape.depth, shape.quads
    padded = quads * QUAD
    offset_shared = inputs.offset.shape[0] == 1
    quadratic = is_given(direction) or is_given(mean)
    # The gradients gw_ij reach the activations and, through the logits, what is believed of the parents.
    gw_wanted = is_given(activations) or is_given(to_given) or ((quadratic or is_given(bias)) and not constant_shares)
    start = point_to(scratch)
    u, to_u = advance_pointer(start, layout.poses), advance_pointer(start, layout.to_poses)
    w, to_w = advance_pointer(start, layout.weights), advance_pointer(start, layout.to_weights)
    o = advance_pointer(start, layout.offset) if is_given(offset) else offset
    to_o = advance_pointer(start, layout.to_offset)
    logits = advance_pointer(start, layout.logits)  # later their gradients gl_ij
    shares = advance_pointer(start, layout.shares)  # first the gradients gw_ij, later the shares a_i r_ij
    a, z = advance_pointer(start, layout.rows), advance_pointer(start, layout.rows + TILE)
    to_a, to_z = advance_pointer(start, layout.rows + 2 * TILE), advance_pointer(start, layout.rows + 3 * TILE)

    for child in range(first_child, last_child, step):
        count = min(step, last_child - child)
        read_weights(weights, shape, child, count, w, zero)
        # The weights' gradient is a sum over problems: it stays in scratch memory until the item's last block.
        fill_rows(to_w, 0, parents * quads * depth * QUAD, zero)
        for block in range(first_problem, last_problem, BLOCK):
            problems = min(BLOCK, last_problem - block)
            fill_rows(to_u, 0, problems * rows * depth, zero)
            if is_given(to_offset):
                fill_rows(to_o, 0, problems * rows * padded, zero)
            for b in range(problems):
                n = block + b
                read_problem(poses, offset, offset_shared, shape, n, child, count, b, u, o, zero)
                fill_logits(bias, direction, mean, shape, n, logits, b * parents * TILE, zero)
                for j in range(parents):
                    fill_rows(shares, (b * parents + j) * TILE, 1, get(mass, n * parents + j))

            # The logits once more, and from the same votes gw_ij = g0_j + <g1_j, D_ij> + <g2_j, D_ij^2>.
            for j in range(parents if quadratic or gw_wanted else 0):
                for q in range(quads):
                    weight = place_weights(shape, j, q)
                    for b in range(problems):
                        logit = (b * parents + j) * TILE
                        for r in range(rows):
                            at = place_value(shape, block + b, j, r, q)
                            m0, m1, m2, m3 = fill_four(mean, at, zero)
                            g0, g1, g2, g3 = fill_four(direction, at, zero)
                            p0, p1, p2, p3 = fill_four(precision, at, zero)
                            p0, p1, p2, p3 = p0 * half, p1 * half, p2 * half, p3 * half
                            c0, c1, c2, c3 = fill_four(centre, at, zero)
                            f0, f1, f2, f3 = fill_four(first, at, zero)
                            s0, s1, s2, s3 = fill_four(second, at, zero)
                            pose, shift = place_row(shape, b, r, q)
                            for lane in range(0, count, WIDTH):
                                v0, v1, v2, v3 = compute_votes(
                                    u, pose + lane, w, weight + lane, o, shift + lane, depth, zero
                                )
                                d0, d1, d2, d3 = v0 - c0, v1 - c1, v2 - c2, v3 - c3
                                moment = d0 * (f0 + s0 * d0) + d1 * (f1 + s1 * d1)
                                moment = moment + d2 * (f2 + s2 * d2) + d3 * (f3 + s3 * d3)
                                add_lanes(shares, logit + lane, moment)
                                if quadratic:
                                    t0, t1, t2, t3 = v0 - m0, v1 - m1, v2 - m2, v3 - m3
                                    add_logits(logits, logit + lane, t0, t1, t2, t3, g0, g1, g2, g3, p0, p1, p2, p3)

            # The softmax backwards: gl_ij = r_ij (a_i gw_ij + q_i), where q_i is 0 beside a given log-normaliser.
            for b in range(problems):
                n, logit = block + b, b * parents * TILE
                at = n * shape.children + child
                read_numbers(activations, at, count, a, one, zero)
                read_numbers(to_normaliser, at, count, to_z, zero, zero)
                if is_given(normaliser):
                    read_numbers(normaliser, at, count, z, zero, infinity)
                for lane in range(0, count, WIDTH):
                    activation = load(a, lane)
                    # The denominators are not needed here: z, whose largest logits are not needed either, takes them too.
                    softmax_shares(logits, logit, parents, lane, z, z, is_given(normaliser), fill(one), zero)
                    expected = fill(zero)  # ga_i = sum_j r_ij gw_ij
                    for j in range(parents):
                        row = logit + j * TILE + lane
                        expected = expected + load(logits, row) * load(shares, row)
                    store(to_a, lane, expected)
                    common = fill(zero)  # q_i
                    if not is_given(to_given):
                        common = load(to_z, lane) - activation * expected
                    for j in range(parents):
                        row = logit + j * TILE + lane
                        ratio = load(logits, row)
                        gl = fill(zero)
                        if not constant_shares:
                            gl = ratio * (activation * load(shares, row) + common)
                        store(logits, row, gl)
                        store(shares, row, ratio * activation)
                for lane in range(count):
                    put(to_activations, at + lane, get(to_a, lane))
                    if is_given(to_given):
                        put(to_given, at + lane, zero if constant_shares else -get(a, lane) * get(to_a, lane))
                for j in range(parents):
                    add_row_sum(logits, logit + j * TILE, count, to_bias, n * parents + j, zero)

            # The gradients y of the votes, and what follows from them for poses, weights, offset and parents.
            for j in range(parents):
                for q in range(quads):
                    weight = place_weights(shape, j, q)
                    for b in range(problems):
                        logit = (b * parents + j) * TILE
                        for r in range(rows):
                            at = place_value(shape, block + b, j, r, q)
                            m0, m1, m2, m3 = fill_four(mean, at, zero)
                            g0, g1, g2, g3 = fill_four(direction, at, zero)
                            p0, p1, p2, p3 = fill_four(precision, at, zero)
                            c0, c1, c2, c3 = fill_four(centre, at, zero)
                            f0, f1, f2, f3 = fill_four(first, at, zero)
                            s0, s1, s2, s3 = fill_four(second, at, zero)
                            s0, s1, s2, s3 = s0 * two, s1 * two, s2 * two, s3 * two
                            k0, k1, k2, k3 = fill(zero), fill(zero), fill(zero), fill(zero)  # sums of gl t
                            x0, x1, x2, x3 = fill(zero), fill(zero), fill(zero), fill(zero)  # sums of gl t^2
                            pose, shift = place_row(shape, b, r, q)
                            for lane in range(0, count, WIDTH):
                                v0, v1, v2, v3 = compute_votes(
                                    u, pose + lane, w, weight + lane, o, shift + lane, depth, zero
                                )
                                share, gl = load(shares, logit + lane), load(logits, logit + lane)
                                # Through the moments: w_ij (g1_j + 2 g2_j D_ij).
                                y0, y1 = share * (f0 + s0 * (v0 - c0)), share * (f1 + s1 * (v1 - c1))
                                y2, y3 = share * (f2 + s2 * (v2 - c2)), share * (f3 + s3 * (v3 - c3))
                                if quadratic and not constant_shares:
                                    # Through the logits: gl_ij (direction_j - precision_j (V_ij - mean_j)).
                                    t0, t1, t2, t3 = v0 - m0, v1 - m1, v2 - m2, v3 - m3
                                    y0, y1 = y0 + gl * (g0 - p0 * t0), y1 + gl * (g1 - p1 * t1)
                                    y2, y3 = y2 + gl * (g2 - p2 * t2), y3 + gl * (g3 - p3 * t3)
                                    l0, l1, l2, l3 = gl * t0, gl * t1, gl * t2, gl * t3
                                    k0, k1, k2, k3 = k0 + l0, k1 + l1, k2 + l2, k3 + l3
                                    x0, x1, x2, x3 = x0 + l0 * t0, x1 + l1 * t1, x2 + l2 * t2, x3 + l3 * t3
                                add_vote_gradients(y0, y1, y2, y3, u, to_u, pose + lane, w, to_w, weight + lane, depth)
                                if is_given(to_offset):
                                    add_four(to_o, shift + lane, y0, y1, y2, y3)
                            if is_given(direction):
                                add_lane_sums(to_direction, at, k0, k1, k2, k3)
                            if is_given(mean):
                                add_lane_sums(to_mean, at, p0 * k0, p1 * k1, p2 * k2, p3 * k3)
                                minus = fill(scratch.dtype.type(-0.5))
                                add_lane_sums(to_precision, at, minus * x0, minus * x1, minus * x2, minus * x3)

            # A child belongs to one item, so its gradients are complete here, for the problems of the block.
            for b in range(problems):
                n, start_u, start_o = block + b, b * rows * depth * TILE, b * rows * padded * TILE
                write_children(to_u, start_u, depth, to_poses, shape, depth, n, child, count)
                if is_given(to_offset):
                    write_children(to_o, start_o, padded, to_offset, shape, shape.columns, n, child, count)
        write_weights(to_w, point_to(gradients.weights), shape, child, count)
