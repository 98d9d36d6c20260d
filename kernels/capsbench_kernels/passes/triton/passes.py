"""The vote pass in Triton: three kernels that recompute the votes in registers (formulas: `autograd.py`).

- ``forward_kernel``: a program takes a few problems and a stretch of children. It holds the belief about the parents and
  their moments in registers; the children stream past.
- ``backward_poses_kernel``: the same walk, for the gradients of poses, activations, offset and belief.
- ``backward_weights_kernel``: the walk turned round. A program takes pairs of a child and a parent. It holds their weights
  and the weights' gradient in registers; the problems stream past. The parents of a child need not meet here, for the
  softmax's denominator and its gradient are known by then: nothing is padded, and no thread waits for another.

A block has five axes, ``[problems a thread, R, E, problems, parents]`` or ``[1, R, E, pairs, lanes]``. Threads are spread
over the last two; the first three stay within a thread. So a vote of H = R*E values lies in the registers of one thread (of
``LANES`` threads), and sums over it need no exchange; a weight that is read serves R votes at least. Triton finds a layout for
itself, from the addresses; `addresses.py` has it find that one. Neighbouring threads do read neighbouring addresses, as weights
``[I, D, E, J]`` and belief ``[N, H, J]`` have the parents last. A compiled kernel of the papers' layers uses no shared
memory, which the tests hold it to.

Clamped, not masked: a masked read costs a second instruction. A padded problem repeats the last one and is not stored; a
padded parent gets logit -inf; a padded value of a vote meets a belief of 0.

Where logits are large, ``top + log(total)`` rounds to ``top``, and shares taken from that log-normaliser would not sum to 1. So
``backward_poses_kernel``, which has a child's parents together, takes the softmax anew, and leaves ``top`` and ``log(total)``
apart to ``backward_weights_kernel``. CONSTANT_SHARES: the shares count as constants, so that nothing flows through the logits.

Names: ``b_`` block, ``p_`` pointer, ``o_`` offset, ``m_`` mask, ``i_`` id. ``b_gw``, ``b_ga``, ``b_gl`` and ``b_gv``
are gradients by their names in `autograd.py`; ``b_gz`` is its q, all that reaches the log-normaliser.
"""

# Kernels are in Triton's language, of which the checkers know nothing; sizes have the names of the formulas.
# mypy: ignore-errors
# ruff: noqa: E741, N803, RET505, RUF005

import triton
import triton.language as tl

from capsbench_kernels.passes.triton.addresses import at, load, read, read_rows, zeros_of_threads

UNROLLED = tl.constexpr(16)
"""The values of a pose's row up to which a kernel's code is written out for each; for more, it would take minutes to compile."""


@triton.jit
def _products(b_poses, b_weights, D: tl.constexpr):
    b_votes = b_poses[0] * b_weights[0]
    for d in tl.static_range(1, D):
        b_votes += b_poses[d] * b_weights[d]
    return b_votes


@triton.jit
def _votes(poses, weights, stride, p_offset, o_offset, D: tl.constexpr, dtype: tl.constexpr):
    """Votes of the poses at pointers ``poses`` and the weights at pointers ``weights``."""
    if D <= UNROLLED:
        b_votes = _products(read_rows(poses, 1, D, dtype), read_rows(weights, stride, D, dtype), D)
    else:
        b_votes = read(poses, 0, dtype) * read(weights, 0, dtype)
        for d in range(1, D):
            b_votes += read(poses, d, dtype) * read(weights, d * stride, dtype)
    return _placed(b_votes, p_offset, o_offset, dtype)


@triton.jit
def _placed(b_votes, p_offset, o_offset, dtype: tl.constexpr):
    if p_offset is not None:
        b_votes += read(p_offset, o_offset, dtype)
    return b_votes


@triton.jit
def _over_values(b_values, LANES: tl.constexpr):
    """The sum over the R*E values of a vote, of which each of LANES neighbouring threads holds a part."""
    b_sum = tl.sum(tl.sum(b_values, 1, keep_dims=True), 2, keep_dims=True)
    if LANES > 1:
        b_sum = tl.broadcast_to(tl.sum(b_sum, 4, keep_dims=True), b_sum.shape)
    return b_sum


@triton.jit
def _over_parents(b_values):
    """The sum over columns and parents: a row of a pose has a part in each of them."""
    return tl.sum(tl.sum(b_values, 2, keep_dims=True), 4, keep_dims=True)


@triton.jit
def _moved(b_votes, b_point):
    if b_point is None:
        return b_votes
    else:
        return b_votes - b_point


@triton.jit
def _logits(b_votes, b_from_mean, b_bias, b_direction, b_precision, b_zero, LANES: tl.constexpr):
    b_logits = b_zero
    if b_bias is not None:
        b_logits = b_bias
    if b_direction is not None:
        b_logits += _over_values(b_votes * b_direction, LANES)
    if b_precision is not None:
        b_logits -= 0.5 * _over_values(b_from_mean * b_from_mean * b_precision, LANES)
    return b_logits


@triton.jit
def _vote_gradient(b_weight, b_gl, b_from_mean, b_from_centre, b_direction, b_precision, b_g1, b_g2):
    """gV: through the moments, with weight a r, and through the logits, unless ``b_gl`` is None."""
    b_gv = b_weight * (b_g1 + 2.0 * b_g2 * b_from_centre)
    if b_gl is not None:
        if b_direction is not None:
            b_gv += b_gl * b_direction
        if b_precision is not None:
            b_gv -= b_gl * (b_precision * b_from_mean)
    return b_gv


@triton.jit
def _problem_tile(
    N, J: tl.constexpr, R: tl.constexpr, E: tl.constexpr,
    T: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr, BR: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """A tile of problems and parents: clamped ids of problem, row, column and parent, the parent's place in the tile, and
    which parents and values are real."""
    i_t = tl.arange(0, T)[:, None, None, None, None]
    i_r = tl.arange(0, BR)[None, :, None, None, None]
    i_e = tl.arange(0, BE)[None, None, :, None, None]
    i_n = (tl.program_id(0) * T + i_t) * BN + tl.arange(0, BN)[None, None, None, :, None]
    i_j = tl.arange(0, BJ)[None, None, None, None, :]
    m_parent = (i_n < N) & (i_j < J)
    m_value = m_parent & (i_r < R) & (i_e < E)
    i_n = tl.minimum(i_n, N - 1).to(tl.int64)
    return i_n, tl.minimum(i_r, R - 1), tl.minimum(i_e, E - 1), tl.minimum(i_j, J - 1), i_j, m_parent, m_value


@triton.jit(do_not_specialize=["N", "I", "span", "offset_stride"])
def forward_kernel(
    p_poses, p_weights, p_activations, p_offset, p_bias, p_direction, p_mean, p_precision, p_centre, p_given,
    p_mass, p_first, p_second, p_normaliser,
    N, I, span, offset_stride,
    J: tl.constexpr, R: tl.constexpr, D: tl.constexpr, E: tl.constexpr, CENTRE_IS_MEAN: tl.constexpr,
    T: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr, BR: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = p_mass.dtype.element_ty
    i_n, i_r, i_e, i_j, i_slot, m_parent, m_value = _problem_tile(N, J, R, E, T, BN, BJ, BR, BE)
    o_parent = i_n * J + i_j
    o_value = i_n * (R * E * J) + (i_r * E + i_e) * J + i_j
    o_out = o_parent * (R * E) + i_r * E + i_e
    b_bias = None if p_bias is None else load(p_bias, o_parent, m_parent, dtype)
    b_direction = None if p_direction is None else load(p_direction, o_value, m_value, dtype)
    b_mean = None if p_mean is None else load(p_mean, o_value, m_value, dtype)
    b_precision = None if p_precision is None else load(p_precision, o_value, m_value, dtype)
    b_centre = None if p_centre is None else load(p_centre, o_value, m_value, dtype)
    b_zero = tl.zeros([T, 1, 1, BN, BJ], dtype)
    b_mass = tl.zeros([T, 1, 1, BN, BJ], dtype)
    b_first = tl.zeros([T, BR, BE, BN, BJ], dtype)
    b_second = tl.zeros([T, BR, BE, BN, BJ], dtype)
    o_each = zeros_of_threads(BN, BJ)
    m_one = m_parent & (i_slot == 0)

    begin = tl.program_id(1).to(tl.int64) * span
    for i in range(begin, tl.minimum(begin + span, I)):
        o_child = i_n * I + i + o_each
        o_offset = i_n * offset_stride + i * (R * E) + i_r * E + i_e + o_each
        o_pose = o_child * (R * D) + i_r * D
        o_weight = i * (D * E * J) + (i_e * J + i_j + o_each)
        b_votes = _votes(at(p_poses, o_pose), at(p_weights, o_weight), E * J, p_offset, o_offset, D, dtype)
        b_from_mean = _moved(b_votes, b_mean)
        b_logits = _logits(b_votes, b_from_mean, b_bias, b_direction, b_precision, b_zero, 1)
        b_logits = tl.where(i_slot < J, b_logits, float("-inf"))
        if p_given is not None:
            b_share = tl.exp(b_logits - read(p_given, o_child, dtype))
        else:
            b_top = tl.max(b_logits, 4, keep_dims=True)
            b_share = tl.exp(b_logits - b_top)
            b_total = tl.sum(b_share, 4, keep_dims=True)
            b_share *= 1.0 / b_total
            b_normaliser = b_top + tl.log(b_total) + b_zero
            tl.store(at(p_normaliser, o_child), b_normaliser, mask=m_one)
        if p_activations is not None:
            b_share *= read(p_activations, o_child, dtype)
        b_from_centre = b_from_mean if CENTRE_IS_MEAN else _moved(b_votes, b_centre)
        b_part = b_share * b_from_centre
        b_mass += b_share
        b_first += b_part
        b_second += b_part * b_from_centre

    o_split = tl.program_id(1).to(tl.int64) * N * J
    tl.store(at(p_mass, o_split + o_parent), b_mass, mask=m_parent)
    tl.store(at(p_first, o_split * (R * E) + o_out), b_first, mask=m_value)
    tl.store(at(p_second, o_split * (R * E) + o_out), b_second, mask=m_value)


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
    i_n, i_r, i_e, i_j, i_slot, m_parent, m_value = _problem_tile(N, J, R, E, T, BN, BJ, BR, BE)
    o_parent = i_n * J + i_j
    o_value = i_n * (R * E * J) + (i_r * E + i_e) * J + i_j
    o_out = o_parent * (R * E) + i_r * E + i_e
    b_bias = None if p_bias is None else load(p_bias, o_parent, m_parent, dtype)
    b_direction = None if p_direction is None else load(p_direction, o_value, m_value, dtype)
    b_mean = None if p_mean is None else load(p_mean, o_value, m_value, dtype)
    b_precision = None if p_precision is None else load(p_precision, o_value, m_value, dtype)
    b_centre = None if p_centre is None else load(p_centre, o_value, m_value, dtype)
    b_g0 = load(p_mass_gradient, o_parent, m_parent, dtype)
    b_g1 = load(p_first_gradient, o_value, m_value, dtype)
    b_g2 = load(p_second_gradient, o_value, m_value, dtype)
    b_zero = tl.zeros([T, 1, 1, BN, BJ], dtype)
    b_to_bias = b_zero
    b_to_direction = tl.zeros([T, BR, BE, BN, BJ], dtype)
    b_to_mean = tl.zeros([T, BR, BE, BN, BJ], dtype)
    b_to_precision = tl.zeros([T, BR, BE, BN, BJ], dtype)
    o_each = zeros_of_threads(BN, BJ)
    m_one = m_parent & (i_slot == 0)
    m_row = m_one & (tl.arange(0, BR)[None, :, None, None, None] < R)

    begin = tl.program_id(1).to(tl.int64) * span
    for i in range(begin, tl.minimum(begin + span, I)):
        o_child = i_n * I + i + o_each
        o_pose = o_child * (R * D) + i_r * D
        o_offset = i_n * offset_stride + i * (R * E) + i_r * E + i_e + o_each
        o_weight = i * (D * E * J) + (i_e * J + i_j + o_each)
        b_votes = _votes(at(p_poses, o_pose), at(p_weights, o_weight), E * J, p_offset, o_offset, D, dtype)
        b_from_mean = _moved(b_votes, b_mean)
        b_from_centre = b_from_mean if CENTRE_IS_MEAN else _moved(b_votes, b_centre)
        b_logits = _logits(b_votes, b_from_mean, b_bias, b_direction, b_precision, b_zero, 1)
        b_logits = tl.where(i_slot < J, b_logits, float("-inf"))
        if p_given is not None:
            b_share = tl.exp(b_logits - read(p_given, o_child, dtype))
        else:
            b_top = tl.max(b_logits, 4, keep_dims=True)
            b_share = tl.exp(b_logits - b_top)
            b_total = tl.sum(b_share, 4, keep_dims=True)
            b_share *= 1.0 / b_total
            tl.store(at(p_top_out, o_child), b_top + b_zero, mask=m_one)
            tl.store(at(p_log_total_out, o_child), tl.log(b_total) + b_zero, mask=m_one)
        b_weight = b_share
        if p_activations is not None:
            b_activation = read(p_activations, o_child, dtype)
            b_weight *= b_activation
        b_gl = None
        if p_activations is not None or not CONSTANT_SHARES:
            b_gw = b_g0 + _over_values((b_g1 + b_g2 * b_from_centre) * b_from_centre, 1)
            b_ga = tl.sum(b_share * b_gw, 4, keep_dims=True) + b_zero
            if p_activations is not None:
                tl.store(at(p_activations_out, o_child), b_ga, mask=m_one)
                b_ga *= b_activation
            if not CONSTANT_SHARES:
                b_gz = -b_ga
                b_gl = b_weight * b_gw
                if p_given is None:
                    b_gz += read(p_normaliser_gradient, o_child, dtype)
                    b_gl += b_share * b_gz
                tl.store(at(p_normaliser_out, o_child), b_gz, mask=m_one)
        b_gv = _vote_gradient(b_weight, b_gl, b_from_mean, b_from_centre, b_direction, b_precision, b_g1, b_g2)
        if p_bias_out is not None:
            b_to_bias += b_gl
        if p_direction_out is not None:
            b_to_direction += b_gl * b_votes
        if p_mean_out is not None:
            b_step = b_gl * b_from_mean
            b_to_mean += b_step
            b_to_precision += b_step * b_from_mean
        # The weights once more: to keep them, D*E registers, is dearer than to find them in the L1 cache.
        if D <= UNROLLED:
            for d in tl.static_range(D):
                b_to_pose = _over_parents(b_gv * read(p_weights, o_weight + d * E * J, dtype)) + b_zero
                tl.store(at(p_poses_out, o_pose + d), b_to_pose, mask=m_row)
        else:
            for d in range(D):
                b_to_pose = _over_parents(b_gv * read(p_weights, o_weight + d * E * J, dtype)) + b_zero
                tl.store(at(p_poses_out, o_pose + d), b_to_pose, mask=m_row)
        if p_offset_out is not None:
            b_to_offset = tl.sum(b_gv, 4, keep_dims=True) + b_zero
            tl.store(at(p_offset_out, o_child * (R * E) + i_r * E + i_e), b_to_offset, mask=m_value & m_one)

    o_split = tl.program_id(1).to(tl.int64) * N * J
    if p_bias_out is not None:
        tl.store(at(p_bias_out, o_split + o_parent), b_to_bias, mask=m_parent)
    if p_direction_out is not None:
        tl.store(at(p_direction_out, o_split * (R * E) + o_out), b_to_direction, mask=m_value)
    if p_mean_out is not None:
        tl.store(at(p_mean_out, o_split * (R * E) + o_out), b_to_mean * b_precision, mask=m_value)
        tl.store(at(p_precision_out, o_split * (R * E) + o_out), -0.5 * b_to_precision, mask=m_value)


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
    o_each = zeros_of_threads(BP, LANES)
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
    # The gradient of BD rows of the weights: of all D, if D is small.
    i_d = tl.program_id(2) * BD + tl.zeros([1, 1, 1, 1, 1], tl.int32)
    if D == BD:
        b_weights = read_rows(at(p_weights, o_weight), E * J, D, dtype)
    b_out = ()
    for _ in tl.static_range(BD):
        b_out = b_out + (tl.zeros([1, 1, BE, BP, LANES], dtype),)
    b_zero = tl.zeros([1, 1, 1, BP, LANES], dtype)

    begin = tl.program_id(1).to(tl.int64) * span
    for n in range(begin, tl.minimum(begin + span, N)):
        o_child = n * I + i_i + o_each
        o_parent = n * J + i_j + o_each
        o_belief = n * (J * R * E) + o_value
        o_offset = n * offset_stride + i_i * (R * E) + o_r * E + o_e + o_each
        o_pose = o_child * (R * D) + o_r * D
        if D == BD:
            b_poses = read_rows(at(p_poses, o_pose), 1, D, dtype)
            b_votes = _placed(_products(b_poses, b_weights, D), p_offset, o_offset, dtype)
        else:
            b_votes = _votes(at(p_poses, o_pose), at(p_weights, o_weight), E * J, p_offset, o_offset, D, dtype)
            b_poses = ()
            for d in tl.static_range(BD):
                b_poses = b_poses + (read(p_poses, o_pose + tl.minimum(i_d + d, D - 1), dtype),)
        b_direction = None if p_direction is None else load(p_direction, o_belief, m_value, dtype)
        b_mean = None if p_mean is None else load(p_mean, o_belief, m_value, dtype)
        b_precision = None if p_precision is None else load(p_precision, o_belief, m_value, dtype)
        b_centre = None if p_centre is None else load(p_centre, o_belief, m_value, dtype)
        b_g1 = load(p_first_gradient, o_belief, m_value, dtype)
        b_g2 = load(p_second_gradient, o_belief, m_value, dtype)
        b_bias = None if p_bias is None else read(p_bias, o_parent, dtype)
        b_from_mean = _moved(b_votes, b_mean)
        b_from_centre = b_from_mean if CENTRE_IS_MEAN else _moved(b_votes, b_centre)
        b_logits = _logits(b_votes, b_from_mean, b_bias, b_direction, b_precision, b_zero, LANES)
        b_logits -= read(p_top, o_child, dtype)
        if p_log_total is not None:
            # No logit is above the top, also where one of 1e10 is summed in another order here, and so rounded otherwise.
            b_logits = tl.minimum(b_logits, 0.0) - read(p_log_total, o_child, dtype)
        b_share = tl.exp(b_logits)
        b_weight = b_share
        if p_activations is not None:
            b_weight *= read(p_activations, o_child, dtype)
        b_gl = None
        if not CONSTANT_SHARES:
            b_gw = read(p_mass_gradient, o_parent, dtype)
            b_gw += _over_values((b_g1 + b_g2 * b_from_centre) * b_from_centre, LANES)
            b_gl = b_weight * b_gw
            if p_log_total is not None:
                b_gl += b_share * read(p_normaliser_gradient, o_child, dtype)
        b_gv = _vote_gradient(b_weight, b_gl, b_from_mean, b_from_centre, b_direction, b_precision, b_g1, b_g2)
        b_sum = ()
        for d in tl.static_range(BD):
            b_sum = b_sum + (b_out[d] + tl.sum(b_poses[d] * b_gv, 1, keep_dims=True),)
        b_out = b_sum

    o_out = tl.program_id(1).to(tl.int64) * I * (J * D * E) + o_pair * (D * E) + o_e
    for d in tl.static_range(BD):
        tl.store(at(p_weights_out, o_out + (i_d + d) * E), b_out[d], mask=m_weight & (i_d + d < D))
