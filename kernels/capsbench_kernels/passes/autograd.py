"""The gradients of a vote pass, of every order, for kernels that never hold the votes.

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

This file is the part that all operators share (`operators.py`): which tensors are saved, which gradients are needed, and the
graphs of an operator and of its gradients. The graph of an operator calls the operator of its gradients. The graph of a gradient
(``create_graph=True``) differentiates the reference on the same inputs: it is exact to any order, and takes the reference's
memory, which holds the votes of the pass, while it is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from capsbench_kernels.passes.types import without_autocast

if TYPE_CHECKING:
    from capsbench_kernels.passes.operators import Operator


def differentiate_reference(
    operator: Operator,
    tensors: Sequence[Tensor | None],
    upstream: Sequence[Tensor],
    settings: Sequence[Any],
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Returns the wanted gradients of an operator's tensors, in their order, from its reference with the votes in memory.

    They are differentiable in the tensors and in the gradients of the outputs, by every mode of torch.
    """

    def run_reference(*leaves: Tensor) -> tuple[Tensor, ...]:
        given = iter(leaves)
        # A user's autocast may be on here, and would recompute the votes in half precision.
        with without_autocast(upstream[0].device):
            outputs = operator.run_reference(
                [next(given) if needed else tensor for tensor, needed in zip(tensors, wanted, strict=True)], settings
            )
        return tuple(outputs[: operator.count_varying(tensors, settings)])

    leaves = [tensor for tensor, needed in zip(tensors, wanted, strict=True) if needed]
    # torch.func tells the paths through the tensors apart: one may have been computed from another.
    outputs, pull_back = torch.func.vjp(run_reference, *leaves)[:2]
    return list(pull_back(tuple(upstream[: len(outputs)])))


class DifferentiableOutputs(_SingleLevelFunction):
    """The graph of an operator: ``apply(operator, run, settings, *tensors)`` returns the outputs of ``run()``.

    It is a function of one level, because the dispatcher calls it once for each `torch.func.grad` that is active.
    """

    @staticmethod
    def forward(
        ctx: Any,
        operator: Operator,
        run: Callable[[], Sequence[Tensor]],
        settings: Sequence[Any],
        *tensors: Tensor | None,
    ) -> tuple[Tensor, ...]:
        ctx.operator, ctx.settings, ctx.count = operator, settings, len(tensors)
        with _at_the_next_level():
            outputs = tuple(run())
        # Not detached: second derivatives need the graphs of the tensors.
        ctx.save_for_backward(*tensors, *outputs[len(operator.outputs) :])
        ctx.mark_non_differentiable(*outputs[operator.count_varying(tensors, settings) :])
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        operator, settings = ctx.operator, ctx.settings
        saved: tuple[Tensor | None, ...] = ctx.saved_tensors
        wanted = operator.without_constants(ctx.needs_input_grad[3:])
        upstream = gradients[: len(operator.outputs)]
        if forward_ad._current_level >= 0:  # the operator has no forward mode, and the reference has
            computed = iter(differentiate_reference(operator, saved[: ctx.count], upstream, settings, wanted))
        else:
            contiguous = (gradient.contiguous() for gradient in upstream)
            computed = iter(operator.backward(*saved, *contiguous, *settings, wanted))
        return None, None, None, *(next(computed) if needed else None for needed in wanted)


class DifferentiableGradients(_SingleLevelFunction):
    """The graph of gradients: ``apply(operator, run, settings, wanted, *tensors, *saved, *gradients of the outputs)``."""

    @staticmethod
    def forward(
        ctx: Any,
        operator: Operator,
        run: Callable[[], Sequence[Tensor]],
        settings: Sequence[Any],
        wanted: Sequence[bool],
        *tensors: Tensor | None,
    ) -> tuple[Tensor, ...]:
        ctx.operator, ctx.settings, ctx.wanted = operator, settings, wanted
        ctx.save_for_backward(*tensors)
        with _at_the_next_level():
            return tuple(run())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        operator: Operator = ctx.operator
        values: tuple[Tensor | None, ...] = ctx.saved_tensors
        count, first = len(operator.tensors), len(values) - len(operator.outputs)
        needed = list(ctx.needs_input_grad[4:])
        # What the operator saved follows from its tensors, whose gradients the reference has in full.
        needed = [*operator.without_constants(needed[:count]), *[False] * (first - count), *needed[first:]]

        def run_reference(*leaves: Tensor) -> tuple[Tensor, ...]:
            given = iter(leaves)
            varied: list[Any] = [next(given) if varies else each for each, varies in zip(values, needed, strict=True)]
            return tuple(differentiate_reference(operator, varied[:count], varied[first:], ctx.settings, ctx.wanted))

        leaves = [tensor for tensor, varies in zip(values, needed, strict=True) if varies]
        computed = iter(torch.func.vjp(run_reference, *leaves)[1](gradients))
        return None, None, None, None, *(next(computed) if varies else None for varies in needed)


def apply_at_one_level(function: type[_SingleLevelFunction], *arguments: Any) -> Any:
    """Applies a function to tensors of the innermost level of `torch.func` that is active, or to plain ones."""
    if not torch._C._are_functorch_transforms_active():
        return function.apply(*arguments)  # type: ignore[attr-defined]
    with enable_single_level_autograd_function():
        return function.apply(*arguments)  # type: ignore[attr-defined]


def _at_the_next_level() -> AbstractContextManager[Any]:
    """Lets the operator run below this level of differentiation, with whatever transforms it further out.

    `torch.func` nests: below the level of a `grad` may be that of another, or of a `jvp`. A function's forward switches both
    modes off, and the derivative of the outer level would be 0, without an error.
    """
    below: AbstractContextManager[Any] = torch._C._AutoDispatchBelowAutograd()
    return _switch_modes_on(below) if torch._C._are_functorch_transforms_active() else below


@contextmanager
def _switch_modes_on(below: AbstractContextManager[Any]) -> Iterator[None]:
    with below, torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
        yield


def refuse_tangents(operator: str, tensors: Iterable[Tensor | None]) -> None:
    """Raises RuntimeError if a tensor has a tangent: an operator without a rule for it would drop it, and return 0."""
    if forward_ad._current_level < 0:
        return
    for tensor in tensors:
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:
            raise RuntimeError(
                f"{operator} has no forward-mode derivative: call the function of capsbench_kernels, whose reference has one"
            )
