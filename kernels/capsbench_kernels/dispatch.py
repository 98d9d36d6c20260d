"""The vote pass: what every routing does with the votes, in one differentiable call.

Each child ``i`` casts a vote ``V_ij = u_i @ W_ij (+ o_i)`` for each parent ``j``. Given what is believed of the parents,
the pass shares each child out among them and returns the first three moments of the votes a parent receives:

    logits_ij = bias_j + <direction_j, V_ij> - 1/2 * sum_h precision_jh * (V_ijh - mean_jh)^2
    r_ij      = softmax over j of logits_ij
    w_ij      = a_i * r_ij
    S0_j = sum_i w_ij      S1_j = sum_i w_ij (V_ij - c_j)      S2_j = sum_i w_ij (V_ij - c_j)^2

A routing is a loop of vote passes with a small update of the parents in between (`dynamic.py`, `em.py`, or a user's own).
This file holds the types, the checks and the choice of an implementation; `reference.py` is the readable truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from capsbench_kernels.reference import vote_pass_reference


class Parents(NamedTuple):
    """What is believed of the parents before a pass; a field left at None takes no part in the logits.

    With N problems, J parents and votes of H = R*E values:

    - ``bias`` [N, J]: a logit a parent, such as the log of its activation.
    - ``direction`` [N, J, H]: agreement by scalar product (dynamic routing).
    - ``mean`` and ``precision`` [N, J, H]: agreement by a diagonal Gaussian (EM routing); given together or not at all.
    - ``centre`` [N, J, H]: the point the moments are taken about, 0 if None. Held constant: no gradient flows into it.
    """

    bias: Tensor | None = None
    direction: Tensor | None = None
    mean: Tensor | None = None
    precision: Tensor | None = None
    centre: Tensor | None = None


class Moments(NamedTuple):
    """What a pass returns: ``mass`` [N, J], ``first`` [N, J, H] and ``second`` [N, J, H], about `Parents.centre`."""

    mass: Tensor
    first: Tensor
    second: Tensor


_IMPLEMENTATIONS: dict[str, Callable[..., tuple[Tensor, Tensor, Tensor]]] = {"reference": vote_pass_reference}

BACKENDS: tuple[str, ...] = tuple(_IMPLEMENTATIONS)
"""The implementations that this build holds; ``auto`` chooses among them."""


def choose_backend(backend: str = "auto") -> str:
    """The name of the implementation that ``backend`` stands for; raises ValueError for one that cannot run here."""
    if backend == "auto":
        return "reference"
    if backend not in _IMPLEMENTATIONS:
        raise ValueError(f"backend: {backend!r} cannot run here; choose auto or {', '.join(BACKENDS)}")
    return backend


@dataclass
class VotePassCount:
    """How many vote passes were made and how many floating-point operations they stand for, whoever computes them.

    ``counted_by_torch`` is what `torch.utils.flop_counter` counts of them, to be left out of a count of the whole network.
    """

    passes: int = 0
    flops: int = 0
    counted_by_torch: int = 0


_count: ContextVar[VotePassCount | None] = ContextVar("vote_pass_count", default=None)


@contextmanager
def count_vote_passes() -> Iterator[VotePassCount]:
    """Counts the forward vote passes of the block, whatever their backend, by `vote_pass_flops`."""
    count = VotePassCount()
    token = _count.set(count)
    try:
        yield count
    finally:
        _count.reset(token)


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


def vote_pass(
    poses: Tensor,
    weights: Tensor,
    parents: Parents,
    activations: Tensor | None = None,
    offset: Tensor | None = None,
    backend: str = "auto",
) -> Moments:
    """Shares every child out among the parents and sums the votes that each parent gets.

    Args:
        poses: child poses ``[N, I, R, D]``; a vector capsule has R = 1, a 4x4 pose matrix R = D = 4.
        weights: transformation matrices ``[I, J, D, E]``, shared by the N problems.
        parents: the belief about the parents, see `Parents`.
        activations: child activations ``[N, I]``; all 1 if None.
        offset: added to the votes, ``[N or 1, I, R, E]`` (coordinate addition).
        backend: ``auto`` or one of `BACKENDS`.

    Returns:
        The moments, differentiable in every tensor given except ``parents.centre``.

    Raises:
        ValueError: a shape, dtype or device that does not fit, named with what would.
    """
    _check(poses, weights, parents, activations, offset)
    implementation = _IMPLEMENTATIONS[choose_backend(backend)]
    if (count := _count.get()) is None:
        return Moments(*implementation(poses, weights, parents, activations, offset))
    count.passes += 1
    count.flops += vote_pass_flops(poses, weights, parents, offset)
    with FlopCounterMode(display=False) as counter:
        moments = Moments(*implementation(poses, weights, parents, activations, offset))
    count.counted_by_torch += counter.get_total_flops()
    return moments


def _check(poses: Tensor, weights: Tensor, parents: Parents, activations: Tensor | None, offset: Tensor | None) -> None:
    if poses.dim() != 4:
        raise ValueError(f"poses: expected [N, I, R, D], got {list(poses.shape)}")
    problems, children, rows, depth = poses.shape
    if weights.dim() != 4 or weights.shape[0] != children or weights.shape[2] != depth:
        raise ValueError(f"weights: expected [{children}, J, {depth}, E] beside these poses, got {list(weights.shape)}")
    count, columns = weights.shape[1], weights.shape[3]
    if (parents.mean is None) != (parents.precision is None):
        raise ValueError("parents: mean and precision are given together or not at all")

    per_parent, per_value = [problems, count], [problems, count, rows * columns]
    expected: dict[str, tuple[Tensor | None, list[int]]] = {
        "weights": (weights, list(weights.shape)),
        "activations": (activations, [problems, children]),
        "parents.bias": (parents.bias, per_parent),
        "parents.direction": (parents.direction, per_value),
        "parents.mean": (parents.mean, per_value),
        "parents.precision": (parents.precision, per_value),
        "parents.centre": (parents.centre, per_value),
    }
    if offset is not None:
        leading = 1 if offset.shape[:1] == torch.Size([1]) else problems
        expected["offset"] = (offset, [leading, children, rows, columns])
    for name, (tensor, shape) in expected.items():
        if tensor is None:
            continue
        if list(tensor.shape) != shape:
            raise ValueError(f"{name}: expected {shape}, got {list(tensor.shape)}")
        if tensor.dtype != poses.dtype:
            raise ValueError(f"{name}: expected {poses.dtype} like the poses, got {tensor.dtype}")
        if tensor.device != poses.device:
            raise ValueError(f"{name}: expected on {poses.device} like the poses, got {tensor.device}")
