"""The Triton kernels compiled ahead of time, without a GPU, for the layers of the papers: what each of them takes.

What is compiled is what `launch` would launch: the launches are planned on tensors without memory.
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
from capsbench_kernels.passes.types import PassInputs, PassSums, accumulation_dtype

BELIEFS = ("uniform", "dynamic", "em")
"""What is known of the parents: nothing, a direction, or a Gaussian about whose mean the moments are taken. ``every`` is
another one: all that a pass can be given, and the gradient of the offset."""

TARGETS = (80, 86, 89, 90, 100, 120)
"""The compute capabilities of data centre and desktop GPUs since 8.0. For one that does not exist, LLVM ends the process."""


@dataclass(frozen=True)
class KernelResources:
    """What a kernel takes on a GPU.

    Attributes:
        target: the compute capability, 90 for 9.0.
        registers: 32-bit registers a thread; 168 let three programs of four warps share a multiprocessor, 128 four.
        stack: bytes of local memory a thread: arrays that are not in registers, and registers spilled.
        shared: bytes of shared memory a program. 0: the threads exchange values within a warp only.
        spilled: whether ``stack`` is more than 0. These kernels have no arrays, so that it is all spilled registers.
    """

    kernel: str
    configuration: str
    target: int
    registers: int
    stack: int
    shared: int
    spilled: bool


def configurations(
    layers: Sequence[Layer] | None = None,
    beliefs: Sequence[str] = BELIEFS,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.bfloat16),
) -> Iterator[tuple[str, Launch]]:
    """The launches of a forward and a backward pass by the names of their configurations, each kernel in each form once.

    The layers are those of `bench.layers` if None, and the class capsules once more with five parents.
    """
    if layers is None:
        layers = [*LAYERS.values(), replace(LAYERS["hinton-class"], name="hinton-class-5", parents=5)]
    seen = set()
    for layer, belief, dtype in product(layers, beliefs, dtypes):
        for launch in _launches(layer, belief, dtype):
            form = (launch.kernel, *launch.options.items(), *_signature(launch).items(), *_constants(launch).items())
            if form not in seen:
                seen.add(form)
                yield f"{layer.name}, {belief}, {str(dtype).removeprefix('torch.')}", launch


def compile_kernels(
    targets: Sequence[int] = (80, 90), launches: Sequence[tuple[str, Launch]] | None = None
) -> list[KernelResources]:
    """Compiles the kernels in their default configurations, or those of ``launches`` (see `configurations`).

    Raises:
        ArgumentError: a target that the kernels cannot be compiled for.
        RuntimeError: under Triton's interpreter, which leaves nothing to compile; without Triton's cuobjdump.
    """
    for target in targets:
        if target not in TARGETS:
            raise ArgumentError("target", f"a compute capability of {', '.join(map(str, TARGETS))}", target)
    if INTERPRETED:
        raise RuntimeError("the kernels cannot be compiled in a process that has TRITON_INTERPRET=1 in its environment")
    cuobjdump = _cuobjdump()
    return [
        _compiled(launch, name, target, cuobjdump)
        for target in targets
        for name, launch in launches or list(configurations())
    ]


def _launches(layer: Layer, belief: str, dtype: torch.dtype) -> list[Launch]:
    problems = layer.batch * layer.problems
    values = layer.rows * layer.columns

    sums = accumulation_dtype(dtype)

    def of(*shape: int, dtype: torch.dtype = sums) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    every, gaussian = belief == "every", belief in ("em", "every")
    of_children, of_values = (problems, layer.children), (problems, layer.parents, values)
    mean = of(*of_values) if gaussian else None
    inputs = PassInputs(
        poses=of(problems, layer.children, layer.rows, layer.depth, dtype=dtype),
        weights=of(layer.children, layer.parents, layer.depth, layer.columns, dtype=dtype),
        activations=of(*of_children) if gaussian else None,
        offset=of(1, layer.children, layer.rows, layer.columns, dtype=dtype) if layer.coordinates or every else None,
        bias=of(problems, layer.parents) if gaussian else None,
        direction=of(*of_values) if belief == "dynamic" or every else None,
        mean=mean,
        precision=of(*of_values) if gaussian else None,
        centre=of(*of_values) if every else mean,
        log_normaliser=of(*of_children) if every else None,
    )
    forward, _ = forward_launch(inputs)
    gradients = PassSums(of(problems, layer.parents), of(*of_values), of(*of_values), of(*of_children))
    backward, _ = backward_launches(inputs, gradients, offset_wanted=every)
    return [forward, *backward]


_POINTERS = {torch.float64: "*fp64", torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}


def _signature(launch: Launch) -> dict[str, str]:
    """The arguments' types in Triton's words, in the kernel's order."""
    constants = _constants(launch)

    def of(name: str) -> str:
        argument = launch.arguments[name]
        if name in constants:
            return "constexpr"
        return _POINTERS[argument.dtype] if isinstance(argument, Tensor) else "i32"

    return {name: of(name) for name in launch.kernel.arg_names}


def _constants(launch: Launch) -> dict[str, Any]:
    declared = {parameter.name for parameter in launch.kernel.params if parameter.is_constexpr}
    return {name: value for name, value in launch.arguments.items() if name in declared or value is None}


def _compiled(launch: Launch, configuration: str, target: int, cuobjdump: str) -> KernelResources:
    signature = _signature(launch)
    # Memory from torch's allocator is aligned to 16 bytes and more, which a launch would find out.
    aligned = {(k,): [["tt.divisibility", 16]] for k, kind in enumerate(signature.values()) if kind.startswith("*")}
    source = ASTSource(launch.kernel, signature, _constants(launch), aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", target, 32), options=launch.options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(compiled.asm["cubin"])
        usage = subprocess.run([cuobjdump, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    if found is None:
        raise RuntimeError(f"cuobjdump -res-usage said nothing of {launch.kernel.__name__}: {usage.strip()[:200]}")
    registers, stack, local = map(int, found.groups())
    # The shared memory is asked for at the launch; the binary does not tell it.
    shared = compiled.metadata.shared
    name = launch.kernel.__name__
    return KernelResources(name, configuration, target, registers, stack + local, shared, stack + local > 0)


def _cuobjdump() -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        raise RuntimeError(
            f"this Triton ({triton.__version__}) has no cuobjdump beside its compiler, which tells the registers"
        )
    return str(tool)
