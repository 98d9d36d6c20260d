"""Compiles the Triton kernels ahead of time, without a GPU, for the layers of the papers, and lists their resources.

The launches are those of `launch`, planned on tensors without memory.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from capsbench_kernels.bench.layers import LAYERS, Layer
from capsbench_kernels.errors import ArgumentError
from capsbench_kernels.passes.triton.launch import INTERPRETED, Launch, backward_launches, forward_launch
from capsbench_kernels.passes.types import PassInputs, PassSums, Wanted, accumulation_dtype

BELIEFS = ("uniform", "dynamic", "em")
"""Beliefs about the parents: none, a direction, or a Gaussian with the moments taken about its mean.

A further one, ``every``, has all inputs that a pass can have, and the gradient of the offset."""

TARGETS = (80, 86, 89, 90, 100, 120)
"""Compute capabilities of data centre and desktop GPUs since 8.0. LLVM ends the process for one that does not exist."""


@dataclass(frozen=True)
class KernelResources:
    """The resources of a kernel on a GPU.

    Attributes:
        target: the compute capability, 90 for 9.0.
        registers: 32-bit registers a thread; 168 let three programs of four warps share a multiprocessor, 128 four.
        stack: bytes of local memory a thread: arrays that are not in registers, and registers spilled.
        shared: bytes of shared memory a program; 0 if threads exchange values within a warp only.
        spilled: whether ``stack`` is above 0. These kernels have no arrays, so all of it is spilled registers.
    """

    kernel: str
    configuration: str
    target: int
    registers: int
    stack: int
    shared: int
    spilled: bool


def plan_configurations(
    layers: Sequence[Layer] | None = None,
    beliefs: Sequence[str] = BELIEFS,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.bfloat16),
) -> Iterator[tuple[str, Launch]]:
    """Yields the launches of forward and backward passes with the names of their configurations, each form of a kernel once.

    Without ``layers``, they are those of `bench.layers`, and the class capsules once more with five parents.
    """
    if layers is None:
        layers = [*LAYERS.values(), replace(LAYERS["hinton-class"], name="hinton-class-5", parents=5)]
    seen = set()
    for layer, belief, dtype in product(layers, beliefs, dtypes):
        for launch in _plan_launches(layer, belief, dtype):
            form = (
                launch.kernel,
                *launch.options.items(),
                *_signature_of(launch).items(),
                *_constants_of(launch).items(),
            )
            if form not in seen:
                seen.add(form)
                yield f"{layer.name}, {belief}, {str(dtype).removeprefix('torch.')}", launch


def compile_kernels(
    targets: Sequence[int] = (80, 90), launches: Sequence[tuple[str, Launch]] | None = None
) -> list[KernelResources]:
    """Compiles the kernels in their default configurations, or those of ``launches`` (see `plan_configurations`).

    Raises:
        ArgumentError: a target that the kernels cannot be compiled for.
        RuntimeError: under Triton's interpreter, which has nothing to compile, or without Triton's cuobjdump.
    """
    for target in targets:
        if target not in TARGETS:
            raise ArgumentError("target", f"a compute capability of {', '.join(map(str, TARGETS))}", target)
    if INTERPRETED:
        raise RuntimeError("the kernels cannot be compiled in a process that has TRITON_INTERPRET=1 in its environment")
    cuobjdump = _find_cuobjdump()
    return [
        _compile_launch(launch, name, target, cuobjdump)
        for target in targets
        for name, launch in launches or list(plan_configurations())
    ]


def _plan_launches(layer: Layer, belief: str, dtype: torch.dtype) -> list[Launch]:
    problems = layer.batch * layer.problems
    values = layer.rows * layer.columns

    sums = accumulation_dtype(dtype)

    def make_empty(*shape: int, dtype: torch.dtype = sums) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    every, gaussian = belief == "every", belief in ("em", "every")
    child_shape, value_shape = (problems, layer.children), (problems, layer.parents, values)
    mean = make_empty(*value_shape) if gaussian else None
    inputs = PassInputs(
        poses=make_empty(problems, layer.children, layer.rows, layer.depth, dtype=dtype),
        weights=make_empty(layer.children, layer.parents, layer.depth, layer.columns, dtype=dtype),
        activations=make_empty(*child_shape) if gaussian else None,
        offset=make_empty(1, layer.children, layer.rows, layer.columns, dtype=dtype)
        if layer.coordinates or every
        else None,
        bias=make_empty(problems, layer.parents) if gaussian else None,
        direction=make_empty(*value_shape) if belief == "dynamic" or every else None,
        mean=mean,
        precision=make_empty(*value_shape) if gaussian else None,
        centre=make_empty(*value_shape) if every else mean,
        log_normaliser=make_empty(*child_shape) if every else None,
    )
    forward, _ = forward_launch(inputs)
    gradients = PassSums(
        make_empty(problems, layer.parents),
        make_empty(*value_shape),
        make_empty(*value_shape),
        make_empty(*child_shape),
    )
    backward, _ = backward_launches(inputs, gradients, wanted=Wanted(weights=True, offset=every))
    return [forward, *backward]


_POINTERS = {torch.float64: "*fp64", torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}


def _signature_of(launch: Launch) -> dict[str, str]:
    """Returns the arguments' types by Triton's names, in the kernel's order."""
    constants = _constants_of(launch)

    def type_of(name: str) -> str:
        argument = launch.arguments[name]
        if name in constants:
            return "constexpr"
        return _POINTERS[argument.dtype] if isinstance(argument, Tensor) else "i32"

    return {name: type_of(name) for name in launch.kernel.arg_names}


def _constants_of(launch: Launch) -> dict[str, Any]:
    declared = {parameter.name for parameter in launch.kernel.params if parameter.is_constexpr}
    return {name: value for name, value in launch.arguments.items() if name in declared or value is None}


def _compile_launch(launch: Launch, configuration: str, target: int, cuobjdump: str) -> KernelResources:
    signature = _signature_of(launch)
    # A launch would detect that memory from torch's allocator is aligned to at least 16 bytes.
    aligned = {(k,): [["tt.divisibility", 16]] for k, kind in enumerate(signature.values()) if kind.startswith("*")}
    source = ASTSource(launch.kernel, signature, _constants_of(launch), aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", target, 32), options=launch.options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(compiled.asm["cubin"])
        usage = subprocess.run([cuobjdump, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    match = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    if match is None:
        raise RuntimeError(f"cuobjdump -res-usage does not list {launch.kernel.__name__}: {usage.strip()[:200]}")
    registers, stack, local = map(int, match.groups())
    # The launch requests the shared memory, so the binary does not record it.
    shared = compiled.metadata.shared
    name = launch.kernel.__name__
    return KernelResources(name, configuration, target, registers, stack + local, shared, stack + local > 0)


def _find_cuobjdump() -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        raise RuntimeError(
            f"this Triton ({triton.__version__}) has no cuobjdump beside its compiler, which lists the registers"
        )
    return str(tool)
