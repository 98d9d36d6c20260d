"""Observation of vote passes as they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from capsbench_kernels.passes.naive import shares_of, votes_of
from capsbench_kernels.passes.types import Moments, Parents, PassInputs, accumulation_dtype, without_autocast

if TYPE_CHECKING:
    from capsbench_kernels.passes.arithmetic import Arithmetic

current_count: ContextVar[Arithmetic | None] = ContextVar("arithmetic", default=None)


class VotePass(NamedTuple):
    """A vote pass that has run: its arguments, explained by `vote_pass`, and the moments that it returned."""

    poses: Tensor
    weights: Tensor
    parents: Parents
    activations: Tensor | None
    offset: Tensor | None
    log_normaliser: Tensor | None
    moments: Moments

    def shares(self) -> Tensor:
        """Returns the coupling coefficients r_ij of the pass, ``[N, I, J]``, by the reference's formula."""
        dtype = accumulation_dtype(self.poses.dtype)
        given = (self.poses, self.weights, None, self.offset, *self.parents[:4], None, self.log_normaliser)
        inputs = PassInputs(*(None if tensor is None else tensor.to(dtype) for tensor in given))  # type: ignore[arg-type]
        with without_autocast(self.poses.device):
            votes = votes_of(inputs.poses, inputs.weights, inputs.offset)
            return shares_of(votes, inputs)[0].transpose(1, 2)


current_observer: ContextVar[Callable[[VotePass], object] | None] = ContextVar("vote_pass_observer", default=None)


@contextmanager
def observe_vote_passes(observer: Callable[[VotePass], object]) -> Iterator[None]:
    """Calls ``observer`` after each vote pass of the block, whatever its backend."""
    token = current_observer.set(observer)
    try:
        yield
    finally:
        current_observer.reset(token)


def unnoticed() -> AbstractContextManager[None]:
    """Hides the vote passes of the block from counts and observers, such as one that repeats another for its precision."""
    # A compiled graph is neither counted nor observed, and has nothing to hide.
    return nullcontext() if torch.compiler.is_compiling() else _hide_passes()


@contextmanager
def _hide_passes() -> Iterator[None]:
    counted, observed = current_count.set(None), current_observer.set(None)
    try:
        yield
    finally:
        current_count.reset(counted)
        current_observer.reset(observed)
