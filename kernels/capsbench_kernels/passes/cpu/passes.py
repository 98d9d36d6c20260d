"""The kernels of the CPU's vote pass: each goes over an item, some groups of children of some units (`layout.py`).

    sweep_item      a pass: the sums, or, backward, the gradients of the logits and of what these depend on but votes
    spread_item     the gradients of poses, weights and offset: once, for all passes of a routing

They loop over

    tiles       TILE groups of children, whose matrices stay in the second-level cache
    blocks      units with about PAIRS pairs of rows, for which a matrix is read once into the first-level cache
    cores       pairs of rows and quads of columns, whose sums over the children of the tile stay in registers (`cores.py`)

Each kernel goes over the votes once or twice and computes them anew each time: a vote costs D multiplications a value, less than
writing it to memory and reading it back. Shares and gradients of logits, two numbers a vote, are kept for `spread_item` in the
memory of an item: that costs less than the gradients of poses and weights in every pass.
"""

from __future__ import annotations

import math

import numpy as np

from capsbench_kernels.passes.cpu.caching import compile_kernel
from capsbench_kernels.passes.cpu.cores import (
    BLOCK,
    QUAD,
    ROWS,
    add_logits,
    add_moments,
    spread_gradients,
)
from capsbench_kernels.passes.cpu.emit import choose, fill_rows, point_at
from capsbench_kernels.passes.cpu.lanes import (
    WIDTH,
    advance_pointer,
    favour_small_code,
    fill,
    get,
    is_given,
    load,
    minimum,
    put,
    store,
)
from capsbench_kernels.passes.cpu.steps import (
    clear_parents,
    place_line,
    place_offset,
    place_rows,
    point_at_belief,
    point_at_votes,
    read_numbers,
    share_out,
    size_tiles,
    sum_row,
)


@compile_kernel
def sweep_item(layer, tensors, upstream, sums, places, item, tile, block, zero):
    """Writes the sums of an item's children; backward, shares and gradients of logits, activations, normaliser and belief."""
    favour_small_code()
    one, infinity = type(zero)(1), type(zero)(np.inf)
    memory, scratch = point_at(item.memory, zero), point_at(item.scratch, zero)
    poses, weights, offset = point_at_votes(tensors, memory, zero)
    activations, normaliser = point_at(tensors.activations, zero), point_at(tensors.normaliser, zero)
    bias, direction, mean, steepness, centre = point_at_belief(tensors, zero)
    mass, first, second = point_at(sums.mass, zero), point_at(sums.first, zero), point_at(sums.second, zero)
    log_normaliser = point_at(sums.log_normaliser, zero)
    backward = sums.shares >= 0
    logits, gains = advance_pointer(scratch, places.logits), point_at(0, zero)
    if backward:
        logits, gains = advance_pointer(memory, sums.slopes), advance_pointer(memory, sums.shares)
    of_mass, of_first, of_second = (
        point_at(upstream.mass, zero), point_at(upstream.first, zero), point_at(upstream.second, zero),
    )  # fmt: skip
    of_normaliser = point_at(upstream.log_normaliser, zero)
    to_activations, to_given = point_at(sums.activations, zero), point_at(sums.normaliser, zero)
    width, a = tile * WIDTH, advance_pointer(scratch, places.rows)
    z, powers = advance_pointer(a, width), advance_pointer(a, 2 * width)
    to_a, to_z = advance_pointer(a, 3 * width), advance_pointer(a, 4 * width)
    parents, pairs, quads, members = layer.parents, layer.pairs, layer.quads, layer.unit_problems
    # Both rows of a pair are rows of one problem's votes, or, with two problems in a unit, one of each.
    between = parents * width if members > 1 else 0
    matrix = layer.depth * QUAD * WIDTH
    believed = is_given(direction) or is_given(mean)
    # Backward, the gains gw_ij reach the activations and, through the logits, what is believed of the parents.
    gains_wanted = is_given(to_activations) or is_given(to_given) or (is_given(bias) and not sums.constant_shares)
    moments_wanted = (believed and not sums.constant_shares) or not backward
    about = mean if backward else centre
    clear_parents(layer, item, mass, first, second, zero)

    for group in range(item.first_group, item.last_group, tile):
        groups = minimum(tile, item.last_group - group)
        child, count = group * WIDTH, minimum(groups * WIDTH, layer.children - group * WIDTH)
        sizes = size_tiles(layer, tensors, item, groups)
        for start in range(item.first_unit, item.last_unit, block):
            units = minimum(block, item.last_unit - start)
            at_rows = place_rows(layer, item, group, start, tile) if backward else 0
            for b in range(units):
                for p in range(members):
                    n, row = (start + b) * members + p, at_rows + (b * members + p) * parents * width
                    for j in range(parents):
                        logit = get(bias, n * parents + j) if is_given(bias) else zero
                        fill_rows(advance_pointer(logits, row + j * width), tile, logit)
                        if backward:
                            gain = get(of_mass, n * parents + j) if is_given(of_mass) else zero
                            fill_rows(advance_pointer(gains, row + j * width), tile, gain)

            # The logits and, from the same votes, gw_ij = g0_j + <g1_j, D_ij> + <g2_j, D_ij^2>.
            if believed or gains_wanted:
                for j in range(parents):
                    for q in range(quads):
                        w = advance_pointer(weights, ((group * parents + j) * quads + q) * matrix)
                        for b in range(units):
                            row = at_rows + (b * members * parents + j) * width
                            for pair in range(pairs):
                                unit = start + b
                                at = (((unit * parents + j) * pairs + pair) * quads + q) * BLOCK
                                line = place_line(layer, item, group, unit, pair)
                                add_logits(
                                    advance_pointer(poses, line * layer.depth * WIDTH), w,
                                    place_offset(layer, tensors, item, offset, group, unit, pair, q), sizes,
                                    choose(mean, at), choose(direction, at), choose(steepness, at),
                                    advance_pointer(logits, row), between,
                                    choose(centre, at), choose(of_first, at), choose(of_second, at),
                                    advance_pointer(gains, row),
                                )  # fmt: skip

            # Shares w_ij = a_i r_ij: the softmax over the parents, times the activation. Their sums over the children are S0.
            # The softmax backward: gl_ij = r_ij (a_i gw_ij + q_i), where q_i is 0 beside a given log-normaliser.
            for b in range(units):
                for p in range(members):
                    n, row = (start + b) * members + p, at_rows + (b * members + p) * parents * width
                    rows, row_gains = advance_pointer(logits, row), advance_pointer(gains, row)
                    at, present = n * layer.children + child, count if n < layer.problems else 0
                    read_numbers(activations, at, present, groups * WIDTH, a, one, zero)
                    if is_given(normaliser):
                        # Places beyond the last child get an infinite one: their shares are exp(-inf) = 0.
                        read_numbers(normaliser, at, present, groups * WIDTH, z, zero, infinity)
                    if backward:
                        read_numbers(of_normaliser, at, present, groups * WIDTH, to_z, zero, zero)
                    for lane in range(0, groups * WIDTH, WIDTH):
                        activation = load(a, lane)
                        share_out(
                            rows, parents, width, lane, z, powers, is_given(normaliser), tensors.leaky,
                            fill(one) if backward else activation, zero,
                        )  # fmt: skip
                        if backward:
                            expected = fill(zero)  # ga_i = sum_j r_ij gw_ij
                            for j in range(parents):
                                expected = expected + load(rows, j * width + lane) * load(row_gains, j * width + lane)
                            store(to_a, lane, expected)
                            common = fill(zero)  # q_i
                            if not is_given(to_given):
                                common = load(to_z, lane) - activation * expected
                            for j in range(parents):
                                ratio = load(rows, j * width + lane)
                                slope = fill(zero)
                                if not sums.constant_shares:
                                    slope = ratio * (activation * load(row_gains, j * width + lane) + common)
                                store(rows, j * width + lane, slope)
                                store(row_gains, j * width + lane, ratio * activation)
                    for lane in range(present):
                        if is_given(log_normaliser) and not is_given(normaliser):
                            put(log_normaliser, at + lane, get(z, lane) + math.log(get(powers, lane)))
                        if is_given(to_activations):
                            before = zero if sums.fresh else get(to_activations, at + lane)
                            put(to_activations, at + lane, before + get(to_a, lane))
                        if is_given(to_given):
                            of_given = zero if sums.constant_shares else -get(a, lane) * get(to_a, lane)
                            put(to_given, at + lane, of_given)
                    for j in range(parents):
                        total = sum_row(advance_pointer(rows, j * width), groups * WIDTH, zero)
                        put(mass, n * parents + j, get(mass, n * parents + j) + total)

            # Moments about the centre: S1 = sum_i w_ij (V_ij - c_j), and S2 of the squares; backward, those of the slopes.
            if moments_wanted:
                for j in range(parents):
                    for q in range(quads):
                        w = advance_pointer(weights, ((group * parents + j) * quads + q) * matrix)
                        for b in range(units):
                            row = at_rows + (b * members * parents + j) * width
                            for pair in range(pairs):
                                unit = start + b
                                at = (((unit * parents + j) * pairs + pair) * quads + q) * BLOCK
                                line = place_line(layer, item, group, unit, pair)
                                add_moments(
                                    advance_pointer(poses, line * layer.depth * WIDTH), w,
                                    place_offset(layer, tensors, item, offset, group, unit, pair, q), sizes,
                                    choose(about, at), advance_pointer(logits, row), between,
                                    advance_pointer(first, at), choose(second, at),
                                )  # fmt: skip


@compile_kernel
def spread_item(layer, tensors, upstream, votes, places, item, tile, block, zero):
    """Writes the gradients of an item's poses, weights and offset, and adds those of activations in a pass without a belief."""
    favour_small_code()
    one, none = type(zero)(1), point_at(0, zero)
    memory, scratch = point_at(item.memory, zero), point_at(item.scratch, zero)
    poses, weights, offset = point_at_votes(tensors, memory, zero)
    activations = point_at(tensors.activations, zero)
    _, direction, mean, steepness, centre = point_at_belief(tensors, zero)
    first, second = point_at(upstream.first, zero), point_at(upstream.second, zero)
    shares, slopes = advance_pointer(memory, votes.shares), advance_pointer(memory, votes.slopes)
    equal_centre, equal_mass = point_at(votes.equal_centre, zero), point_at(votes.equal_mass, zero)
    equal_first, equal_second = point_at(votes.equal_first, zero), point_at(votes.equal_second, zero)
    to_poses, to_weights = advance_pointer(memory, votes.poses), point_at(votes.weights, zero)
    to_offset = advance_pointer(memory, votes.offset) if votes.offset >= 0 else none
    to_activations = point_at(votes.activations, zero)
    equal, gains = advance_pointer(scratch, places.equal), advance_pointer(scratch, places.gains)
    parents, pairs, quads, members, width = layer.parents, layer.pairs, layer.quads, layer.unit_problems, tile * WIDTH
    between, equal_between = (parents * width, width) if members > 1 else (0, 0)
    matrix = layer.depth * QUAD * WIDTH
    share = type(zero)(votes.equal_share)
    has_equal = votes.equal_share > 0.0
    gains_wanted = has_equal and is_given(to_activations)
    with_votes = is_given(second) or is_given(steepness) or is_given(equal_second) or gains_wanted
    passes = (
        votes.passes, layer.units * parents * pairs * quads * BLOCK, votes.distance, int(votes.about_mean), int(with_votes),
    )  # fmt: skip

    for group in range(item.first_group, item.last_group, tile):
        groups = minimum(tile, item.last_group - group)
        child, count = group * WIDTH, minimum(groups * WIDTH, layer.children - group * WIDTH)
        sizes = size_tiles(layer, tensors, item, groups)
        if is_given(to_weights):
            to_group = advance_pointer(to_weights, group * parents * quads * matrix)
            fill_rows(to_group, groups * parents * quads * layer.depth * QUAD, zero)
        for start in range(item.first_unit, item.last_unit, block):
            units = minimum(block, item.last_unit - start)
            at_rows = place_rows(layer, item, group, start, tile)
            for b in range(units):
                for g in range(group, group + groups):
                    line = place_line(layer, item, g, start + b, 0)
                    fill_rows(advance_pointer(to_poses, line * layer.depth * WIDTH), pairs * ROWS * layer.depth, zero)
                    if is_given(to_offset):
                        fill_rows(
                            advance_pointer(to_offset, line * quads * QUAD * WIDTH), pairs * ROWS * quads * QUAD, zero
                        )
                for p in range(members if has_equal else 0):
                    n, row = (start + b) * members + p, (b * members + p) * width
                    present = count if n < layer.problems else 0
                    gain = zero
                    for j in range(parents if is_given(equal_mass) else 0):
                        gain += get(equal_mass, n * parents + j)
                    fill_rows(advance_pointer(gains, row), groups, gain)
                    read_numbers(
                        activations, n * layer.children + child, present, groups * WIDTH, advance_pointer(equal, row), one, zero
                    )  # fmt: skip
                    for lane in range(0, groups * WIDTH, WIDTH):
                        store(equal, row + lane, load(equal, row + lane) * fill(share))

            for j in range(parents):
                for q in range(quads):
                    place = ((group * parents + j) * quads + q) * matrix
                    for b in range(units):
                        row = at_rows + (b * members * parents + j) * width
                        for pair in range(pairs):
                            unit = start + b
                            at = (((unit * parents + j) * pairs + pair) * quads + q) * BLOCK
                            line = place_line(layer, item, group, unit, pair)
                            spread_gradients(
                                advance_pointer(poses, line * layer.depth * WIDTH), advance_pointer(weights, place),
                                place_offset(layer, tensors, item, offset, group, unit, pair, q), sizes, passes,
                                choose(mean, at), choose(direction, at), choose(steepness, at),
                                advance_pointer(slopes, row), between, choose(centre, at),
                                choose(first, at), choose(second, at), advance_pointer(shares, row),
                                advance_pointer(equal, b * members * width) if has_equal else none, equal_between,
                                choose(equal_centre, at), choose(equal_first, at), choose(equal_second, at),
                                advance_pointer(gains, b * members * width) if gains_wanted else none,
                                advance_pointer(to_poses, line * layer.depth * WIDTH), choose(to_weights, place),
                                choose(to_offset, (line * quads + q) * QUAD * WIDTH),
                            )  # fmt: skip

            for b in range(units if gains_wanted else 0):
                for p in range(members):
                    n, row = (start + b) * members + p, (b * members + p) * width
                    at = n * layer.children + child
                    for lane in range(count if n < layer.problems else 0):
                        before = zero if votes.fresh else get(to_activations, at + lane)
                        put(to_activations, at + lane, before + share * get(gains, row + lane))
