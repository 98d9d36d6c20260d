"""Operators of torch on fused kernels: torch's compilers and transforms see one node for each, and one for its gradients.

An `Operator` declares ``capsbench::NAME`` and ``capsbench::NAME_backward``. Torch runs them by rules for

    shapes alone                fake and meta tensors: `torch.compile`, `torch.export`, AOTInductor
    gradients                   of every order, by `autograd.py`
    a batch of calls            `torch.func.vmap`
    no kernels at all           `decomposition_table`: an exported program of torch's own operations, by the reference

There is no rule for forward-mode derivatives: an operator with a tangent raises an error, and our functions take the reference.
They are declared one rule at a time, since `torch.library.custom_op` gives `torch.func.jvp` a tangent of 0 without an error.
"""

from __future__ import annotations

import builtins
import importlib
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from capsbench_kernels.passes.autograd import (
    DifferentiableGradients,
    DifferentiableOutputs,
    apply_at_one_level,
    differentiate_reference,
    refuse_tangents,
)

_KERNELS = {"cpu": "capsbench_kernels.passes.cpu.launch", "triton": "capsbench_kernels.passes.triton.launch"}

_REPLACED_IN_TRACES = ((builtins, "max", max), (builtins, "min", min), (math, "pow", math.pow))
"""What `torch.export` replaces while it traces, in torch 2.11 by functions without a name: Numba cannot be imported then."""

_LIBRARY = torch.library.Library("capsbench", "DEF")

_OPERATORS: list[Operator] = []


def import_kernels(backend: str) -> Any:
    """Imports the kernels of a backend, when they are first needed: importing Numba or Triton takes about a second."""
    name = _KERNELS[backend]
    if name in sys.modules:
        return importlib.import_module(name)
    present = [getattr(owner, function) for owner, function, _ in _REPLACED_IN_TRACES]
    try:
        for owner, function, original in _REPLACED_IN_TRACES:
            setattr(owner, function, original)
        return importlib.import_module(name)
    finally:
        for (owner, function, _), replacement in zip(_REPLACED_IN_TRACES, present, strict=True):
            setattr(owner, function, replacement)


class Operator(ABC):
    """A differentiable function of tensors and settings, by fused kernels, and the same by torch's own operations.

    A subclass is made once, and is then an operator of torch. All arguments have a place and no name. The tensors are
    contiguous where torch calls a kernel.
    """

    name: ClassVar[str]
    tensors: ClassVar[dict[str, bool]]
    """The tensors that it takes first, and whether each may be None."""

    settings: ClassVar[str]
    """The other arguments, in the language of torch's schemas."""

    outputs: ClassVar[tuple[str, ...]]
    """The tensors that it returns first: those that gradients come for."""

    saved: ClassVar[tuple[str, ...]] = ()
    """The tensors that it returns last, for the function of its gradients alone."""

    constants: ClassVar[tuple[str, ...]] = ()
    """The tensors that are not differentiated."""

    def __init__(self) -> None:
        tensors = ", ".join(f"Tensor{'?' if may_lack else ''} {name}" for name, may_lack in self.tensors.items())
        given = ", ".join(
            [*(f"Tensor {name}" for name in self.saved), *(f"Tensor {name}_slope" for name in self.outputs)]
        )
        results = ", ".join("Tensor" for _ in (*self.outputs, *self.saved))
        backward = f"{self.name}_backward"
        tag = torch.Tag.pt2_compliant_tag
        _LIBRARY.define(f"{self.name}({tensors}, {self.settings}) -> ({results})", tags=tag)
        _LIBRARY.define(f"{backward}({tensors}, {given}, {self.settings}, bool[] wanted) -> Tensor[]", tags=tag)
        self.forward: Any = getattr(torch.ops.capsbench, self.name).default
        self.backward: Any = getattr(torch.ops.capsbench, backward).default
        for key in ("CPU", "CUDA"):
            _LIBRARY.impl(self.name, self._run_forward, key)
            _LIBRARY.impl(backward, self._run_backward, key)
        torch.library.register_fake(f"capsbench::{self.name}", self._infer_outputs, lib=_LIBRARY)
        torch.library.register_fake(f"capsbench::{backward}", self._infer_gradients, lib=_LIBRARY)
        _LIBRARY.impl(self.name, self._differentiate_outputs, "Autograd", with_keyset=True)
        _LIBRARY.impl(backward, self._differentiate_gradients, "Autograd", with_keyset=True)
        torch.library.register_vmap(f"capsbench::{self.name}", self.map_forward, lib=_LIBRARY)
        torch.library.register_vmap(f"capsbench::{backward}", self.map_backward, lib=_LIBRARY)
        _OPERATORS.append(self)

    @abstractmethod
    def run_kernel(self, tensors: Sequence[Any], settings: Sequence[Any]) -> Sequence[Tensor]:
        """Returns the outputs and what is saved, none of which shares memory with a tensor given."""

    @abstractmethod
    def run_backward_kernel(
        self,
        tensors: Sequence[Any],
        saved: Sequence[Tensor],
        slopes: Sequence[Tensor],
        settings: Sequence[Any],
        wanted: Sequence[bool],
    ) -> Sequence[Tensor | None]:
        """Returns the gradient of each tensor from the slopes, which are the gradients of the outputs; more than is wanted.

        That of a tensor which all problems share may be one of each problem.
        """

    @abstractmethod
    def infer_shapes(self, tensors: Sequence[Any], settings: Sequence[Any]) -> Sequence[Tensor]:
        """Returns empty tensors in the place of the results of `run_kernel`."""

    @abstractmethod
    def run_reference(self, tensors: Sequence[Any], settings: Sequence[Any]) -> Sequence[Tensor]:
        """Returns the outputs by torch's own operations."""

    def count_varying(self, tensors: Sequence[Any], settings: Sequence[Any]) -> int:
        """Returns how many outputs have a gradient; these are the first."""
        return len(self.outputs)

    def without_constants(self, wanted: Sequence[bool]) -> list[bool]:
        """Returns the flags of tensors, False for those that are not differentiated."""
        return [flag and name not in self.constants for name, flag in zip(self.tensors, wanted, strict=True)]

    def split_backward(self, arguments: Sequence[Any]) -> tuple[Any, Any, Any, Any, list[bool]]:
        """Splits the arguments of the gradients into tensors, saved, slopes, settings and wanted."""
        first = len(self.tensors)
        second = first + len(self.saved)
        third = second + len(self.outputs)
        return arguments[:first], arguments[first:second], arguments[second:third], arguments[third:-1], arguments[-1]

    # The rules

    def _run_forward(self, *arguments: Any) -> tuple[Tensor, ...]:
        tensors = [_detach(tensor) for tensor in arguments[: len(self.tensors)]]
        return tuple(self.run_kernel(tensors, arguments[len(self.tensors) :]))

    def _run_backward(self, *arguments: Any) -> list[Tensor]:
        *groups, settings, wanted = self.split_backward(arguments)
        tensors, saved, slopes = ([_detach(tensor) for tensor in group] for group in groups)
        computed = self.run_backward_kernel(tensors, saved, slopes, settings, wanted)
        return [
            # A tensor that all problems share, such as an offset, has the sum of their gradients.
            gradient.sum_to_size(tensor.shape).to(tensor.dtype)
            for tensor, gradient, needed in zip(tensors, computed, wanted, strict=True)
            if needed and tensor is not None and gradient is not None
        ]

    def _infer_outputs(self, *arguments: Any) -> tuple[Tensor, ...]:
        return tuple(self.infer_shapes(arguments[: len(self.tensors)], arguments[len(self.tensors) :]))

    def _infer_gradients(self, *arguments: Any) -> list[Tensor]:
        return [
            tensor.new_empty(tensor.shape)
            for tensor, needed in zip(arguments, arguments[-1], strict=False)
            if needed and tensor is not None
        ]

    def _differentiate_outputs(self, keyset: Any, *arguments: Any) -> Any:
        tensors, settings = arguments[: len(self.tensors)], arguments[len(self.tensors) :]
        refuse_tangents(f"capsbench::{self.name}", tensors)

        def run() -> Any:
            return self.forward.redispatch(keyset & torch._C._after_autograd_keyset, *arguments)

        if torch.is_grad_enabled() and torch._C._any_requires_grad(*tensors):
            return apply_at_one_level(DifferentiableOutputs, self, run, settings, *tensors)
        with torch._C._AutoDispatchBelowAutograd():
            return run()

    def _differentiate_gradients(self, keyset: Any, *arguments: Any) -> Any:
        *groups, settings, wanted = self.split_backward(arguments)
        tensors = [tensor for group in groups for tensor in group]
        refuse_tangents(f"capsbench::{self.name}_backward", tensors)

        def run() -> Any:
            return self.backward.redispatch(keyset & torch._C._after_autograd_keyset, *arguments)

        if torch.is_grad_enabled() and torch._C._any_requires_grad(*tensors) and any(wanted):
            return list(apply_at_one_level(DifferentiableGradients, self, run, settings, wanted, *tensors))
        with torch._C._AutoDispatchBelowAutograd():
            return run()

    def map_forward(self, info: Any, dims: Sequence[Any], *arguments: Any) -> tuple[Any, Any]:
        """Runs a batch of calls, `torch.library.register_vmap`: one after the other, unless a subclass knows better."""
        return loop_over_batch(self.forward, info.batch_size, move_batch_first(arguments, dims), dims)

    def map_backward(self, info: Any, dims: Sequence[Any], *arguments: Any) -> tuple[Any, Any]:
        """Runs a batch of calls for gradients, as `map_forward` does."""
        return loop_over_batch(self.backward, info.batch_size, move_batch_first(arguments, dims), dims)

    def decompose(self) -> dict[Any, Callable[..., Any]]:
        """Returns the two operators by torch's own operations."""

        def run(*arguments: Any) -> tuple[Tensor, ...]:
            tensors, settings = arguments[: len(self.tensors)], arguments[len(self.tensors) :]
            outputs = self.run_reference(tensors, settings)
            return *outputs, *(torch.zeros_like(each) for each in self.infer_shapes(tensors, settings)[len(outputs) :])

        def run_backward(*arguments: Any) -> list[Tensor]:
            tensors, _, slopes, settings, wanted = self.split_backward(arguments)
            return differentiate_reference(self, tensors, slopes, settings, wanted)

        return {self.forward: run, self.backward: run_backward}


def decomposition_table() -> dict[Any, Callable[..., Any]]:
    """Returns the operators of this package by torch's own operations, for `torch.export.ExportedProgram.run_decompositions`.

    A program that is decomposed by it needs neither this package nor a kernel: it can be loaded by torch alone, and by runtimes
    that know torch's operations, such as ONNX Runtime. It runs the reference, which holds the votes of a pass in memory.
    """
    return {each: function for operator in _OPERATORS for each, function in operator.decompose().items()}


def _detach(tensor: Tensor | None) -> Any:
    """Returns the tensor contiguous and without its graph: kernels read memory and know nothing of autograd."""
    return None if tensor is None else tensor.detach().contiguous()


def move_batch_first(arguments: Sequence[Any], dims: Sequence[Any]) -> list[Any]:
    """Returns the arguments of a batch of calls with the batch as their first dimension; ``dims`` has it of each, or None."""
    return [
        argument.movedim(dim, 0) if isinstance(dim, int) else argument
        for argument, dim in zip(arguments, dims, strict=True)
    ]


def loop_over_batch(
    operator: Callable[..., Any], size: int, arguments: Sequence[Any], dims: Sequence[Any]
) -> tuple[Any, Any]:
    """Calls the operator for each element of the batch, and stacks the results."""
    results = [
        operator(
            *(
                argument[index] if isinstance(dim, int) else argument
                for argument, dim in zip(arguments, dims, strict=True)
            )
        )
        for index in range(size)
    ]
    stacked = [torch.stack(parts) for parts in zip(*results, strict=True)]
    kind = type(results[0])
    return kind(stacked), kind([0] * len(stacked))
