"""Moments about another centre, where those about the given one have lost the spread of the votes.

A spread is a difference, S2 - |S1|^2 / S0: where the mean of the votes is far from the centre that the moments are taken
about, two large numbers that nearly cancel, and float32 keeps 7 digits of them. A parent that jumps onto one child is there,
and so are votes far from 0 in a first pass. One more pass, about the mean, has nothing left to cancel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from capsbench_kernels.passes.observe import unnoticed
from capsbench_kernels.passes.types import Moments, Parents

CANCELLATION = 100.0
"""How many times its spread a second moment may be: float32 then leaves the spread an error of about 1e-5 of it.

Networks as they are by default stay below 10, and their numbers are those of the passes alone."""


@_disable_dynamo  # what it does depends on values, which a compiled graph does not see
def recentred(
    moments: Moments,
    parents: Parents,
    mean: Tensor,
    variance: Tensor,
    share: Tensor,
    repeat: Callable[[Parents], Moments],
) -> tuple[Moments, Tensor | None]:
    """The moments of a pass about a centre from which the spread of the votes can be told, and that centre.

    On a CUDA device the comparison makes the host wait for the pass. Where no value can be read, under `torch.func` and while a
    CUDA graph is captured, the pass is always repeated. A pass that is repeated is neither counted nor observed.

    Args:
        moments: of the pass, about ``parents.centre``.
        parents: the belief that the pass was made with.
        mean: of each parent's votes, ``[N, J, H]``.
        variance: ``[N, J, H]``, what the spread about the mean is used as, with all that is added to it.
        share: what the variance is multiplied by to be as large as ``moments.second``, ``[N, J, 1]`` or of one number.
        repeat: makes the same pass with the same belief, about another centre.

    Returns:
        The moments and the centre as they are where the second moment is at most `CANCELLATION` spreads, and about ``mean``
        elsewhere.
    """
    if mean.is_meta:  # shapes alone
        return moments, parents.centre
    second, moved = moments.second.detach(), mean.detach()
    with unnoticed():
        excess = torch.addcmul(second, share.detach(), variance.detach(), value=-CANCELLATION)
        if _can_be_read(excess) and not excess.amax() > 0:
            return moments, parents.centre
        lost = excess > 0
        about = repeat(parents._replace(centre=moved))
        first, second = torch.where(lost, about.first, moments.first), torch.where(lost, about.second, moments.second)
        centre = torch.zeros_like(moved) if parents.centre is None else parents.centre
        return Moments(moments.mass, first, second), torch.where(lost, moved, centre)


def _can_be_read(tensor: Tensor) -> bool:
    transformed: bool = torch._C._are_functorch_transforms_active()
    return not (transformed or (tensor.is_cuda and torch.cuda.is_current_stream_capturing()))
