"""Dynamic routing by agreement (Sabour, Frosst, Hinton 2017, Procedure 1) as a loop of vote passes.

The paper's logits start at 0 and grow by ``<V_ij, v_j>`` an iteration, so after t iterations they are
``<V_ij, v1_j + ... + vt_j>``. Only the running sum of the outputs has to be kept, never the logits themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from capsbench_kernels.errors import ArgumentError
from capsbench_kernels.passes.api import vote_pass
from capsbench_kernels.passes.types import DynamicOptions, Parents
from capsbench_kernels.routings.squash import SQUASHES, squash
from capsbench_kernels.routings.whole import DynamicOperator, find_backend, is_observed, run_whole


def dynamic_routing(
    poses: Tensor,
    weights: Tensor,
    iterations: int = 3,
    *,
    offset: Tensor | None = None,
    gradient: str = "all",
    variant: str = "sabour",
    leaky: bool = False,
    bias: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Routes child poses to parents by agreement (Sabour 2017, Procedure 1); the squash is over the R*E values of a parent.

    Args:
        poses: child poses ``[N, I, R, D]``.
        weights: transformation matrices ``[I, J, D, E]``.
        iterations: routing iterations, 1 or more; the first shares every child equally.
        gradient: ``all`` iterations carry gradients, as in the authors' code, or only the ``last``, as in several others. With
            ``last`` the coupling coefficients are constants.
        variant: of the `squash`.
        leaky: whether a child can also go to none of the parents, as in the authors' code: its softmax has one more logit, of 0,
            whose share is dropped.
        bias: ``[J, R*E]``, added to what each parent receives before the squash (the authors' code).
        backend: see `capsbench_kernels.vote_pass`.

    Returns:
        Parent poses ``[N, J, R, E]``, of the length that the squash gives them.
    """
    sums = dynamic_sums(
        poses,
        weights,
        iterations,
        offset=offset,
        gradient=gradient,
        variant=variant,
        leaky=leaky,
        bias=bias,
        backend=backend,
    )
    return squash(sums, variant=variant).unflatten(-1, (poses.shape[2], weights.shape[3]))


def dynamic_sums(
    poses: Tensor,
    weights: Tensor,
    iterations: int,
    *,
    offset: Tensor | None = None,
    gradient: str = "all",
    variant: str = "sabour",
    leaky: bool = False,
    bias: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Returns the sums that parents receive in the last iteration of `dynamic_routing`, before the squash: ``[N, J, R*E]``."""
    if iterations < 1:
        raise ArgumentError("iterations", "1 or more", iterations)
    if gradient not in ("all", "last"):
        raise ArgumentError("gradient", "'all' or 'last'", gradient)
    if variant not in SQUASHES:
        raise ArgumentError("squash", ", ".join(SQUASHES), variant)
    routed: Tensor | None = None
    if _fits(bias, poses, weights) and (whole := find_backend(backend, poses)) is not None:
        options = DynamicOptions(iterations, SQUASHES.index(variant), leaky)
        routed = run_whole(ROUTE_DYNAMIC, whole, options, gradient == "last", (poses, weights, offset, bias))[0]
        if not is_observed():
            return routed
    if leaky:
        # One more parent, whose votes are 0 and whose logit therefore is 0 in every iteration.
        weights = F.pad(weights, (0, 0, 0, 0, 0, 1))

    # None stands for logits of 0, so the first pass shares every child equally.
    direction: Tensor | None = None
    sums = poses.new_empty(0)
    for iteration in range(iterations):
        last = iteration == iterations - 1
        with torch.set_grad_enabled(torch.is_grad_enabled() and (last or gradient == "all")):
            parents = Parents(direction=direction if direction is None or not leaky else F.pad(direction, (0, 0, 0, 1)))
            moments = vote_pass(
                poses, weights, parents, offset=offset, backend=backend, constant_shares=gradient == "last"
            )
            sums = moments.first[:, :-1] if leaky else moments.first
            if bias is not None:
                sums = sums + bias
            if not last:
                # Procedure 1, line 7: b_ij grows by <V_ij, v_j>; here the sum of the v_j grows instead.
                outputs = squash(sums, variant=variant)
                direction = outputs if direction is None else direction + outputs
    return sums if routed is None else routed


def _fits(bias: Tensor | None, poses: Tensor, weights: Tensor) -> bool:
    """Tells whether there is no bias, or one of its own for each value of each parent."""
    if bias is None or poses.dim() != 4 or weights.dim() != 4:
        return bias is None
    return list(bias.shape) == [weights.shape[1], poses.shape[2] * weights.shape[3]]


def _route_by_reference(tensors: Sequence[Any], options: DynamicOptions, last_only: bool) -> tuple[Tensor]:
    poses, weights, offset, bias = tensors
    sums = dynamic_sums(
        poses, weights, options.iterations, offset=offset, gradient="last" if last_only else "all",
        variant=SQUASHES[options.variant], leaky=options.leaky, bias=bias, backend="reference",
    )  # fmt: skip
    return (sums,)


ROUTE_DYNAMIC = DynamicOperator(_route_by_reference)
