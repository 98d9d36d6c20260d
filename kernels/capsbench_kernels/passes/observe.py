"""Counting vote passes, and looking at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from capsbench_kernels.passes.naive import shares_of, votes_of
from capsbench_kernels.passes.types import Moments, Parents, PassInputs, accumulation_dtype


@dataclass
class VotePassCount:
    """How many vote passes were made and how many floating-point operations they stand for, whoever computes them.

    ``counted_by_torch`` is what `torch.utils.flop_counter` counts of them, to be left out of a count of the whole network.
    """

    passes: int = 0
    flops: int = 0
    counted_by_torch: int = 0


current_count: ContextVar[VotePassCount | None] = ContextVar("vote_pass_count", default=None)


@contextmanager
def count_vote_passes() -> Iterator[VotePassCount]:
    """Counts the forward vote passes of the block, whatever their backend, by `vote_pass_flops`."""
    count = VotePassCount()
    token = current_count.set(count)
    try:
        yield count
    finally:
        current_count.reset(token)


class VotePass(NamedTuple):
    """A vote pass that was made: its arguments, as `vote_pass` explains them, and what it returned."""

    poses: Tensor
    weights: Tensor
    parents: Parents
    activations: Tensor | None
    offset: Tensor | None
    log_normaliser: Tensor | None
    moments: Moments

    def shares(self) -> Tensor:
        """The coupling coefficients r_ij of the pass, ``[N, I, J]``, from its arguments and the formula of the reference."""
        dtype = accumulation_dtype(self.poses.dtype)
        given = (self.poses, self.weights, None, self.offset, *self.parents[:4], None, self.log_normaliser)
        inputs = PassInputs(*(None if tensor is None else tensor.to(dtype) for tensor in given))  # type: ignore[arg-type]
        with torch.autocast(self.poses.device.type, enabled=False):
            votes = votes_of(inputs.poses, inputs.weights, inputs.offset)
            return shares_of(votes, inputs)[0].transpose(1, 2)


current_observer: ContextVar[Callable[[VotePass], object] | None] = ContextVar("vote_pass_observer", default=None)


@contextmanager
def observe_vote_passes(observer: Callable[[VotePass], object]) -> Iterator[None]:
    """Tells of each vote pass of the block, whatever its backend, once it is made."""
    token = current_observer.set(observer)
    try:
        yield
    finally:
        current_observer.reset(token)


@contextmanager
def unnoticed() -> Iterator[None]:
    """Neither counts nor tells of the vote passes of the block, such as one that repeats another for its precision."""
    counted, observed = current_count.set(None), current_observer.set(None)
    try:
        yield
    finally:
        current_count.reset(counted)
        current_observer.reset(observed)


def vote_pass_flops(poses: Tensor, weights: Tensor, parents: Parents, offset: Tensor | None = None) -> int:
    """The arithmetic of one forward pass by its formulas, a multiplication and an addition counted as 2.

    A softmax over J parents is counted as 5 operations a logit. A pass recomputes its votes, as the fused kernels do.
    """
    problems, children, rows, depth = poses.shape
    count, columns = weights.shape[1], weights.shape[3]
    values = rows * columns
    per_vote_value = 2 * depth + 2 + 3  # the vote, its share of S1 and of S2
    per_vote_value += offset is not None
    per_vote_value += 2 * (parents.direction is not None)
    per_vote_value += 4 * (parents.mean is not None)
    per_vote_value += parents.centre is not None
    per_logit = 5 + 1  # the softmax, the child's activation
    return problems * children * count * (values * per_vote_value + per_logit)
