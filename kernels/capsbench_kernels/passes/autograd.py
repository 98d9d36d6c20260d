"""The vote pass as one differentiable operation on kernels that never hold the votes.

A kernel recomputes the votes tile by tile from the poses and the weights, and the shares from the votes, in the backward
pass as well; between the two passes only its inputs are kept. A child's z is the log of its softmax's denominator:

    z_i    = log sum_j exp(logits_ij)      (or given: then r_ij does not sum to 1 over these parents)
    r_ij   = exp(logits_ij - z_i)          (by the largest logit: in float32 a z of a million has lost the sum)

With g0, g1, g2, gz the gradients of S0, S1, S2 and z, and D = V - c:

    gw_ij  = g0_j + <g1_j, D_ij> + <g2_j, D_ij^2>        ga_i = sum_j r_ij gw_ij
    gl_ij  = r_ij (a_i gw_ij + q_i)                      q_i  = gz_i - a_i ga_i, or 0 if z was given, whose gradient is -a_i ga_i
    gV_ij  = a_i r_ij (g1_j + 2 g2_j D_ij) + gl_ij (direction_j - precision_j (V_ij - mean_j))
    gu_i   = sum_j gV_ij W_ij^T      gW_ij = sum_n u_i^T gV_ij      go_i = sum_j gV_ij
    gbias_j = sum_i gl_ij            gdirection_j = sum_i gl_ij V_ij
    gmean_j = precision_j sum_i gl_ij (V_ij - mean_j)    gprecision_j = -1/2 sum_i gl_ij (V_ij - mean_j)^2

This file is the part that the kernels share: which tensors are saved, which gradients are wanted, and their dtypes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from capsbench_kernels.passes.types import Kernels, PassInputs, PassSums


class FusedVotePass(torch.autograd.Function):
    """`PassInputs` to `PassSums` by the given kernels, with a backward pass that is not itself differentiable."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, constant_shares: bool, *tensors: Tensor | None) -> PassSums:
        inputs = PassInputs(*(None if tensor is None else tensor.detach().contiguous() for tensor in tensors))  # type: ignore[arg-type]
        sums = kernels.forward(inputs)
        ctx.kernels, ctx.constant_shares = kernels, constant_shares
        ctx.save_for_backward(*inputs)
        if inputs.log_normaliser is not None:
            ctx.mark_non_differentiable(sums.log_normaliser)
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = PassInputs(*ctx.saved_tensors)
        wanted = PassInputs(*ctx.needs_input_grad[2:])
        upstream = PassSums(*(gradient.contiguous() for gradient in gradients))
        found = ctx.kernels.backward(
            inputs,
            upstream,
            offset_wanted=bool(wanted.offset),
            constant_shares=ctx.constant_shares,
        )
        if found.offset is not None and inputs.offset is not None and inputs.offset.shape[0] == 1:
            found = found._replace(offset=found.offset.sum(dim=0, keepdim=True))
        return (
            None,
            None,
            *(
                gradient.to(tensor.dtype) if needed and gradient is not None and tensor is not None else None
                for tensor, gradient, needed in zip(inputs, found, wanted, strict=True)
            ),
        )
