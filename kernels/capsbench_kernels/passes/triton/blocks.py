"""Steps of the vote pass on blocks in Triton, which the kernels of `passes.py` share (formulas: `autograd.py`).

A block has five axes: ``[problems a thread, R, E, problems, parents]`` or ``[1, R, E, pairs, lanes]``. The first three lie within
a thread, so a sum over them needs no exchange between threads. An absent term of the formulas is None: the compiler leaves out
its code. Names: see `passes.py`.
"""

# The checkers do not know Triton's language; sizes have the names of the formulas.
# mypy: ignore-errors
# ruff: noqa: E741, N803, RET505

import triton
import triton.language as tl

from capsbench_kernels.passes.triton.addresses import address_of, read_block, read_rows, store_block

UNROLLED = tl.constexpr(16)
"""Longest row of a pose for which loops over it are unrolled. A longer one would take minutes to compile."""


@triton.jit
def multiply_rows(b_poses, b_weights, D: tl.constexpr):
    """Returns the sum over D of pose times weight, from tuples of D blocks each."""
    b_votes = b_poses[0] * b_weights[0]
    for d in tl.static_range(1, D):
        b_votes += b_poses[d] * b_weights[d]
    return b_votes


@triton.jit
def compute_votes(p_poses, p_weights, stride, p_offset, o_offset, D: tl.constexpr, dtype: tl.constexpr):
    """Returns the votes V = u @ W (+ o) of poses and weights at two blocks of pointers; ``stride`` is that of W over D."""
    if D <= UNROLLED:
        b_votes = multiply_rows(read_rows(p_poses, 1, D, dtype), read_rows(p_weights, stride, D, dtype), D)
    else:
        b_votes = read_block(p_poses, 0, dtype) * read_block(p_weights, 0, dtype)
        for d in range(1, D):
            b_votes += read_block(p_poses, d, dtype) * read_block(p_weights, d * stride, dtype)
    return add_offset(b_votes, p_offset, o_offset, dtype)


@triton.jit
def add_offset(b_votes, p_offset, o_offset, dtype: tl.constexpr):
    """Returns the votes with the offset added, if there is one."""
    if p_offset is not None:
        b_votes += read_block(p_offset, o_offset, dtype)
    return b_votes


@triton.jit
def sum_values(b_values, LANES: tl.constexpr):
    """Returns the sum over the R*E values of a vote, of which each of LANES neighbouring threads holds a part."""
    b_sum = tl.sum(tl.sum(b_values, 1, keep_dims=True), 2, keep_dims=True)
    if LANES > 1:
        # Every thread of the vote needs the sum, so the total over the threads goes back to all of them.
        b_sum = tl.broadcast_to(tl.sum(b_sum, 4, keep_dims=True), b_sum.shape)
    return b_sum


@triton.jit
def sum_parents(b_values):
    """Returns the sum over columns and parents: a row of a pose has a part in each of them."""
    return tl.sum(tl.sum(b_values, 2, keep_dims=True), 4, keep_dims=True)


@triton.jit
def subtract_point(b_votes, b_point):
    """Returns the votes relative to a point, or as they are if there is none."""
    if b_point is None:
        return b_votes
    else:
        return b_votes - b_point


@triton.jit
def compute_logits(b_votes, b_from_mean, b_bias, b_direction, b_precision, b_zero, LANES: tl.constexpr):
    """Returns bias + <direction, V> - 1/2 sum_h precision_h (V_h - mean_h)^2, of the terms that there are."""
    b_logits = b_zero
    if b_bias is not None:
        b_logits = b_bias
    if b_direction is not None:
        b_logits += sum_values(b_votes * b_direction, LANES)
    if b_precision is not None:
        b_logits -= 0.5 * sum_values(b_from_mean * b_from_mean * b_precision, LANES)
    return b_logits


@triton.jit
def compute_problem_votes(
    p_poses, p_weights, p_offset, o_pose, o_weight, o_offset, i_slot, b_mean, b_bias, b_direction, b_precision, b_zero,
    J: tl.constexpr, E: tl.constexpr, D: tl.constexpr, dtype: tl.constexpr,
):  # fmt: skip
    """Returns a child's votes for all parents, the votes relative to the mean, and the logits, -inf for padded parents."""
    b_votes = compute_votes(
        address_of(p_poses, o_pose), address_of(p_weights, o_weight), E * J, p_offset, o_offset, D, dtype
    )
    b_from_mean = subtract_point(b_votes, b_mean)
    b_logits = compute_logits(b_votes, b_from_mean, b_bias, b_direction, b_precision, b_zero, 1)
    return b_votes, b_from_mean, tl.where(i_slot < J, b_logits, float("-inf"))


@triton.jit
def compute_softmax(b_logits):
    """Returns the shares over the parents, the largest logit, and the sum of the powers relative to it."""
    b_top = tl.max(b_logits, 4, keep_dims=True)
    b_share = tl.exp(b_logits - b_top)
    b_total = tl.sum(b_share, 4, keep_dims=True)
    return b_share * (1.0 / b_total), b_top, b_total  # one division a child, instead of one a parent


@triton.jit
def compute_weight_gradient(b_g0, b_g1, b_g2, b_from_centre, LANES: tl.constexpr):
    """Returns gw = g0 + <g1, D> + <g2, D^2> with D = V - c, the gradient of a child's weight w = a r."""
    return b_g0 + sum_values((b_g1 + b_g2 * b_from_centre) * b_from_centre, LANES)


@triton.jit
def compute_vote_gradient(b_weight, b_gl, b_from_mean, b_from_centre, b_direction, b_precision, b_g1, b_g2):
    """Returns gV: through the moments, with weight a r, and through the logits, unless ``b_gl`` is None."""
    b_gv = b_weight * (b_g1 + 2.0 * b_g2 * b_from_centre)
    if b_gl is not None:
        if b_direction is not None:
            b_gv += b_gl * b_direction
        if b_precision is not None:
            b_gv -= b_gl * (b_precision * b_from_mean)
    return b_gv


@triton.jit
def locate_problems(
    N, J: tl.constexpr, R: tl.constexpr, E: tl.constexpr,
    T: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr, BR: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """Returns a program's tile of problems and parents.

    It is made of clamped ids of problem, row, column and parent, the parent's slot in the tile, and masks of the parents and
    of the values of votes that are not padding.
    """
    i_t = tl.arange(0, T)[:, None, None, None, None]
    i_r = tl.arange(0, BR)[None, :, None, None, None]
    i_e = tl.arange(0, BE)[None, None, :, None, None]
    i_n = (tl.program_id(0) * T + i_t) * BN + tl.arange(0, BN)[None, None, None, :, None]
    i_j = tl.arange(0, BJ)[None, None, None, None, :]
    m_parent = (i_n < N) & (i_j < J)
    m_value = m_parent & (i_r < R) & (i_e < E)
    i_n = tl.minimum(i_n, N - 1).to(tl.int64)
    return i_n, tl.minimum(i_r, R - 1), tl.minimum(i_e, E - 1), tl.minimum(i_j, J - 1), i_j, m_parent, m_value


@triton.jit
def locate_belief(i_n, i_r, i_e, i_j, J: tl.constexpr, R: tl.constexpr, E: tl.constexpr):
    """Returns the offsets of a tile in ``[N, J]``, in ``[N, H, J]`` of the belief, and in ``[N, J, H]`` of the results."""
    o_parent = i_n * J + i_j
    return o_parent, i_n * (R * E * J) + (i_r * E + i_e) * J + i_j, o_parent * (R * E) + i_r * E + i_e


@triton.jit
def locate_child(
    i, i_n, i_r, i_e, i_j, o_thread, offset_stride, I,
    J: tl.constexpr, R: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    """Returns the offsets of child i in ``[N, I]``, in its poses, in its weights ``[I, D, E, J]`` and in the votes' offset."""
    o_child = i_n * I + i + o_thread
    o_pose = o_child * (R * D) + i_r * D
    o_weight = i * (D * E * J) + (i_e * J + i_j + o_thread)
    return o_child, o_pose, o_weight, i_n * offset_stride + i * (R * E) + i_r * E + i_e + o_thread


@triton.jit
def store_pose_gradient(p_out, p_weights, b_gv, b_zero, o_pose, o_weight, m_row, d, stride, dtype: tl.constexpr):
    """Writes column d of a child's gu = sum_j gV W^T."""
    b_to_pose = sum_parents(b_gv * read_block(p_weights, o_weight + d * stride, dtype)) + b_zero
    store_block(p_out, o_pose + d, b_to_pose, m_row)
