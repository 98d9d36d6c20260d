"""Counts floating-point operations: those of an algorithm, however it is implemented, and those that the kernels execute.

A multiplication, an addition, a comparison and a function of one number (an exponential, a square root) are one operation each:

    matrix products, convolutions     2 an element of a row with a column
    other functions of elements       1 an element of what they give
    sums and other reductions         1 an element of what they reduce
    a softmax                         5 an element: the largest, a difference, an exponential, a sum, a quotient
    a normalisation                   4 an element by given statistics, 8 by its own; pooling: 1 an element of each window

Copies, casts, padding and indexing cost none. A vote pass counts by its formulas, whatever its backend. The algorithm computes
votes once for each distinct set of poses, weights and offset of the block, logits once for each distinct belief about them, and
S2 only where something reads it. A kernel recomputes all of that in every pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from capsbench_kernels.passes.observe import current_count, unnoticed
from capsbench_kernels.passes.types import PassInputs, PassSums

SOFTMAX, LOG_SUM, EXPONENTIAL = 5, 4, 2
"""Operations a logit: of a softmax, of a log of a sum of exponentials, and of a share whose log of the sum is given."""

_COPIES = frozenset({"clone", "copy", "_to_copy", "fill", "where", "masked_fill", "zeros_like", "ones_like"})

_OF_INPUT = {
    **dict.fromkeys(("sum", "mean", "amax", "amin", "max", "min", "prod", "cumsum", "argmax", "argmin"), 1),
    **dict.fromkeys(("any", "all", "_adaptive_avg_pool2d"), 1),
    **dict.fromkeys(("linalg_vector_norm", "norm"), 2),
    **dict.fromkeys(("var", "std", "var_mean", "logsumexp"), LOG_SUM),
    **dict.fromkeys(("_softmax", "_log_softmax"), SOFTMAX),
    **dict.fromkeys(("native_layer_norm", "native_group_norm"), 8),
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training"), 4),
}
"""Function of torch -> operations an element of its first argument."""

_POOLING = frozenset({"max_pool2d_with_indices", "avg_pool2d"})


class Arithmetic(TorchDispatchMode):
    """The count of `count_arithmetic` so far: ``passes``, and the operations of the ``algorithm`` and as ``executed``."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = self.algorithm = self.executed = 0
        self._known: dict[str, list[tuple[Tensor | None, ...]]] = {}
        # Holding the tensors keeps their ids from being used again.
        self._unread: dict[int, tuple[Tensor, str, dict[str, int]]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if current_count.get() is self:
            for leaf in tree_leaves((args, kwargs)):
                if id(leaf) in self._unread:
                    self._add_sum(*self._unread.pop(id(leaf))[1:])
            operations = operations_of(function, args, kwargs or {}, result)
            self.algorithm += operations
            self.executed += operations
        return result

    def add_pass(self, inputs: PassInputs, sums: PassSums) -> None:
        """Counts a vote pass: the operations executed, and those of the algorithm that are new.

        The sums of the pass are part of the algorithm from the moment that something reads them.
        """
        parts = pass_operations(inputs)
        self.passes += 1
        self.executed += sum(parts.values()) - parts["log_normaliser"]  # the softmax has computed it
        votes = (inputs.poses, inputs.weights, inputs.offset)
        with unnoticed():
            self.algorithm += parts["votes"] * self._is_new("votes", votes)
            self.algorithm += parts["logits"] * self._is_new("logits", (*votes, *inputs[4:8]))
        self._unread |= {id(tensor): (tensor, name, parts) for name, tensor in sums._asdict().items()}

    def _add_sum(self, name: str, parts: dict[str, int]) -> None:
        """Counts one of the sums of a pass, and, with the first moment that is read, the shares that weight it."""
        self.algorithm += parts[name]
        if name != "log_normaliser":
            self.algorithm += parts.pop("shares", 0)

    def _is_new(self, kind: str, tensors: tuple[Tensor | None, ...]) -> bool:
        """Tells whether no earlier tensors had these values. Values are compared, so a view or a copy is not new."""
        known = self._known.setdefault(kind, [])
        if any(all(map(_is_same, before, tensors)) for before in known):
            return False
        known.append(tuple(None if tensor is None else tensor.detach().clone() for tensor in tensors))
        return True


def _is_same(left: Tensor | None, right: Tensor | None) -> bool:
    if left is None or right is None:
        return left is right
    return left.shape == right.shape and left.dtype == right.dtype and torch.equal(left, right)


@contextmanager
def count_arithmetic() -> Iterator[Arithmetic]:
    """Counts the floating-point operations of the block, on this thread and without gradients."""
    count = Arithmetic()
    token = current_count.set(count)
    try:
        with count:
            yield count
    finally:
        current_count.reset(token)


def operations_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    """Returns the floating-point operations of one call of a torch function, by the rules at the top of this file."""
    formula: Callable[..., int] | None = flop_registry.get(function._overloadpacket)
    if formula is not None:
        return formula(*args, **kwargs, out_val=result)
    name = function._schema.name.removeprefix("aten::").rstrip("_")
    if name in _COPIES:
        return 0
    if name in _POOLING:
        return int(tree_leaves(result)[0].numel()) * math.prod(_to_pair(args[1]))
    if name in _OF_INPUT and isinstance(args[0], Tensor):
        return _OF_INPUT[name] * args[0].numel()
    if torch.Tag.pointwise in function.tags:
        return sum(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
    return 0


def _to_pair(size: Any) -> tuple[int, ...]:
    values = tuple(size) if isinstance(size, (list, tuple)) else (size,)
    return values if len(values) == 2 else values * 2


def pass_operations(inputs: PassInputs) -> dict[str, int]:
    """Returns the floating-point operations of one forward vote pass, by result."""
    problems, children, rows, depth = inputs.poses.shape
    parents, columns = inputs.weights.shape[1], inputs.weights.shape[3]
    logits = problems * children * parents
    values = logits * rows * columns
    share = SOFTMAX if inputs.log_normaliser is None else EXPONENTIAL
    return {
        "votes": values * (2 * depth + (inputs.offset is not None)),
        "logits": values * (2 * (inputs.direction is not None) + 4 * (inputs.mean is not None)),
        "shares": logits * (share + (inputs.activations is not None)),
        "mass": logits,
        "first": values * (2 + (inputs.centre is not None)),
        "second": values * 3,  # a square, a product, a sum
        "log_normaliser": logits * LOG_SUM if inputs.log_normaliser is None else 0,
    }
