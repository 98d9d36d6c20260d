"""The vote pass as one differentiable operation on kernels that never hold the votes.

A kernel recomputes the votes tile by tile from the poses and the weights, and the shares from the votes, also in the backward
pass. Between the two passes only the inputs are kept. A child's z is the log of its softmax's denominator:

    z_i    = log sum_j exp(logits_ij)      (or given: then r_ij does not sum to 1 over these parents)
    r_ij   = exp(logits_ij - z_i)          (computed from the largest logit: in float32 a z of a million has lost the sum)

With g0, g1, g2, gz the gradients of S0, S1, S2 and z, and D = V - c:

    gw_ij  = g0_j + <g1_j, D_ij> + <g2_j, D_ij^2>        ga_i = sum_j r_ij gw_ij
    gl_ij  = r_ij (a_i gw_ij + q_i)                      q_i  = gz_i - a_i ga_i, or 0 if z was given, whose gradient is -a_i ga_i
    gV_ij  = a_i r_ij (g1_j + 2 g2_j D_ij) + gl_ij (direction_j - precision_j (V_ij - mean_j))
    gu_i   = sum_j gV_ij W_ij^T      gW_ij = sum_n u_i^T gV_ij      go_i = sum_j gV_ij
    gbias_j = sum_i gl_ij            gdirection_j = sum_i gl_ij V_ij
    gmean_j = precision_j sum_i gl_ij (V_ij - mean_j)    gprecision_j = -1/2 sum_i gl_ij (V_ij - mean_j)^2

This file is the part that the kernels share: which tensors are saved, which gradients are needed, and their dtypes.

With ``create_graph=True`` the gradient has a graph of its own. Autograd then computes it from the reference on the same inputs:
it is exact to any order, and takes the reference's memory, which holds the votes of the pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from capsbench_kernels.passes.naive import vote_pass_reference
from capsbench_kernels.passes.types import Kernels, PassInputs, PassSums, without_autocast


class FusedVotePass(torch.autograd.Function):
    """Maps `PassInputs` to `PassSums` by the given kernels, with gradients of every order."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, constant_shares: bool, *tensors: Tensor | None) -> PassSums:
        ctx.kernels, ctx.constant_shares = kernels, constant_shares
        ctx.save_for_backward(*tensors)  # not detached: second derivatives need their graph
        inputs = _detach_inputs(tensors)
        sums = kernels.forward(inputs)
        if inputs.log_normaliser is not None:
            ctx.mark_non_differentiable(sums.log_normaliser)
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted: tuple[bool, ...] = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():  # create_graph=True
            return None, None, *_differentiable_gradients(ctx.saved_tensors, gradients, wanted, ctx.constant_shares)
        inputs = _detach_inputs(ctx.saved_tensors)
        gradients_of_inputs = ctx.kernels.backward(
            inputs,
            PassSums(*(gradient.detach().contiguous() for gradient in gradients)),
            offset_wanted=wanted[PassInputs._fields.index("offset")],
            constant_shares=ctx.constant_shares,
        )
        if gradients_of_inputs.offset is not None and inputs.offset is not None and inputs.offset.shape[0] == 1:
            gradients_of_inputs = gradients_of_inputs._replace(
                offset=gradients_of_inputs.offset.sum(dim=0, keepdim=True)
            )
        return (
            None,
            None,
            *(
                gradient.to(tensor.dtype) if needed and gradient is not None and tensor is not None else None
                for tensor, gradient, needed in zip(inputs, gradients_of_inputs, wanted, strict=True)
            ),
        )


def _detach_inputs(tensors: Iterable[Tensor | None]) -> PassInputs:
    """Returns the tensors without their graphs: kernels read memory and know nothing of autograd."""
    return PassInputs(*(None if tensor is None else tensor.detach() for tensor in tensors))  # type: ignore[arg-type]


def _differentiable_gradients(
    tensors: Iterable[Tensor | None], gradients: Iterable[Tensor], wanted: Sequence[bool], constant_shares: bool
) -> Iterator[Tensor | None]:
    """Returns the gradients of the reference with their graphs, in the order of the inputs."""
    # Aliases: a gradient of the input itself would include its paths through the other inputs, which autograd adds anyway.
    inputs = PassInputs(*(None if tensor is None else tensor.view_as(tensor) for tensor in tensors))  # type: ignore[arg-type]
    # A user's autocast may be on here, and would recompute the votes in half precision.
    with without_autocast(inputs.poses.device):
        sums = vote_pass_reference(inputs, constant_shares)
        varying = [(tensor, gradient) for tensor, gradient in zip(sums, gradients, strict=True) if tensor.requires_grad]
        outputs, upstream = zip(*varying, strict=True) if varying else ((), ())
        leaves = [tensor for tensor, needed in zip(inputs, wanted, strict=True) if needed and tensor is not None]
        computed = iter(torch.autograd.grad(outputs, leaves, upstream, create_graph=True, allow_unused=True))
    return (next(computed) if needed else None for needed in wanted)
