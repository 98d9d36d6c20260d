"""The vote pass in Triton: three kernels that recompute the votes in registers (formulas: `autograd.py`).

- ``forward_kernel``: a program takes a few problems and a stretch of children. It holds the belief about the parents and
  their moments in registers, and loops over the children.
- ``backward_poses_kernel``: the same loop, for the gradients of poses, activations, offset and belief.
- ``backward_weights_kernel``: a program takes pairs of a child and a parent. It holds their weights and the weights' gradient
  in registers, and loops over the problems. The softmax's denominator and its gradient are known by then, so the parents of a
  child need not be in one program: nothing is padded, and no thread waits for another.

A block has five axes, ``[problems a thread, R, E, problems, parents]`` or ``[1, R, E, pairs, lanes]``. Threads are spread
over the last two; the first three stay within a thread. So a vote of H = R*E values lies in the registers of one thread (of
``LANES`` threads), and sums over it need no exchange. A weight that is read serves at least R votes. Triton derives the layout
from the addresses, and the hints of `addresses.py` lead it to this one. Weights ``[I, D, E, J]`` and belief ``[N, H, J]`` have
the parents last, so neighbouring threads read neighbouring addresses. A compiled kernel of the papers' layers uses no shared
memory; the tests check this.

Offsets are clamped, not masked: a masked read costs a second instruction. A padded problem repeats the last one and is not
stored. A padded parent gets the logit -inf, and a padded value of a vote a belief of 0.

If logits are large, ``top + log(total)`` rounds to ``top``, and shares taken from that log-normaliser would not sum to 1. So
``backward_poses_kernel``, which holds all parents of a child, computes the softmax again. It leaves ``top`` and ``log(total)`` as
two tensors to ``backward_weights_kernel``. With CONSTANT_SHARES the shares are constants: no gradient flows through the logits.

Names: ``b_`` block, ``p_`` pointer, ``o_`` offset, ``m_`` mask, ``i_`` id. ``b_gw``, ``b_ga``, ``b_gl`` and ``b_gv``
are gradients by their names in `autograd.py`; ``b_gz`` is its q, the gradient of the log-normaliser.
"""

# The checkers do not know Triton's language; sizes have the names of the formulas.
# mypy: ignore-errors
# ruff: noqa: E741, N803, RUF005

import triton
import triton.language as tl

from capsbench_kernels.passes.triton.addresses import (
    address_of,
    load_block,
    read_block,
    read_rows,
    store_block,
    zeros_of_threads,
)
from capsbench_kernels.passes.triton.blocks import (
    UNROLLED,
    add_offset,
    compute_logits,
    compute_problem_votes,
    compute_softmax,
    compute_vote_gradient,
    compute_votes,
    compute_weight_gradient,
    locate_belief,
    locate_child,
    locate_problems,
    multiply_rows,
    store_pose_gradient,
    subtract_point,
)


@triton.jit(do_not_specialize=["N", "I", "span", "offset_stride"])
def forward_kernel(
    p_poses, p_weights, p_activations, p_offset, p_bias, p_direction, p_mean, p_precision, p_centre, p_given,
    p_mass, p_first, p_second, p_normaliser,
    N, I, span, offset_stride,
    J: tl.constexpr, R: tl.constexpr, D: tl.constexpr, E: tl.constexpr, CENTRE_IS_MEAN: tl.constexpr,
    T: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr, BR: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = p_mass.dtype.element_ty
    i_n, i_r, i_e, i_j, i_slot, m_parent, m_value = locate_problems(N, J, R, E, T, BN, BJ, BR, BE)
    o_parent, o_value, o_out = locate_belief(i_n, i_r, i_e, i_j, J, R, E)
    # The belief stays in registers for the whole loop. A padded value reads 0, and adds nothing to a logit.
    b_bias = None if p_bias is None else load_block(p_bias, o_parent, m_parent, dtype)
    b_direction = None if p_direction is None else load_block(p_direction, o_value, m_value, dtype)
    b_mean = None if p_mean is None else load_block(p_mean, o_value, m_value, dtype)
    b_precision = None if p_precision is None else load_block(p_precision, o_value, m_value, dtype)
    b_centre = None if p_centre is None else load_block(p_centre, o_value, m_value, dtype)
    b_zero = tl.zeros([T, 1, 1, BN, BJ], dtype)
    b_mass = tl.zeros([T, 1, 1, BN, BJ], dtype)
    b_first = tl.zeros([T, BR, BE, BN, BJ], dtype)
    b_second = tl.zeros([T, BR, BE, BN, BJ], dtype)
    o_thread = zeros_of_threads(BN, BJ)
    m_first = m_parent & (i_slot == 0)  # one parent's thread writes what belongs to a child

    begin = tl.program_id(1).to(tl.int64) * span
    for i in range(begin, tl.minimum(begin + span, I)):
        o_child, o_pose, o_weight, o_offset = locate_child(
            i, i_n, i_r, i_e, i_j, o_thread, offset_stride, I, J, R, D, E
        )
        b_votes, b_from_mean, b_logits = compute_problem_votes(
            p_poses, p_weights, p_offset, o_pose, o_weight, o_offset, i_slot,
            b_mean, b_bias, b_direction, b_precision, b_zero, J, E, D, dtype,
        )  # fmt: skip
        # Shares r_ij over the parents.
        if p_given is not None:
            b_share = tl.exp(b_logits - read_block(p_given, o_child, dtype))
        else:
            b_share, b_top, b_total = compute_softmax(b_logits)
            b_normaliser = b_top + tl.log(b_total) + b_zero
            store_block(p_normaliser, o_child, b_normaliser, m_first)
        # Weights w_ij = a_i r_ij, and what the vote adds to the moments S0, S1 and S2.
        if p_activations is not None:
            b_share *= read_block(p_activations, o_child, dtype)
        b_from_centre = b_from_mean if CENTRE_IS_MEAN else subtract_point(b_votes, b_centre)
        b_part = b_share * b_from_centre
        b_mass += b_share
        b_first += b_part
        b_second += b_part * b_from_centre

    # Each split of the children writes partial sums of its own; the host adds them in a fixed order.
    o_split = tl.program_id(1).to(tl.int64) * N * J
    store_block(p_mass, o_split + o_parent, b_mass, m_parent)
    store_block(p_first, o_split * (R * E) + o_out, b_first, m_value)
    store_block(p_second, o_split * (R * E) + o_out, b_second, m_value)


@triton.jit(do_not_specialize=["N", "I", "span", "offset_stride"])
def backward_poses_kernel(
    p_poses, p_weights, p_activations, p_offset, p_bias, p_direction, p_mean, p_precision, p_centre, p_given,
    p_mass_gradient, p_first_gradient, p_second_gradient, p_normaliser_gradient,
    p_poses_out, p_activations_out, p_offset_out, p_bias_out, p_direction_out, p_mean_out, p_precision_out,
    p_normaliser_out, p_top_out, p_log_total_out,
    N, I, span, offset_stride,
    J: tl.constexpr, R: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
    CENTRE_IS_MEAN: tl.constexpr, CONSTANT_SHARES: tl.constexpr,
    T: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr, BR: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = p_poses_out.dtype.element_ty
    i_n, i_r, i_e, i_j, i_slot, m_parent, m_value = locate_problems(N, J, R, E, T, BN, BJ, BR, BE)
    o_parent, o_value, o_out = locate_belief(i_n, i_r, i_e, i_j, J, R, E)
    # The belief stays in registers for the whole loop. A padded value reads 0, and adds nothing to a logit.
    b_bias = None if p_bias is None else load_block(p_bias, o_parent, m_parent, dtype)
    b_direction = None if p_direction is None else load_block(p_direction, o_value, m_value, dtype)
    b_mean = None if p_mean is None else load_block(p_mean, o_value, m_value, dtype)
    b_precision = None if p_precision is None else load_block(p_precision, o_value, m_value, dtype)
    b_centre = None if p_centre is None else load_block(p_centre, o_value, m_value, dtype)
    b_g0 = load_block(p_mass_gradient, o_parent, m_parent, dtype)
    b_g1 = load_block(p_first_gradient, o_value, m_value, dtype)
    b_g2 = load_block(p_second_gradient, o_value, m_value, dtype)
    b_zero = tl.zeros([T, 1, 1, BN, BJ], dtype)
    b_to_bias = b_zero
    b_to_direction = tl.zeros([T, BR, BE, BN, BJ], dtype)
    b_to_mean = tl.zeros([T, BR, BE, BN, BJ], dtype)
    b_to_precision = tl.zeros([T, BR, BE, BN, BJ], dtype)
    o_thread = zeros_of_threads(BN, BJ)
    m_first = m_parent & (i_slot == 0)  # one parent's thread writes what belongs to a child
    m_row = m_first & (tl.arange(0, BR)[None, :, None, None, None] < R)

    begin = tl.program_id(1).to(tl.int64) * span
    for i in range(begin, tl.minimum(begin + span, I)):
        o_child, o_pose, o_weight, o_offset = locate_child(
            i, i_n, i_r, i_e, i_j, o_thread, offset_stride, I, J, R, D, E
        )
        b_votes, b_from_mean, b_logits = compute_problem_votes(
            p_poses, p_weights, p_offset, o_pose, o_weight, o_offset, i_slot,
            b_mean, b_bias, b_direction, b_precision, b_zero, J, E, D, dtype,
        )  # fmt: skip
        b_from_centre = b_from_mean if CENTRE_IS_MEAN else subtract_point(b_votes, b_centre)
        # Shares r_ij over the parents.
        if p_given is not None:
            b_share = tl.exp(b_logits - read_block(p_given, o_child, dtype))
        else:
            b_share, b_top, b_total = compute_softmax(b_logits)
            store_block(p_top_out, o_child, b_top + b_zero, m_first)
            store_block(p_log_total_out, o_child, tl.log(b_total) + b_zero, m_first)
        # The softmax backwards: gw_ij, ga_i = sum_j r_ij gw_ij, and gl_ij = r_ij (a_i gw_ij + q_i).
        b_weight = b_share
        if p_activations is not None:
            b_activation = read_block(p_activations, o_child, dtype)
            b_weight *= b_activation
        b_gl = None
        if p_activations is not None or not CONSTANT_SHARES:
            b_gw = compute_weight_gradient(b_g0, b_g1, b_g2, b_from_centre, 1)
            b_ga = tl.sum(b_share * b_gw, 4, keep_dims=True) + b_zero
            if p_activations is not None:
                store_block(p_activations_out, o_child, b_ga, m_first)
                b_ga *= b_activation
            if not CONSTANT_SHARES:
                b_gz = -b_ga
                b_gl = b_weight * b_gw
                if p_given is None:
                    b_gz += read_block(p_normaliser_gradient, o_child, dtype)
                    b_gl += b_share * b_gz
                store_block(p_normaliser_out, o_child, b_gz, m_first)
        b_gv = compute_vote_gradient(b_weight, b_gl, b_from_mean, b_from_centre, b_direction, b_precision, b_g1, b_g2)
        # The gradients of the belief are sums over the children, and stay in registers.
        if p_bias_out is not None:
            b_to_bias += b_gl
        if p_direction_out is not None:
            b_to_direction += b_gl * b_votes
        if p_mean_out is not None:
            b_step = b_gl * b_from_mean
            b_to_mean += b_step
            b_to_precision += b_step * b_from_mean
        # The poses' gradient reads the weights again: the L1 cache has them, and keeping them would take D*E registers.
        if D <= UNROLLED:
            for d in tl.static_range(D):
                store_pose_gradient(p_poses_out, p_weights, b_gv, b_zero, o_pose, o_weight, m_row, d, E * J, dtype)
        else:
            for d in range(D):
                store_pose_gradient(p_poses_out, p_weights, b_gv, b_zero, o_pose, o_weight, m_row, d, E * J, dtype)
        if p_offset_out is not None:
            b_to_offset = tl.sum(b_gv, 4, keep_dims=True) + b_zero
            store_block(p_offset_out, o_child * (R * E) + i_r * E + i_e, b_to_offset, m_value & m_first)

    o_split = tl.program_id(1).to(tl.int64) * N * J
    if p_bias_out is not None:
        store_block(p_bias_out, o_split + o_parent, b_to_bias, m_parent)
    if p_direction_out is not None:
        store_block(p_direction_out, o_split * (R * E) + o_out, b_to_direction, m_value)
    if p_mean_out is not None:
        store_block(p_mean_out, o_split * (R * E) + o_out, b_to_mean * b_precision, m_value)
        store_block(p_precision_out, o_split * (R * E) + o_out, -0.5 * b_to_precision, m_value)


@triton.jit(do_not_specialize=["N", "I", "span", "offset_stride"])
def backward_weights_kernel(
    p_poses, p_weights, p_activations, p_offset, p_bias, p_direction, p_mean, p_precision, p_centre,
    p_top, p_log_total,  # p_top: the given log-normaliser, if p_log_total is None
    p_mass_gradient, p_first_gradient, p_second_gradient, p_normaliser_gradient,
    p_weights_out,
    N, I, span, offset_stride,
    J: tl.constexpr, R: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
    CENTRE_IS_MEAN: tl.constexpr, CONSTANT_SHARES: tl.constexpr,
    BP: tl.constexpr, LANES: tl.constexpr, BR: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = p_weights_out.dtype.element_ty
    o_thread = zeros_of_threads(BP, LANES)
    i_pair = tl.program_id(0).to(tl.int64) * BP + tl.arange(0, BP)[None, None, None, :, None]
    i_r = tl.arange(0, BR)[None, :, None, None, None]
    i_e = tl.arange(0, BE)[None, None, :, None, None] * LANES + tl.arange(0, LANES)[None, None, None, None, :]
    m_value = (i_r < R) & (i_e < E)
    m_weight = (i_pair < I * J) & (i_e < E)
    o_pair = tl.minimum(i_pair, I * J - 1)
    i_i = o_pair // J
    i_j = o_pair % J
    o_r = tl.minimum(i_r, R - 1)
    o_e = tl.minimum(i_e, E - 1)
    o_value = o_r * (E * J) + o_e * J + i_j  # the belief lies parents last, [N, H, J]
    o_weight = i_i * (D * E * J) + o_e * J + i_j
    # The gradient of BD rows of the weights: of all D, if D is small. Else the grid's third axis goes over the rest.
    i_d = tl.program_id(2) * BD + tl.zeros([1, 1, 1, 1, 1], tl.int32)
    if D == BD:
        b_weights = read_rows(address_of(p_weights, o_weight), E * J, D, dtype)
    b_out = ()
    for _ in tl.static_range(BD):
        b_out = b_out + (tl.zeros([1, 1, BE, BP, LANES], dtype),)
    b_zero = tl.zeros([1, 1, 1, BP, LANES], dtype)

    begin = tl.program_id(1).to(tl.int64) * span
    for n in range(begin, tl.minimum(begin + span, N)):
        o_child = n * I + i_i + o_thread
        o_parent = n * J + i_j + o_thread
        o_belief = n * (J * R * E) + o_value
        o_offset = n * offset_stride + i_i * (R * E) + o_r * E + o_e + o_thread
        o_pose = o_child * (R * D) + o_r * D
        if D == BD:
            # The weights and poses in registers serve both the vote and the gradient.
            b_poses = read_rows(address_of(p_poses, o_pose), 1, D, dtype)
            b_votes = add_offset(multiply_rows(b_poses, b_weights, D), p_offset, o_offset, dtype)
        else:
            b_votes = compute_votes(
                address_of(p_poses, o_pose), address_of(p_weights, o_weight), E * J, p_offset, o_offset, D, dtype
            )
            b_poses = ()
            for d in tl.static_range(BD):
                b_poses = b_poses + (read_block(p_poses, o_pose + tl.minimum(i_d + d, D - 1), dtype),)
        b_direction = None if p_direction is None else load_block(p_direction, o_belief, m_value, dtype)
        b_mean = None if p_mean is None else load_block(p_mean, o_belief, m_value, dtype)
        b_precision = None if p_precision is None else load_block(p_precision, o_belief, m_value, dtype)
        b_centre = None if p_centre is None else load_block(p_centre, o_belief, m_value, dtype)
        b_g1 = load_block(p_first_gradient, o_belief, m_value, dtype)
        b_g2 = load_block(p_second_gradient, o_belief, m_value, dtype)
        b_bias = None if p_bias is None else read_block(p_bias, o_parent, dtype)
        b_from_mean = subtract_point(b_votes, b_mean)
        b_from_centre = b_from_mean if CENTRE_IS_MEAN else subtract_point(b_votes, b_centre)
        b_logits = compute_logits(b_votes, b_from_mean, b_bias, b_direction, b_precision, b_zero, LANES)
        b_logits -= read_block(p_top, o_child, dtype)
        if p_log_total is not None:
            # No logit exceeds the top. One of 1e10, summed here in another order, could by rounding: so it is clamped.
            b_logits = tl.minimum(b_logits, 0.0) - read_block(p_log_total, o_child, dtype)
        b_share = tl.exp(b_logits)
        b_weight = b_share
        if p_activations is not None:
            b_weight *= read_block(p_activations, o_child, dtype)
        b_gl = None
        if not CONSTANT_SHARES:
            b_gw = compute_weight_gradient(
                read_block(p_mass_gradient, o_parent, dtype), b_g1, b_g2, b_from_centre, LANES
            )
            b_gl = b_weight * b_gw
            if p_log_total is not None:
                b_gl += b_share * read_block(p_normaliser_gradient, o_child, dtype)
        b_gv = compute_vote_gradient(b_weight, b_gl, b_from_mean, b_from_centre, b_direction, b_precision, b_g1, b_g2)
        # gW_ij = sum_n u_i^T gV_ij; the sum over the R rows of a pose is within the thread.
        b_sum = ()
        for d in tl.static_range(BD):
            b_sum = b_sum + (b_out[d] + tl.sum(b_poses[d] * b_gv, 1, keep_dims=True),)
        b_out = b_sum

    o_out = tl.program_id(1).to(tl.int64) * I * (J * D * E) + o_pair * (D * E) + o_e
    for d in tl.static_range(BD):
        store_block(p_weights_out, o_out + (i_d + d) * E, b_out[d], m_weight & (i_d + d < D))
