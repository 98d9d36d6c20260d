"""The two kernels of the CPU's vote pass: each goes over an item, some groups of children of some units (`layout.py`).

They loop over

    tiles       TILE groups of children, whose matrices stay in the second-level cache
    blocks      units with about PAIRS pairs of rows, for which a matrix is read once into the first-level cache
    cores       pairs of rows and quads of columns, whose sums over the children of the tile stay in registers (`cores.py`)

Each kernel goes over the votes several times and computes them anew each time: a vote costs D multiplications, less than
writing it to memory and reading it back.
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
    add_logits_and_gains,
    add_moments,
    spread_gradients,
)
from capsbench_kernels.passes.cpu.emit import point_at
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
from capsbench_kernels.passes.cpu.layout import fill_rows
from capsbench_kernels.passes.cpu.steps import (
    choose,
    clear_parents,
    place_offset,
    point_at_tensors,
    read_numbers,
    share_out,
    size_tiles,
    start_logits,
    sum_row,
)


@compile_kernel
def forward_item(layer, tensors, sums, places, item, tile, block, zero):
    """Writes the sums of an item's children."""
    favour_small_code()
    one, infinity = type(zero)(1), type(zero)(np.inf)
    (
        poses, weights, offset, activations, normaliser, bias, direction, mean, steepness, centre
    ) = point_at_tensors(tensors, zero)  # fmt: skip
    mass, first, second = point_at(sums.mass, zero), point_at(sums.first, zero), point_at(sums.second, zero)
    log_normaliser = point_at(sums.log_normaliser, zero)
    scratch = point_at(item.scratch, zero)
    zeros, logits = advance_pointer(scratch, places.zeros), advance_pointer(scratch, places.logits)
    unread, width = advance_pointer(scratch, places.unread), tile * WIDTH
    a = advance_pointer(scratch, places.rows)
    z, powers = advance_pointer(a, width), advance_pointer(a, 2 * width)
    parents, pairs, quads, members = layer.parents, layer.pairs, layer.quads, layer.unit_problems
    between = parents * width if members > 1 else 0
    fill_rows(zeros, QUAD, zero)
    clear_parents(layer, item, mass, first, second, zero)

    for group in range(item.first_group, item.last_group, tile):
        groups = minimum(tile, item.last_group - group)
        child, count = group * WIDTH, minimum(groups * WIDTH, layer.children - group * WIDTH)
        sizes = size_tiles(layer, tensors, groups)
        for start in range(item.first_unit, item.last_unit, block):
            units = minimum(block, item.last_unit - start)
            for b in range(units):
                for p in range(members):
                    n = (start + b) * members + p
                    rows = advance_pointer(logits, (b * members + p) * parents * width)
                    start_logits(layer, bias, direction, mean, n, start + b, rows, width, zero)

            if is_given(direction) or is_given(mean):
                for j in range(parents):
                    for q in range(quads):
                        w = advance_pointer(weights, (((group * parents + j) * quads + q) * layer.depth) * QUAD * WIDTH)
                        for b in range(units):
                            row = advance_pointer(logits, (b * members * parents + j) * width)
                            for pair in range(pairs):
                                unit = start + b
                                at = (((unit * parents + j) * pairs + pair) * quads + q) * BLOCK
                                line = ((group * layer.units + unit) * pairs + pair) * ROWS
                                add_logits(
                                    advance_pointer(poses, line * layer.depth * WIDTH), w,
                                    place_offset(layer, tensors, offset, group, unit, pair, q, zeros), sizes,
                                    choose(mean, at, zeros), choose(direction, at, zeros), choose(steepness, at, zeros),
                                    row, between,
                                )  # fmt: skip

            # Shares w_ij = a_i r_ij: the softmax over the parents, times the activation. Their sums over the children are S0.
            for b in range(units):
                for p in range(members):
                    n = (start + b) * members + p
                    rows = advance_pointer(logits, (b * members + p) * parents * width)
                    at, present = n * layer.children + child, count if n < layer.problems else 0
                    read_numbers(activations, at, present, groups * WIDTH, a, one, zero)
                    if is_given(normaliser):
                        # Places beyond the last child get an infinite one: their shares are exp(-inf) = 0.
                        read_numbers(normaliser, at, present, groups * WIDTH, z, zero, infinity)
                    for lane in range(0, groups * WIDTH, WIDTH):
                        share_out(
                            rows,
                            parents,
                            width,
                            lane,
                            z,
                            powers,
                            is_given(normaliser),
                            tensors.leaky,
                            load(a, lane),
                            zero,
                        )
                    if is_given(log_normaliser) and not is_given(normaliser):
                        for lane in range(present):
                            put(log_normaliser, at + lane, get(z, lane) + math.log(get(powers, lane)))
                    for j in range(parents):
                        total = sum_row(advance_pointer(rows, j * width), groups * WIDTH, zero)
                        put(mass, n * parents + j, get(mass, n * parents + j) + total)

            # Moments about the centre: S1 = sum_i w_ij (V_ij - c_j), and S2 of the squares.
            for j in range(parents):
                for q in range(quads):
                    w = advance_pointer(weights, (((group * parents + j) * quads + q) * layer.depth) * QUAD * WIDTH)
                    for b in range(units):
                        row = advance_pointer(logits, (b * members * parents + j) * width)
                        for pair in range(pairs):
                            unit = start + b
                            at = (((unit * parents + j) * pairs + pair) * quads + q) * BLOCK
                            line = ((group * layer.units + unit) * pairs + pair) * ROWS
                            add_moments(
                                advance_pointer(poses, line * layer.depth * WIDTH), w,
                                place_offset(layer, tensors, offset, group, unit, pair, q, zeros), sizes,
                                choose(centre, at, zeros), row, between,
                                advance_pointer(first, at), choose(second, at, unread),
                            )  # fmt: skip


@compile_kernel
def backward_item(layer, tensors, upstream, gradients, places, item, tile, block, zero):
    """Adds the gradients that the children of an item send and receive."""
    favour_small_code()
    one, infinity = type(zero)(1), type(zero)(np.inf)
    (
        poses, weights, offset, activations, normaliser, bias, direction, mean, steepness, centre
    ) = point_at_tensors(tensors, zero)  # fmt: skip
    mass, first, second = point_at(upstream.mass, zero), point_at(upstream.first, zero), point_at(upstream.second, zero)
    to_normaliser = point_at(upstream.log_normaliser, zero)
    to_poses, to_weights, to_offset = (
        point_at(gradients.poses, zero), point_at(gradients.weights, zero), point_at(gradients.offset, zero),
    )  # fmt: skip
    to_activations, to_given = point_at(gradients.activations, zero), point_at(gradients.normaliser, zero)
    slopes, slopes_first, slopes_second = (
        point_at(gradients.slopes, zero), point_at(gradients.slopes_first, zero),
        point_at(gradients.slopes_second, zero),
    )  # fmt: skip
    scratch = point_at(item.scratch, zero)
    zeros, logits = advance_pointer(scratch, places.zeros), advance_pointer(scratch, places.logits)
    shares = advance_pointer(scratch, places.shares)
    unread, width = advance_pointer(scratch, places.unread), tile * WIDTH
    a = advance_pointer(scratch, places.rows)
    z, to_a, to_z = advance_pointer(a, width), advance_pointer(a, 2 * width), advance_pointer(a, 3 * width)
    parents, pairs, quads, members = layer.parents, layer.pairs, layer.quads, layer.unit_problems
    between = parents * width if members > 1 else 0
    matrix = layer.depth * QUAD * WIDTH
    believed = is_given(direction) or is_given(mean)
    # The gradients gw_ij reach the activations and, through the logits, what is believed of the parents.
    gains_wanted = is_given(to_activations) or is_given(to_given) or (
        (believed or is_given(bias)) and not gradients.constant_shares
    )  # fmt: skip
    fill_rows(zeros, QUAD, zero)
    clear_parents(layer, item, slopes, slopes_first, slopes_second, zero)

    for group in range(item.first_group, item.last_group, tile):
        groups = minimum(tile, item.last_group - group)
        child, count = group * WIDTH, minimum(groups * WIDTH, layer.children - group * WIDTH)
        sizes = size_tiles(layer, tensors, groups)
        if gradients.fresh:
            fill_rows(
                advance_pointer(to_weights, group * parents * quads * matrix),
                groups * parents * quads * layer.depth * QUAD,
                zero,
            )
        for start in range(item.first_unit, item.last_unit, block):
            units = minimum(block, item.last_unit - start)
            for b in range(units):
                unit = start + b
                for p in range(members):
                    n, row = unit * members + p, (b * members + p) * parents * width
                    start_logits(layer, bias, direction, mean, n, unit, advance_pointer(logits, row), width, zero)
                    for j in range(parents):
                        gain = get(mass, n * parents + j) if is_given(mass) else zero
                        fill_rows(advance_pointer(shares, row + j * width), tile, gain)
                if gradients.fresh:
                    for g in range(group, group + groups):
                        line = (g * layer.units + unit) * pairs * ROWS
                        fill_rows(
                            advance_pointer(to_poses, line * layer.depth * WIDTH), pairs * ROWS * layer.depth, zero
                        )
                        if is_given(to_offset):
                            fill_rows(
                                advance_pointer(to_offset, line * quads * QUAD * WIDTH),
                                pairs * ROWS * quads * QUAD,
                                zero,
                            )

            # The logits once more, and from the same votes gw_ij = g0_j + <g1_j, D_ij> + <g2_j, D_ij^2>.
            if believed or gains_wanted:
                for j in range(parents):
                    for q in range(quads):
                        w = advance_pointer(weights, ((group * parents + j) * quads + q) * matrix)
                        for b in range(units):
                            row = (b * members * parents + j) * width
                            for pair in range(pairs):
                                unit = start + b
                                at = (((unit * parents + j) * pairs + pair) * quads + q) * BLOCK
                                line = ((group * layer.units + unit) * pairs + pair) * ROWS
                                add_logits_and_gains(
                                    advance_pointer(poses, line * layer.depth * WIDTH), w,
                                    place_offset(layer, tensors, offset, group, unit, pair, q, zeros), sizes,
                                    choose(mean, at, zeros), choose(direction, at, zeros), choose(steepness, at, zeros),
                                    advance_pointer(logits, row), between,
                                    choose(centre, at, zeros), advance_pointer(first, at), choose(second, at, zeros),
                                    advance_pointer(shares, row),
                                )  # fmt: skip

            # The softmax backwards: gl_ij = r_ij (a_i gw_ij + q_i), where q_i is 0 beside a given log-normaliser.
            for b in range(units):
                for p in range(members):
                    n, row = (start + b) * members + p, (b * members + p) * parents * width
                    ratios, gains = advance_pointer(logits, row), advance_pointer(shares, row)
                    at, present = n * layer.children + child, count if n < layer.problems else 0
                    read_numbers(activations, at, present, groups * WIDTH, a, one, zero)
                    read_numbers(to_normaliser, at, present, groups * WIDTH, to_z, zero, zero)
                    if is_given(normaliser):
                        read_numbers(normaliser, at, present, groups * WIDTH, z, zero, infinity)
                    for lane in range(0, groups * WIDTH, WIDTH):
                        activation = load(a, lane)
                        # The denominators are not needed here: z, whose largest logits are not needed either, takes them too.
                        share_out(
                            ratios, parents, width, lane, z, z, is_given(normaliser), tensors.leaky, fill(one), zero
                        )
                        expected = fill(zero)  # ga_i = sum_j r_ij gw_ij
                        for j in range(parents):
                            expected = expected + load(ratios, j * width + lane) * load(gains, j * width + lane)
                        store(to_a, lane, expected)
                        common = fill(zero)  # q_i
                        if not is_given(to_given):
                            common = load(to_z, lane) - activation * expected
                        for j in range(parents):
                            ratio = load(ratios, j * width + lane)
                            slope = fill(zero)
                            if not gradients.constant_shares:
                                slope = ratio * (activation * load(gains, j * width + lane) + common)
                            store(ratios, j * width + lane, slope)
                            store(gains, j * width + lane, ratio * activation)
                    if is_given(to_activations):
                        for lane in range(present):
                            before = zero if gradients.fresh else get(to_activations, at + lane)
                            put(to_activations, at + lane, before + get(to_a, lane))
                    if is_given(to_given):
                        for lane in range(present):
                            put(
                                to_given,
                                at + lane,
                                zero if gradients.constant_shares else -get(a, lane) * get(to_a, lane),
                            )
                    for j in range(parents):
                        total = sum_row(advance_pointer(ratios, j * width), groups * WIDTH, zero)
                        put(slopes, n * parents + j, get(slopes, n * parents + j) + total)

            # The gradients of the votes, and what follows from them for poses, weights, offset and parents.
            for j in range(parents):
                for q in range(quads):
                    place = ((group * parents + j) * quads + q) * matrix
                    for b in range(units):
                        row = (b * members * parents + j) * width
                        for pair in range(pairs):
                            unit = start + b
                            at = (((unit * parents + j) * pairs + pair) * quads + q) * BLOCK
                            line = ((group * layer.units + unit) * pairs + pair) * ROWS
                            spread_gradients(
                                advance_pointer(poses, line * layer.depth * WIDTH), advance_pointer(weights, place),
                                place_offset(layer, tensors, offset, group, unit, pair, q, zeros), sizes,
                                choose(mean, at, zeros), choose(direction, at, zeros), choose(steepness, at, zeros),
                                advance_pointer(logits, row), between,
                                choose(centre, at, zeros), advance_pointer(first, at), choose(second, at, zeros),
                                advance_pointer(shares, row),
                                advance_pointer(to_poses, line * layer.depth * WIDTH), advance_pointer(to_weights, place),
                                to_offset if not is_given(to_offset) else advance_pointer(
                                    to_offset, (line * quads + q) * QUAD * WIDTH
                                ),
                                advance_pointer(slopes_first, at), choose(slopes_second, at, unread),
                            )  # fmt: skip
