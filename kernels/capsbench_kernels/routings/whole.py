"""Whole routings as operators of torch, on kernels that run their passes and the updates between them.

Between the passes of a routing stand operations on small tensors: a squash, an M-step. Left to torch, each starts OpenMP's
threads, which then spin beside those of the next pass; autograd keeps the operands of each, and adds the gradients that the
passes send to one tensor. Kernels that know the update do all of that in place.

Only the inputs and the sums of each iteration are kept for the backward function. The gradients of gradients are those of the
reference, as for a single pass.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from capsbench_kernels.passes.api import _check_inputs, choose_backend
from capsbench_kernels.passes.observe import current_count, current_observer
from capsbench_kernels.passes.operators import Operator, import_kernels
from capsbench_kernels.passes.types import (
    DynamicOptions,
    EMOptions,
    PassInputs,
    RoutingKernels,
    Wanted,
    accumulation_dtype,
    at_least_float32,
)

Reference = Callable[[Sequence[Any], Any, bool], tuple[Tensor, ...]]
"""The same routing by torch's own operations: of its tensors and options, and whether only the last iteration has gradients."""


class RoutingOperator(Operator):
    """Maps the tensors of a routing, a backend, whether only the last iteration has gradients, and the options to outputs.

    `RoutingKernels` explains the tensors, the options, the outputs, and what is saved.
    """

    options: ClassVar[type[EMOptions] | type[DynamicOptions]]

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference = reference

    def split_settings(self, settings: Sequence[Any]) -> tuple[RoutingKernels, Any, bool]:
        """Returns the kernels, the options, and whether only the last iteration has gradients."""
        backend, last_only, *numbers = settings
        return import_kernels(backend), self.options(*numbers), last_only

    def run_kernel(self, tensors: Sequence[Any], settings: Sequence[Any]) -> Sequence[Tensor]:
        kernels, options, _ = self.split_settings(settings)
        route, _ = self.find_functions(kernels)
        results: Sequence[Tensor] = route(tensors, options)
        return results

    def run_backward_kernel(
        self,
        tensors: Sequence[Any],
        saved: Sequence[Tensor],
        slopes: Sequence[Tensor],
        settings: Sequence[Any],
        wanted: Sequence[bool],
    ) -> Sequence[Tensor | None]:
        kernels, options, last_only = self.split_settings(settings)
        _, route_backward = self.find_functions(kernels)
        gradients: Sequence[Tensor | None] = route_backward(
            tensors, options, saved, slopes, last_only=last_only, wanted=Wanted.from_flags(self.tensors, wanted)
        )
        return gradients

    def run_reference(self, tensors: Sequence[Any], settings: Sequence[Any]) -> tuple[Tensor, ...]:
        _, last_only, *numbers = settings
        return self.reference(tensors, self.options(*numbers), last_only)

    def infer_shapes(self, tensors: Sequence[Any], settings: Sequence[Any]) -> list[Tensor]:
        kernels, options, _ = self.split_settings(settings)
        poses, weights = tensors[:2]
        shapes = self.find_shapes(kernels, tuple(poses.shape), tuple(weights.shape), options)
        return [poses.new_empty(shape, dtype=accumulation_dtype(poses.dtype)) for shape in shapes]

    @abstractmethod
    def find_functions(self, kernels: RoutingKernels) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Returns the functions of the routing and of its gradients."""

    @abstractmethod
    def find_shapes(self, kernels: RoutingKernels, poses: Any, weights: Any, options: Any) -> Sequence[tuple[int, ...]]:
        """Returns the shapes of the outputs and of what is saved, from those of the poses and the weights."""


class EMOperator(RoutingOperator):
    """EM routing."""

    name = "em_routing"
    tensors = dict(poses=False, weights=False, offset=True, activations=False, beta_a=False, beta_u=False)
    settings = "str backend, bool last_only, float[] inverse_temperature, float variance_epsilon, float mass_scale, "
    settings += "float annealing, float mass_floor, float cancellation"
    outputs = ("parent_poses", "parent_activations")
    saved = ("masses", "firsts", "seconds", "centres", "logs")
    options = EMOptions

    def find_functions(self, kernels: RoutingKernels) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return kernels.route_em, kernels.route_em_backward

    def find_shapes(self, kernels: RoutingKernels, poses: Any, weights: Any, options: Any) -> Sequence[tuple[int, ...]]:
        number, values = kernels.infer_parents(poses, weights)
        iterations = len(options.inverse_temperature)
        outputs = (poses[0], weights[1], poses[2], weights[3]), (poses[0], weights[1])
        return [*outputs, *((iterations, *each) for each in (number, values, values, values, number))]


class DynamicOperator(RoutingOperator):
    """Dynamic routing, without the last squash."""

    name = "dynamic_routing"
    tensors = dict(poses=False, weights=False, offset=True, bias=True)
    settings = "str backend, bool last_only, int iterations, int variant, bool leaky"
    outputs = ("parent_sums",)
    saved = ("sums", "directions")
    options = DynamicOptions

    def find_functions(self, kernels: RoutingKernels) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return kernels.route_dynamic, kernels.route_dynamic_backward

    def find_shapes(self, kernels: RoutingKernels, poses: Any, weights: Any, options: Any) -> Sequence[tuple[int, ...]]:
        _, values = kernels.infer_parents(poses, weights)
        output = poses[0], weights[1], poses[2] * weights[3]
        return [output, (options.iterations, *values), (options.iterations - 1, *values)]


def find_backend(backend: str, poses: Tensor) -> str | None:
    """Returns the backend whose kernels run whole routings of these poses, or None where the passes are run one by one.

    Passes are run one by one under `count_arithmetic`, which counts torch's operations between them, and under `torch.func`,
    where a batch of passes is one larger pass.
    """
    if torch._C._are_functorch_transforms_active():
        return None
    if not torch.compiler.is_compiling() and current_count.get() is not None:
        return None
    chosen = choose_backend(backend, poses.device)
    return chosen if chosen == "cpu" else None


def is_observed() -> bool:
    """Tells whether an observer waits for the passes of a routing.

    They are then run one by one as well, and differ from those of the whole routing by rounding. What is returned are the
    outputs of the whole routing, so that an observer changes no number.
    """
    return not torch.compiler.is_compiling() and current_observer.get() is not None


def run_whole(
    operator: RoutingOperator,
    backend: str,
    options: EMOptions | DynamicOptions,
    last_only: bool,
    tensors: Sequence[Tensor | None],
) -> tuple[Tensor, ...]:
    """Runs a routing and returns its outputs.

    Args:
        operator: tells which routing it is.
        backend: see `find_backend`.
        options: those of the operator.
        last_only: whether only the last iteration carries a gradient, with constant shares.
        tensors: see `RoutingKernels`.
    """
    poses, weights, offset, *others = tensors
    if torch.is_autocast_enabled(poses.device.type):  # type: ignore[union-attr]
        poses, weights, offset = (None if tensor is None else tensor.float() for tensor in (poses, weights, offset))
    others = [None if tensor is None else at_least_float32(tensor) for tensor in others]
    activations = others[0] if isinstance(options, EMOptions) else None
    _check_inputs(PassInputs(poses, weights, activations, offset, *[None] * 6))  # type: ignore[arg-type]
    contiguous = [None if tensor is None else tensor.contiguous() for tensor in (poses, weights, offset, *others)]
    results: tuple[Tensor, ...] = operator.forward(*contiguous, backend, last_only, *options)
    return results[: len(operator.outputs)]
