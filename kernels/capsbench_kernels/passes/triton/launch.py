"""The vote pass on CUDA devices: launches the Triton kernels of `passes.py`.

`capsbench_kernels.passes.types.Kernels` has the contract. If the problems alone do not fill the device, the children are split
over programs. Each program writes its own partial sums, and a second step adds them in a fixed order. The problems are split
likewise for the gradient of the weights. Nothing is added atomically: the same input gives the same bits on the same device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from capsbench_kernels.passes.triton import passes as triton_passes
from capsbench_kernels.passes.triton.blocks import UNROLLED
from capsbench_kernels.passes.types import PassInputs, PassSums, Wanted, accumulation_dtype

INTERPRETED = not isinstance(triton_passes.forward_kernel, triton.JITFunction)
"""True if Triton was imported under TRITON_INTERPRET=1: its kernels then run in Python, on any device."""

NEEDED = (3, 6)
"""Oldest Triton version tested: that of the oldest supported torch, 2.11."""

THREADS = 128
"""Threads of a program: 4 warps, so that three to four programs share a multiprocessor at 128 to 168 registers."""


def find_obstacle(device: torch.device) -> str | None:
    """See `capsbench_kernels.passes.types.Kernels`."""
    if tuple(map(int, triton.__version__.split(".")[:2])) < NEEDED:
        return f"its kernels need Triton {NEEDED[0]}.{NEEDED[1]} or later, and this is {triton.__version__}"
    if INTERPRETED and device.type in ("cpu", "cuda"):
        return None
    if device.type != "cuda":
        return f"its kernels need a CUDA device, and these tensors are on the {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        return f"its kernels need compute capability 8.0 or later, and this device has {capability[0]}.{capability[1]}"
    return None


def forward(inputs: PassInputs) -> PassSums:
    """Returns the moments and each child's log-normaliser."""
    launch, partials = forward_launch(inputs)
    launch.run()
    mass, first, second, log_normaliser = partials
    return PassSums(_sum_partials(mass, 2), _sum_partials(first, 3), _sum_partials(second, 3), log_normaliser)


def backward(
    inputs: PassInputs,
    gradients: PassSums,
    *,
    wanted: Wanted,
    constant_shares: bool = False,
) -> PassInputs:
    """Returns the gradients of the inputs; see `capsbench_kernels.passes.autograd`."""
    launches, outputs = backward_launches(inputs, gradients, wanted=wanted, constant_shares=constant_shares)
    for launch in launches:
        launch.run()
    summed = {"weights": 4, "bias": 2, "direction": 3, "mean": 3, "precision": 3}
    return outputs._replace(
        **{
            name: _sum_partials(partials, dimensions)
            for name, dimensions in summed.items()
            if (partials := getattr(outputs, name)) is not None
        }
    )


@dataclass(frozen=True)
class Launch:
    """A kernel with its arguments by name, its grid of programs and the warps of a program."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    warps: int

    @property
    def options(self) -> dict[str, Any]:
        # Triton 3.10 fuses multiplications and additions only where asked to.
        return {"num_warps": self.warps, "enable_fp_fusion": True}

    def run(self) -> None:
        with torch.cuda.device_of(self.arguments["p_poses"]):  # no device where the interpreter runs on the CPU
            self.kernel[self.grid](**self.arguments, **self.options)


def forward_launch(inputs: PassInputs) -> tuple[Launch, PassSums]:
    """Returns the forward kernel on these inputs, and the tensors of its sums: ``[splits, ...]`` if there are several splits."""
    sizes = Sizes.from_inputs(inputs)
    tile = problem_tile(sizes, gaussian=inputs.mean is not None)
    span, splits = split_loop(sizes.children, blocks=tile.blocks, wave=3 * sizes.multiprocessors)
    partials = PassSums(
        _make_partials(inputs, splits, sizes.problems, sizes.parents),
        _make_partials(inputs, splits, sizes.problems, sizes.parents, sizes.values),
        _make_partials(inputs, splits, sizes.problems, sizes.parents, sizes.values),
        _make_empty(inputs, sizes.problems, sizes.children) if inputs.log_normaliser is None else inputs.log_normaliser,
    )
    arguments = {
        **_shared_arguments(inputs, sizes, span),
        "p_given": inputs.log_normaliser,
        "p_mass": partials.mass,
        "p_first": partials.first,
        "p_second": partials.second,
        "p_normaliser": partials.log_normaliser,
        **tile.constants,
    }
    return Launch(triton_passes.forward_kernel, (tile.blocks, splits), arguments, tile.warps), partials


def backward_launches(
    inputs: PassInputs,
    gradients: PassSums,
    *,
    wanted: Wanted,
    constant_shares: bool = False,
) -> tuple[list[Launch], PassInputs]:
    """Returns the backward kernels that are needed, in order, and the tensors of the gradients.

    Those of the belief and of the weights are ``[splits, ...]`` if there are several splits. With constant shares, the gradients
    of the belief and of a given log-normaliser are 0.
    """
    sizes = Sizes.from_inputs(inputs)
    tile = problem_tile(sizes, gaussian=inputs.mean is not None)
    resident = 2 if tile.constants["T"] == 2 else 3  # programs a multiprocessor at 255 and 168 registers a thread
    span, splits = split_loop(sizes.children, blocks=tile.blocks, wave=resident * sizes.multiprocessors)
    pairs = pair_tile(sizes)
    # The weights' gradient has D/(N*R) of the votes' size. The limit keeps all partial ones below 1/20 of the votes together.
    most = sizes.problems * sizes.rows // (20 * sizes.depth)
    problem_span, problem_splits = split_loop(
        sizes.problems, blocks=pairs.blocks, wave=4 * sizes.multiprocessors, most=most
    )

    def make_partial(tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        return torch.zeros_like(tensor) if constant_shares else _make_partials(inputs, splits, *tensor.shape)

    of_children = (sizes.problems, sizes.children)
    given = inputs.log_normaliser is not None
    top = inputs.log_normaliser if given else _make_empty(inputs, *of_children)
    log_total = None if given else _make_empty(inputs, *of_children)
    to_normaliser = None if constant_shares else _make_empty(inputs, *of_children)
    to_given = make_partial(inputs.log_normaliser) if constant_shares else to_normaliser
    outputs = PassInputs(
        poses=_make_empty(inputs, *inputs.poses.shape),
        weights=_make_partials(inputs, problem_splits, *inputs.weights.shape) if wanted.weights else None,  # type: ignore[arg-type]
        activations=None if inputs.activations is None else _make_empty(inputs, *of_children),
        offset=_make_empty(inputs, *of_children, sizes.rows, sizes.columns) if wanted.offset else None,
        bias=make_partial(inputs.bias),
        direction=make_partial(inputs.direction),
        mean=make_partial(inputs.mean),
        precision=make_partial(inputs.precision),
        centre=None,
        log_normaliser=to_given if given else None,
    )
    shared = {
        **_shared_arguments(inputs, sizes, span),
        "p_mass_gradient": gradients.mass,
        "p_first_gradient": _parents_last(gradients.first),
        "p_second_gradient": _parents_last(gradients.second),
        "CONSTANT_SHARES": constant_shares,
    }
    to_poses = {
        **shared,
        "p_given": inputs.log_normaliser,
        "p_normaliser_gradient": gradients.log_normaliser,
        "p_poses_out": outputs.poses,
        "p_activations_out": outputs.activations,
        "p_offset_out": outputs.offset,
        "p_bias_out": None if constant_shares else outputs.bias,
        "p_direction_out": None if constant_shares else outputs.direction,
        "p_mean_out": None if constant_shares else outputs.mean,
        "p_precision_out": None if constant_shares else outputs.precision,
        "p_normaliser_out": to_normaliser,
        "p_top_out": None if given else top,
        "p_log_total_out": log_total,
        **tile.constants,
    }
    to_weights = {
        **shared,
        "p_top": top,
        "p_log_total": log_total,
        "p_normaliser_gradient": to_normaliser,  # complete by now: the first kernel has written it
        "p_weights_out": outputs.weights,
        "span": problem_span,
        **pairs.constants,
    }
    launches = [Launch(triton_passes.backward_poses_kernel, (tile.blocks, splits), to_poses, tile.warps)]
    if wanted.weights:
        grid = (pairs.blocks, problem_splits, pairs.passes)
        launches.append(Launch(triton_passes.backward_weights_kernel, grid, to_weights, pairs.warps))
    return launches, outputs


@dataclass(frozen=True)
class Sizes:
    """The sizes of a pass and the device it runs on."""

    problems: int
    children: int
    parents: int
    rows: int
    depth: int
    columns: int
    multiprocessors: int

    @classmethod
    def from_inputs(cls, inputs: PassInputs) -> Sizes:
        problems, children, rows, depth = inputs.poses.shape
        _, parents, _, columns = inputs.weights.shape
        device = inputs.poses.device
        count = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 132
        return cls(problems, children, parents, rows, depth, columns, count)

    @property
    def values(self) -> int:
        return self.rows * self.columns


def split_loop(length: int, *, blocks: int, wave: int, most: int | None = None) -> tuple[int, int]:
    """Cuts a loop of ``length`` steps, which ``blocks`` programs run, into splits: returns the steps of each, and how many.

    A device runs ``wave`` programs at a time. The result is the fewest splits that fill nine tenths of the last wave; if none
    does, the most allowed. There are at most ``most``, and each has 16 steps or more, so that the partial sums of all splits
    stay below an eighth of the votes' size: two numbers a value of a parent and a split, beside one a value of a vote.
    """
    upper = max(1, length // 16 if most is None else min(most, length // 16))
    waves = (blocks * count / wave for count in range(1, upper + 1))
    full = (count for count, used in enumerate(waves, 1) if used >= 0.9 * math.ceil(used))
    span = math.ceil(length / next(full, upper))
    return span, math.ceil(length / span)


@dataclass(frozen=True)
class Tile:
    """The tile of one program, as the constants of a kernel, and the number of programs and passes that cover all tiles."""

    constants: dict[str, int]
    blocks: int
    warps: int
    passes: int = 1


def problem_tile(sizes: Sizes, *, gaussian: bool) -> Tile:
    """Returns a tile of a few problems with all their parents: a thread for each pair of problem and parent.

    A thread reads each weight once for all R rows of a pose. With one row only, it takes two problems, so that a weight serves
    both, unless a Gaussian belief or a long vote fills its registers.
    """
    parents = triton.next_power_of_2(sizes.parents)
    threads = max(1, THREADS // parents)
    problems_a_thread = (
        2 if sizes.rows == 1 and sizes.columns <= 16 and not gaussian and sizes.problems > threads else 1
    )
    problems = min(threads, triton.next_power_of_2(sizes.problems))
    constants = {
        "T": problems_a_thread,
        "BN": problems,
        "BJ": parents,
        "BR": triton.next_power_of_2(sizes.rows),
        "BE": triton.next_power_of_2(sizes.columns),
    }
    return Tile(
        constants, math.ceil(sizes.problems / (problems_a_thread * problems)), min(8, max(1, problems * parents // 32))
    )


def pair_tile(sizes: Sizes) -> Tile:
    """Returns a tile of pairs of a child and a parent.

    As many threads share a pair as it takes to keep its D*E weights, and their gradient, in registers.
    """
    columns = triton.next_power_of_2(sizes.columns)
    lanes = 1
    depth = min(sizes.depth, UNROLLED.value)
    while lanes < min(columns, 32) and depth * columns // lanes > 32:
        lanes *= 2
    pairs = THREADS // lanes
    constants = {
        "BP": pairs,
        "LANES": lanes,
        "BR": triton.next_power_of_2(sizes.rows),
        "BD": depth,
        "BE": columns // lanes,
    }
    return Tile(
        constants, math.ceil(sizes.children * sizes.parents / pairs), THREADS // 32, math.ceil(sizes.depth / depth)
    )


def _shared_arguments(inputs: PassInputs, sizes: Sizes, span: int) -> dict[str, Any]:
    """Returns the arguments that all kernels take.

    Neighbouring threads have neighbouring parents, so the parents go last in memory.
    """
    centre, mean = inputs.centre, inputs.mean
    centre_is_mean = centre is not None and mean is not None and _share_memory(centre, mean)
    return {
        "p_poses": inputs.poses,
        "p_weights": inputs.weights.permute(0, 2, 3, 1).contiguous(),
        "p_activations": inputs.activations,
        "p_offset": inputs.offset,
        "p_bias": inputs.bias,
        "p_direction": _parents_last(inputs.direction),
        "p_mean": _parents_last(inputs.mean),
        "p_precision": _parents_last(inputs.precision),
        "p_centre": None if centre_is_mean else _parents_last(inputs.centre),
        "N": sizes.problems,
        "I": sizes.children,
        "span": span,
        "offset_stride": 0 if inputs.offset is None or len(inputs.offset) == 1 else inputs.offset[0].numel(),
        "J": sizes.parents,
        "R": sizes.rows,
        "D": sizes.depth,
        "E": sizes.columns,
        "CENTRE_IS_MEAN": centre_is_mean,
    }


def _share_memory(one: Tensor, other: Tensor) -> bool:
    """Tells whether two contiguous tensors of one shape share memory; without memory, whether they are one tensor."""
    return one is other or one.data_ptr() == other.data_ptr() != 0


def _parents_last(values: Tensor | None) -> Tensor | None:
    """Returns ``[N, J, H]`` as ``[N, H, J]``."""
    return None if values is None else values.transpose(1, 2).contiguous()


def _make_empty(inputs: PassInputs, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=accumulation_dtype(inputs.poses.dtype), device=inputs.poses.device)


def _make_partials(inputs: PassInputs, splits: int, *shape: int) -> Tensor:
    return _make_empty(inputs, *shape) if splits == 1 else _make_empty(inputs, splits, *shape)


def _sum_partials(partials: Tensor, dimensions: int) -> Tensor:
    return partials if partials.dim() == dimensions else partials.sum(0)
