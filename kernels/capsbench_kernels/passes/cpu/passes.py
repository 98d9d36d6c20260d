"""The two kernels of the CPU's vote pass, each for one item: some tiles of children of some problems.

Suffixes 0 to 3 are the four columns in hand: votes ``v``, means ``m``, directions ``g``, precisions ``p``, centres ``c``,
distances ``t = v - m`` and ``d = v - c``, upstream gradients of the moments ``f`` and ``s``. Names with ``to_`` are gradients.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from capsbench_kernels.passes.cpu import lanes, tiles
from capsbench_kernels.passes.cpu.lanes import (
    WIDTH,
    add_totals,
    advance,
    fill,
    get,
    given,
    load,
    pointer,
    put,
    store,
    total,
)
from capsbench_kernels.passes.cpu.tiles import (
    BLOCK,
    QUAD,
    TILE,
    fill_rows,
    four,
    four_votes,
    read_numbers,
    read_problem,
    read_weights,
    share_out,
    write_children,
    write_weights,
)

Array = NDArray[Any]


class Inputs(NamedTuple):
    """The inputs of a pass, of one dtype, contiguous; of size 0 where absent."""

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
    """What the forward kernel fills, and the upstream gradients of it, laid out likewise."""

    mass: Array
    first: Array
    second: Array
    log_normaliser: Array


class Gradients(NamedTuple):
    """What the backward kernel fills, named and laid out as in `Inputs`; of size 0 where not wanted."""

    poses: Array
    weights: Array
    activations: Array
    offset: Array
    bias: Array
    direction: Array
    mean: Array
    precision: Array
    log_normaliser: Array


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled when first called, and kept on disk where there is a place for it (not in a read-only home)."""
    try:
        kernel = njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)
    if kernel is function:  # NUMBA_DISABLE_JIT=1
        return function
    _forget_if_changed(function.__name__, Path(str(kernel.stats.cache_path)))
    return kernel


def _forget_if_changed(name: str, folder: Path) -> None:
    """Removes what is kept of a kernel if the code that is inlined into it has changed: Numba looks at this file alone."""
    sources = b"".join(Path(str(module.__file__)).read_bytes() for module in (lanes, tiles))
    stamp = folder / f"{name}.{hashlib.sha256(sources).hexdigest()[:16]}.sources"
    if not stamp.exists():
        for kept in [*folder.glob(f"*{name}*.nb?"), *folder.glob(f"{name}.*.sources")]:
            kept.unlink(missing_ok=True)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()


@compiled
def forward_item(inputs, sums, shape, layout, scratch, first_child, last_child, step, first_problem, last_problem):
    """Adds the item's children, ``step`` a tile, to mass, first and second; writes its part of log_normaliser."""
    zero, one, infinity = scratch.dtype.type(0), scratch.dtype.type(1), scratch.dtype.type(np.inf)
    poses, weights, offset = pointer(inputs.poses), pointer(inputs.weights), pointer(inputs.offset)
    activations, normaliser = pointer(inputs.activations), pointer(inputs.log_normaliser)
    bias, direction, centre = pointer(inputs.bias), pointer(inputs.direction), pointer(inputs.centre)
    mean, precision = pointer(inputs.mean), pointer(inputs.precision)
    mass, first, second = pointer(sums.mass), pointer(sums.first), pointer(sums.second)
    log_normaliser = pointer(sums.log_normaliser)
    parents, rows, depth, quads = shape.parents, shape.rows, shape.depth, shape.quads
    padded = quads * QUAD
    offset_shared = inputs.offset.shape[0] == 1
    start = pointer(scratch)
    u, w = advance(start, layout.poses), advance(start, layout.weights)
    o = advance(start, layout.offset) if given(offset) else offset
    logits = advance(start, layout.logits)  # later the shares a_i r_ij
    a, z, added = (
        advance(start, layout.rows), advance(start, layout.rows + TILE), advance(start, layout.rows + 2 * TILE)
    )  # fmt: skip

    for child in range(first_child, last_child, step):
        count = min(step, last_child - child)
        read_weights(weights, shape, child, count, w, zero)
        for block in range(first_problem, last_problem, BLOCK):
            problems = min(BLOCK, last_problem - block)
            for b in range(problems):
                n = block + b
                read_problem(
                    poses, offset, offset_shared, bias, direction, mean, shape, n, child, count, b, u, o, logits, zero
                )

            # Logits. A matrix is used for all rows of all problems of the block while it is in the first-level cache.
            if given(direction) or given(mean):
                half = fill(scratch.dtype.type(0.5))
                for j in range(parents):
                    for q in range(quads):
                        weight = (j * quads + q) * depth * QUAD * TILE
                        for b in range(problems):
                            logit = (b * parents + j) * TILE
                            for r in range(rows):
                                at = (((block + b) * parents + j) * rows + r) * padded + q * QUAD
                                m0, m1, m2, m3 = four(mean, at, zero)
                                g0, g1, g2, g3 = four(direction, at, zero)
                                p0, p1, p2, p3 = four(precision, at, zero)
                                p0, p1, p2, p3 = p0 * half, p1 * half, p2 * half, p3 * half
                                pose = (b * rows + r) * depth * TILE
                                shift = ((b * rows + r) * padded + q * QUAD) * TILE
                                for lane in range(0, count, WIDTH):
                                    v0, v1, v2, v3 = four_votes(
                                        u, pose + lane, w, weight + lane, o, shift + lane, depth, zero
                                    )
                                    t0, t1, t2, t3 = v0 - m0, v1 - m1, v2 - m2, v3 - m3
                                    agreement = t0 * (g0 - p0 * t0) + t1 * (g1 - p1 * t1)
                                    agreement = agreement + t2 * (g2 - p2 * t2) + t3 * (g3 - p3 * t3)
                                    store(logits, logit + lane, load(logits, logit + lane) + agreement)

            # Shares: the softmax over the parents, times the activation.
            for b in range(problems):
                n, logit = block + b, b * parents * TILE
                at = n * shape.children + child
                read_numbers(activations, at, count, a, one, zero)
                if given(normaliser):
                    read_numbers(normaliser, at, count, z, zero, infinity)
                for lane in range(0, count, WIDTH):
                    share_out(logits, logit, parents, lane, z, added, given(normaliser), load(a, lane), zero)
                if not given(normaliser):
                    for lane in range(count):
                        put(log_normaliser, at + lane, get(z, lane) + math.log(get(added, lane)))
                for j in range(parents):
                    share = fill(zero)
                    for lane in range(0, count, WIDTH):
                        share = share + load(logits, logit + j * TILE + lane)
                    put(mass, n * parents + j, get(mass, n * parents + j) + total(share))

            # Moments about the centre.
            for j in range(parents):
                for q in range(quads):
                    weight = (j * quads + q) * depth * QUAD * TILE
                    for b in range(problems):
                        share = (b * parents + j) * TILE
                        for r in range(rows):
                            at = (((block + b) * parents + j) * rows + r) * padded + q * QUAD
                            c0, c1, c2, c3 = four(centre, at, zero)
                            f0, f1, f2, f3 = fill(zero), fill(zero), fill(zero), fill(zero)
                            s0, s1, s2, s3 = fill(zero), fill(zero), fill(zero), fill(zero)
                            pose = (b * rows + r) * depth * TILE
                            shift = ((b * rows + r) * padded + q * QUAD) * TILE
                            for lane in range(0, count, WIDTH):
                                v0, v1, v2, v3 = four_votes(
                                    u, pose + lane, w, weight + lane, o, shift + lane, depth, zero
                                )
                                d0, d1, d2, d3 = v0 - c0, v1 - c1, v2 - c2, v3 - c3
                                shares = load(logits, share + lane)
                                w0, w1, w2, w3 = shares * d0, shares * d1, shares * d2, shares * d3
                                f0, f1, f2, f3 = f0 + w0, f1 + w1, f2 + w2, f3 + w3
                                s0, s1, s2, s3 = s0 + w0 * d0, s1 + w1 * d1, s2 + w2 * d2, s3 + w3 * d3
                            add_totals(first, at, f0, f1, f2, f3)
                            add_totals(second, at, s0, s1, s2, s3)


@compiled
def backward_item(
    inputs, upstream, gradients, shape, layout, scratch, constant_shares,
    first_child, last_child, step, first_problem, last_problem,
):  # fmt: skip
    """Adds the item's children to the gradients of the parents; writes its part of all others. W's are of its problems."""
    zero, one, infinity = scratch.dtype.type(0), scratch.dtype.type(1), scratch.dtype.type(np.inf)
    half, two = fill(scratch.dtype.type(0.5)), fill(scratch.dtype.type(2))
    poses, weights, offset = pointer(inputs.poses), pointer(inputs.weights), pointer(inputs.offset)
    activations, normaliser = pointer(inputs.activations), pointer(inputs.log_normaliser)
    bias, direction, centre = pointer(inputs.bias), pointer(inputs.direction), pointer(inputs.centre)
    mean, precision = pointer(inputs.mean), pointer(inputs.precision)
    mass, first, second = pointer(upstream.mass), pointer(upstream.first), pointer(upstream.second)
    to_normaliser = pointer(upstream.log_normaliser)
    to_poses, to_offset = pointer(gradients.poses), pointer(gradients.offset)
    to_activations, to_given = pointer(gradients.activations), pointer(gradients.log_normaliser)
    to_bias, to_direction = pointer(gradients.bias), pointer(gradients.direction)
    to_mean, to_precision = pointer(gradients.mean), pointer(gradients.precision)
    parents, rows, depth, quads = shape.parents, shape.rows, shape.depth, shape.quads
    padded = quads * QUAD
    offset_shared = inputs.offset.shape[0] == 1
    quadratic = given(direction) or given(mean)
    # The gradients gw_ij reach the activations and, through the logits, what is believed of the parents.
    gw_wanted = given(activations) or given(to_given) or ((quadratic or given(bias)) and not constant_shares)
    start = pointer(scratch)
    u, to_u = advance(start, layout.poses), advance(start, layout.to_poses)
    w, to_w = advance(start, layout.weights), advance(start, layout.to_weights)
    o = advance(start, layout.offset) if given(offset) else offset
    to_o = advance(start, layout.to_offset)
    logits = advance(start, layout.logits)  # later their gradients gl_ij
    shares = advance(start, layout.shares)  # first the gradients gw_ij, later the shares a_i r_ij
    a, z, to_a, to_z = (
        advance(start, layout.rows), advance(start, layout.rows + TILE),
        advance(start, layout.rows + 2 * TILE), advance(start, layout.rows + 3 * TILE),
    )  # fmt: skip

    for child in range(first_child, last_child, step):
        count = min(step, last_child - child)
        read_weights(weights, shape, child, count, w, zero)
        fill_rows(to_w, 0, parents * quads * depth * QUAD, zero)
        for block in range(first_problem, last_problem, BLOCK):
            problems = min(BLOCK, last_problem - block)
            fill_rows(to_u, 0, problems * rows * depth, zero)
            if given(to_offset):
                fill_rows(to_o, 0, problems * rows * padded, zero)
            for b in range(problems):
                n = block + b
                read_problem(
                    poses, offset, offset_shared, bias, direction, mean, shape, n, child, count, b, u, o, logits, zero
                )
                for j in range(parents):
                    fill_rows(shares, (b * parents + j) * TILE, 1, get(mass, n * parents + j))

            # The logits once more, and from the same votes gw_ij.
            for j in range(parents if quadratic or gw_wanted else 0):
                for q in range(quads):
                    weight = (j * quads + q) * depth * QUAD * TILE
                    for b in range(problems):
                        logit = (b * parents + j) * TILE
                        for r in range(rows):
                            at = (((block + b) * parents + j) * rows + r) * padded + q * QUAD
                            m0, m1, m2, m3 = four(mean, at, zero)
                            g0, g1, g2, g3 = four(direction, at, zero)
                            p0, p1, p2, p3 = four(precision, at, zero)
                            p0, p1, p2, p3 = p0 * half, p1 * half, p2 * half, p3 * half
                            c0, c1, c2, c3 = four(centre, at, zero)
                            f0, f1, f2, f3 = four(first, at, zero)
                            s0, s1, s2, s3 = four(second, at, zero)
                            pose = (b * rows + r) * depth * TILE
                            shift = ((b * rows + r) * padded + q * QUAD) * TILE
                            for lane in range(0, count, WIDTH):
                                v0, v1, v2, v3 = four_votes(
                                    u, pose + lane, w, weight + lane, o, shift + lane, depth, zero
                                )
                                d0, d1, d2, d3 = v0 - c0, v1 - c1, v2 - c2, v3 - c3
                                moment = d0 * (f0 + s0 * d0) + d1 * (f1 + s1 * d1)
                                moment = moment + d2 * (f2 + s2 * d2) + d3 * (f3 + s3 * d3)
                                store(shares, logit + lane, load(shares, logit + lane) + moment)
                                if quadratic:
                                    t0, t1, t2, t3 = v0 - m0, v1 - m1, v2 - m2, v3 - m3
                                    agreement = t0 * (g0 - p0 * t0) + t1 * (g1 - p1 * t1)
                                    agreement = agreement + t2 * (g2 - p2 * t2) + t3 * (g3 - p3 * t3)
                                    store(logits, logit + lane, load(logits, logit + lane) + agreement)

            # The softmax backwards.
            for b in range(problems):
                n, logit = block + b, b * parents * TILE
                at = n * shape.children + child
                read_numbers(activations, at, count, a, one, zero)
                read_numbers(to_normaliser, at, count, to_z, zero, zero)
                if given(normaliser):
                    read_numbers(normaliser, at, count, z, zero, infinity)
                for lane in range(0, count, WIDTH):
                    activation = load(a, lane)
                    share_out(logits, logit, parents, lane, z, z, given(normaliser), fill(one), zero)
                    expected = fill(zero)
                    for j in range(parents):
                        row = logit + j * TILE + lane
                        expected = expected + load(logits, row) * load(shares, row)
                    store(to_a, lane, expected)
                    common = fill(zero)
                    if not given(to_given):
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
                    if given(to_given):
                        put(to_given, at + lane, zero if constant_shares else -get(a, lane) * get(to_a, lane))
                for j in range(parents):
                    added = fill(zero)
                    for lane in range(0, count, WIDTH):
                        added = added + load(logits, logit + j * TILE + lane)
                    put(to_bias, n * parents + j, get(to_bias, n * parents + j) + total(added))

            # The gradients y of the votes, and what follows from them for poses, weights and parents.
            for j in range(parents):
                for q in range(quads):
                    weight = (j * quads + q) * depth * QUAD * TILE
                    for b in range(problems):
                        logit = (b * parents + j) * TILE
                        for r in range(rows):
                            at = (((block + b) * parents + j) * rows + r) * padded + q * QUAD
                            m0, m1, m2, m3 = four(mean, at, zero)
                            g0, g1, g2, g3 = four(direction, at, zero)
                            p0, p1, p2, p3 = four(precision, at, zero)
                            c0, c1, c2, c3 = four(centre, at, zero)
                            f0, f1, f2, f3 = four(first, at, zero)
                            s0, s1, s2, s3 = four(second, at, zero)
                            s0, s1, s2, s3 = s0 * two, s1 * two, s2 * two, s3 * two
                            k0, k1, k2, k3 = fill(zero), fill(zero), fill(zero), fill(zero)  # sums of gl t
                            x0, x1, x2, x3 = fill(zero), fill(zero), fill(zero), fill(zero)  # sums of gl t^2
                            pose = (b * rows + r) * depth * TILE
                            shift = ((b * rows + r) * padded + q * QUAD) * TILE
                            for lane in range(0, count, WIDTH):
                                v0, v1, v2, v3 = four_votes(
                                    u, pose + lane, w, weight + lane, o, shift + lane, depth, zero
                                )
                                share, gl = load(shares, logit + lane), load(logits, logit + lane)
                                y0, y1 = share * (f0 + s0 * (v0 - c0)), share * (f1 + s1 * (v1 - c1))
                                y2, y3 = share * (f2 + s2 * (v2 - c2)), share * (f3 + s3 * (v3 - c3))
                                if quadratic and not constant_shares:
                                    t0, t1, t2, t3 = v0 - m0, v1 - m1, v2 - m2, v3 - m3
                                    y0, y1 = y0 + gl * (g0 - p0 * t0), y1 + gl * (g1 - p1 * t1)
                                    y2, y3 = y2 + gl * (g2 - p2 * t2), y3 + gl * (g3 - p3 * t3)
                                    l0, l1, l2, l3 = gl * t0, gl * t1, gl * t2, gl * t3
                                    k0, k1, k2, k3 = k0 + l0, k1 + l1, k2 + l2, k3 + l3
                                    x0, x1, x2, x3 = x0 + l0 * t0, x1 + l1 * t1, x2 + l2 * t2, x3 + l3 * t3
                                for d in range(depth):
                                    row = pose + d * TILE + lane
                                    at_w = weight + d * QUAD * TILE + lane
                                    back = y0 * load(w, at_w) + y1 * load(w, at_w + TILE)
                                    back = back + y2 * load(w, at_w + 2 * TILE) + y3 * load(w, at_w + 3 * TILE)
                                    store(to_u, row, load(to_u, row) + back)
                                    child_pose = load(u, row)
                                    store(to_w, at_w, load(to_w, at_w) + child_pose * y0)
                                    store(to_w, at_w + TILE, load(to_w, at_w + TILE) + child_pose * y1)
                                    store(to_w, at_w + 2 * TILE, load(to_w, at_w + 2 * TILE) + child_pose * y2)
                                    store(to_w, at_w + 3 * TILE, load(to_w, at_w + 3 * TILE) + child_pose * y3)
                                if given(to_offset):
                                    row = shift + lane
                                    store(to_o, row, load(to_o, row) + y0)
                                    store(to_o, row + TILE, load(to_o, row + TILE) + y1)
                                    store(to_o, row + 2 * TILE, load(to_o, row + 2 * TILE) + y2)
                                    store(to_o, row + 3 * TILE, load(to_o, row + 3 * TILE) + y3)
                            if given(direction):
                                add_totals(to_direction, at, k0, k1, k2, k3)
                            if given(mean):
                                add_totals(to_mean, at, p0 * k0, p1 * k1, p2 * k2, p3 * k3)
                                minus = fill(scratch.dtype.type(-0.5))
                                add_totals(to_precision, at, minus * x0, minus * x1, minus * x2, minus * x3)

            for b in range(problems):
                n, start_u, start_o = block + b, b * rows * depth * TILE, b * rows * padded * TILE
                write_children(to_u, start_u, depth, to_poses, shape, depth, n, child, count)
                if given(to_offset):
                    write_children(to_o, start_o, padded, to_offset, shape, shape.columns, n, child, count)
        write_weights(to_w, pointer(gradients.weights), shape, child, count)
