"""The vote pass as its formulas read: every vote in memory, gradients by autograd, any dtype.

The tests compare every kernel with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from capsbench_kernels.passes.types import PassInputs, PassSums, accumulation_dtype


def votes_of(poses: Tensor, weights: Tensor, offset: Tensor | None = None) -> Tensor:
    """Returns all votes, parents first: ``V_ij = u_i @ W_ij (+ o_i)`` as ``[N, J, I, H]`` with H = R*E.

    Args:
        poses: child poses ``[N, I, R, D]``.
        weights: transformation matrices ``[I, J, D, E]``.
        offset: ``[N or 1, I, R, E]`` or None.
    """
    problems, children, rows, depth = poses.shape
    _, count, _, columns = weights.shape
    # One product a child, [N*R, D] @ [D, J*E], instead of N*I*J products of tiny matrices.
    by_child = poses.transpose(0, 1).reshape(children, problems * rows, depth)
    all_weights = weights.transpose(1, 2).reshape(children, depth, count * columns)
    votes = torch.bmm(by_child, all_weights).view(children, problems, rows, count, columns)
    if offset is not None:
        votes = votes + offset.transpose(0, 1).unsqueeze(3)
    return votes.permute(1, 3, 0, 2, 4).reshape(problems, count, children, rows * columns)


def vote_pass_reference(inputs: PassInputs, constant_shares: bool) -> PassSums:
    """Computes `capsbench_kernels.vote_pass` from votes in memory; the caller has checked the arguments."""
    dtype = accumulation_dtype(inputs.poses.dtype)
    poses, weights = inputs.poses.to(dtype), inputs.weights.to(dtype)
    votes = votes_of(poses, weights, None if inputs.offset is None else inputs.offset.to(dtype))
    shares, log_normaliser = shares_of(votes, inputs)
    if constant_shares:
        shares = shares.detach()
    if inputs.activations is not None:
        shares = shares * inputs.activations.unsqueeze(1)
    if inputs.centre is not None:
        votes = votes - inputs.centre.unsqueeze(2)
    # A row of shares times a matrix of votes sums over the children without a tensor of weighted votes.
    row = shares.unsqueeze(2)
    return PassSums(shares.sum(dim=2), (row @ votes).squeeze(2), (row @ votes.square()).squeeze(2), log_normaliser)


def shares_of(votes: Tensor, belief: PassInputs) -> tuple[Tensor, Tensor]:
    """Returns each child's shares ``[N, J, I]``, and the log of its softmax's denominator, or the one given, ``[N, I]``."""
    logits = logits_of(votes, belief)
    if belief.log_normaliser is None:
        return logits.softmax(dim=1), logits.logsumexp(dim=1)
    return (logits - belief.log_normaliser.unsqueeze(1)).exp(), belief.log_normaliser


def logits_of(votes: Tensor, belief: PassInputs) -> Tensor:
    """Returns how well each vote ``[N, J, I, H]`` agrees with the belief about its parent, ``[N, J, I]``."""
    logits = votes.new_zeros(votes.shape[:3])
    if belief.bias is not None:
        logits = logits + belief.bias.unsqueeze(2)
    if belief.direction is not None:
        logits = logits + (votes @ belief.direction.unsqueeze(3)).squeeze(3)
    if belief.mean is not None and belief.precision is not None:
        distance = (votes - belief.mean.unsqueeze(2)).square()
        logits = logits - 0.5 * (distance @ belief.precision.unsqueeze(3)).squeeze(3)
    return logits
