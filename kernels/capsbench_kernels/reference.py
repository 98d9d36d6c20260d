"""The vote pass written as its formulas read: every vote in memory, gradients by autograd, any dtype. The truth in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from capsbench_kernels.dispatch import Parents


def votes_of(poses: Tensor, weights: Tensor, offset: Tensor | None = None) -> Tensor:
    """All votes, parents first: ``V_ij = u_i @ W_ij (+ o_i)`` as ``[N, J, I, H]`` with H = R*E.

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


def vote_pass_reference(
    poses: Tensor, weights: Tensor, parents: Parents, activations: Tensor | None, offset: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """See `capsbench_kernels.vote_pass`; the caller has checked the arguments."""
    return moments_of(votes_of(poses, weights, offset), parents, activations)


def moments_of(votes: Tensor, parents: Parents, activations: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The moments [N, J], [N, J, H] and [N, J, H] of the votes ``[N, J, I, H]``."""
    shares = coupling_coefficients(votes, parents)
    if activations is not None:
        shares = shares * activations.unsqueeze(1)
    if parents.centre is not None:
        votes = votes - parents.centre.detach().unsqueeze(2)
    row = shares.unsqueeze(2)
    return shares.sum(dim=2), (row @ votes).squeeze(2), (row @ votes.square()).squeeze(2)


def coupling_coefficients(votes: Tensor, parents: Parents) -> Tensor:
    """How each child splits itself among the parents, ``r_ij`` as ``[N, J, I]``: a softmax over the parents, dim 1."""
    logits = votes.new_zeros(votes.shape[:3])
    if parents.bias is not None:
        logits = logits + parents.bias.unsqueeze(2)
    if parents.direction is not None:
        logits = logits + (votes @ parents.direction.unsqueeze(3)).squeeze(3)
    if parents.mean is not None and parents.precision is not None:
        distance = (votes - parents.mean.unsqueeze(2)).square()
        logits = logits - 0.5 * (distance @ parents.precision.unsqueeze(3)).squeeze(3)
    return logits.softmax(dim=1)
