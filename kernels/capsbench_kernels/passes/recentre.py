"""Moments about another centre, where those about the given one have lost the spread of the votes.

A spread is a difference, S2 - |S1|^2 / S0. If the mean of the votes is far from the centre, its two terms are large and nearly
cancel, and float32 keeps 7 digits of them. This happens to a parent that jumps onto one child, and in a first pass to votes far
from 0. One more pass, about the mean, has nothing left to cancel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from capsbench_kernels.passes.observe import unnoticed
from capsbench_kernels.passes.types import Moments, Parents

CANCELLATION = 100.0
"""Largest ratio of a second moment to its spread: the spread then has a relative error of about 1e-5 in float32.

Networks with default options stay below 10, so their passes are never repeated."""


def recentred(
    moments: Moments,
    parents: Parents,
    mean: Tensor,
    variance: Tensor,
    share: Tensor,
    repeat: Callable[[Parents], Moments],
) -> tuple[Moments, Tensor | None]:
    """Returns the moments of a pass about a centre that keeps the spread of the votes, and that centre.

    On a CUDA device the host waits for the pass, to compare values. Where no value can be read, under `torch.func` and while a
    CUDA graph is captured, the pass is always repeated. The repeated pass is neither counted nor observed.

    Args:
        moments: of the pass, about ``parents.centre``.
        parents: the belief of the pass.
        mean: of each parent's votes, ``[N, J, H]``.
        variance: ``[N, J, H]``, the spread about the mean as the caller uses it, with all terms added to it.
        share: the factor from a variance to a second moment, ``[N, J, 1]`` or of one number.
        repeat: runs the same pass with the same belief, about another centre.

    Returns:
        The given moments and centre where the second moment is at most `CANCELLATION` spreads; those about ``mean`` elsewhere.
    """
    if mean.is_meta:  # shapes alone
        return moments, parents.centre
    second, moved = moments.second.detach(), mean.detach()
    with unnoticed():
        excess = torch.addcmul(second, share.detach(), variance.detach(), value=-CANCELLATION)
        # Value by value, so that a parent's result does not depend on the others in its batch.
        lost = excess > 0
        about = parents._replace(centre=moved)
        if torch.compiler.is_compiling() and not torch._C._are_functorch_transforms_active():
            again = _repeat_in_graph(lost, moments, lambda: repeat(about))
        elif not _has_values(lost) or lost.any():
            again = repeat(about)
        else:
            return moments, parents.centre
        first, second = torch.where(lost, again.first, moments.first), torch.where(lost, again.second, moments.second)
        centre = torch.zeros_like(moved) if parents.centre is None else parents.centre
        return Moments(moments.mass, first, second), torch.where(lost, moved, centre)


def _repeat_in_graph(lost: Tensor, moments: Moments, repeat: Callable[[], Moments]) -> Moments:
    """Repeats the pass by a branch of the graph: a compiled or exported program decides as it runs, and costs no second pass."""

    def keep() -> tuple[Tensor, Tensor]:
        return torch.zeros_like(moments.first), torch.zeros_like(moments.second)

    first, second = torch.cond(lost.any(), lambda: tuple(repeat()[1:]), keep, ())
    return Moments(moments.mass, first, second)


def _has_values(tensor: Tensor) -> bool:
    if torch._C._are_functorch_transforms_active() or type(tensor) is not Tensor:  # such as torch's FakeTensor
        return False
    return not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())
