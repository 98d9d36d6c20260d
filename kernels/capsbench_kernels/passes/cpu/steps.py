"""Steps of the vote pass on tiles, which the forward and the backward kernel of `passes.py` share.

A name with a suffix 0 to 3 is one of the four columns of a quad; every such value is a `Lanes` of 16 children.
"""

from __future__ import annotations

from capsbench_kernels.passes.cpu.lanes import WIDTH, exp, fill, get, is_given, load, maximum, put, store, sum_lanes
from capsbench_kernels.passes.cpu.tiles import QUAD, TILE, fill_rows, inlined


@inlined
def add_lanes(tile, lane, lanes):
    """Adds 16 numbers to those of a tile from ``lane`` on."""
    store(tile, lane, load(tile, lane) + lanes)


@inlined
def add_four(tile, lane, a0, a1, a2, a3):
    """Adds four columns to four neighbouring rows of a tile."""
    add_lanes(tile, lane, a0)
    add_lanes(tile, lane + TILE, a1)
    add_lanes(tile, lane + 2 * TILE, a2)
    add_lanes(tile, lane + 3 * TILE, a3)


@inlined
def fill_four(values, at, zero):
    """Returns four numbers of a parent, each in every lane; zeros if there is no such tensor."""
    if is_given(values):
        return fill(get(values, at)), fill(get(values, at + 1)), fill(get(values, at + 2)), fill(get(values, at + 3))
    return fill(zero), fill(zero), fill(zero), fill(zero)


@inlined
def compute_votes(poses, pose, weights, weight, offset, shift, depth, zero):
    """Returns four columns of one row of the votes of 16 children: V = u @ W (+ o)."""
    if is_given(offset):
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
def fill_logits(bias, direction, mean, shape, n, logits, start, zero):
    """Fills the logits of problem n with their part that no vote changes: bias_j + <direction_j, m_j>."""
    values = shape.rows * shape.quads * QUAD
    for j in range(shape.parents):
        logit = get(bias, n * shape.parents + j) if is_given(bias) else zero
        if is_given(direction) and is_given(mean):
            for h in range((n * shape.parents + j) * values, (n * shape.parents + j + 1) * values):
                logit += get(direction, h) * get(mean, h)
        fill_rows(logits, start + j * TILE, 1, logit)


@inlined
def add_logits(logits, lane, t0, t1, t2, t3, g0, g1, g2, g3, p0, p1, p2, p3):
    """Adds a quad's part of the logits: ``sum_h t_h (g_h - p_h t_h)``, with p half the precision.

    The distance t = v - m serves both terms, as <direction, v> = <direction, m> + <direction, t>; `fill_logits` has the first.
    """
    agreement = t0 * (g0 - p0 * t0) + t1 * (g1 - p1 * t1)
    agreement = agreement + t2 * (g2 - p2 * t2) + t3 * (g3 - p3 * t3)
    add_lanes(logits, lane, agreement)


@inlined
def softmax_shares(logits, logit, parents, lane, top_row, sum_row, normalised, scale, zero):
    """Turns the logits of 16 children into shares times ``scale``.

    The shares are the softmax over the parents. Its largest logit goes into ``top_row``, the sum of its powers into
    ``sum_row``. With ``normalised``, ``top_row`` holds each child's log-normaliser, which then takes the place of both.
    """
    if normalised:
        top = load(top_row, lane)
    else:
        top = load(logits, logit + lane)
        for j in range(1, parents):
            top = maximum(top, load(logits, logit + j * TILE + lane))
    # Relative to the largest logit no power overflows, and their sum is at least 1.
    powers = fill(zero)
    for j in range(parents):
        row = logit + j * TILE + lane
        power = exp(load(logits, row) - top)
        powers = powers + power
        store(logits, row, power)
    if not normalised:
        scale = scale / powers  # one division a child, instead of one a parent
        store(top_row, lane, top)
        store(sum_row, lane, powers)
    for j in range(parents):
        row = logit + j * TILE + lane
        store(logits, row, load(logits, row) * scale)


@inlined
def add_row_sum(tile, row, count, target, at, zero):
    """Adds the sum of a tile's row over its ``count`` children to ``target[at]``."""
    partial = fill(zero)
    for lane in range(0, count, WIDTH):
        partial = partial + load(tile, row + lane)
    put(target, at, get(target, at) + sum_lanes(partial))


@inlined
def add_vote_gradients(y0, y1, y2, y3, u, to_u, pose, w, to_w, weight, depth):
    """Adds what the gradients y of four columns of the votes send to poses and weights: gu = y W^T and gW = u^T y."""
    for d in range(depth):
        row = pose + d * TILE
        at_w = weight + d * QUAD * TILE
        to_pose = y0 * load(w, at_w) + y1 * load(w, at_w + TILE)
        to_pose = to_pose + y2 * load(w, at_w + 2 * TILE) + y3 * load(w, at_w + 3 * TILE)
        add_lanes(to_u, row, to_pose)
        child_pose = load(u, row)
        add_four(to_w, at_w, child_pose * y0, child_pose * y1, child_pose * y2, child_pose * y3)
