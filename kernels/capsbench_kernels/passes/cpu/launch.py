"""The fused vote pass on the CPU, compiled by Numba: users need no compiler and no build step.

    votes       V_ijh = sum_d u_ird W_ijde (+ o_irh)                    recomputed wherever they are needed
    logits      bias_j + <direction_j, m_j> + sum_h t (direction_jh - 1/2 precision_jh t),  t = V_ijh - m_jh, m the mean or 0
    gradients   as in `autograd.py`

One value of type `Lanes` (`lanes.py`) holds the same number of 16 children. A line of code is then a line of the formulas, a
softmax over the parents needs no shuffling, and an image of a batch of 1 costs no more than one of a large batch. The loops of
`passes.py` go over

    items       stretches of children and of problems, each a task for the threads, whose number is that of torch
    tiles       up to TILE children, whose transformation matrices are copied once, children last, into the second-level cache
    blocks      BLOCK problems, for each of which the child poses of the tile are copied likewise
    rows        a row of R and 4 columns of E, whose sums over the children of the tile stay in registers

Items share no output. A parent's sums get a part from each stretch of children, a matrix's gradient one from each stretch of
problems. Each item writes its own part, and a second step adds the parts. The cuts depend on the shapes alone, so the result
depends neither on the number of threads nor on the order in which they finish.

Numba was chosen by measuring (docs/kernels.md). The first call on a machine compiles for some seconds and keeps the result on
disk, in Numba's places: beside this file, or in the user's cache.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from inspect import isfunction
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from capsbench_kernels.passes.cpu.lanes import WIDTH
from capsbench_kernels.passes.cpu.passes import Array, Gradients, Inputs, Sums, backward_item, forward_item
from capsbench_kernels.passes.cpu.tiles import BLOCK, QUAD, TILE, Scratch, Shape
from capsbench_kernels.passes.types import PassInputs, PassSums, accumulation_dtype

COMPILED = not isfunction(forward_item)
"""False under NUMBA_DISABLE_JIT=1: the kernels are then functions that Python cannot run."""

ITEMS = 16
"""Number of tasks that a large pass is cut into."""

VOTE_VALUES_AN_ITEM = 1 << 18
"""Vote values of the smallest item. Handing a task to a thread takes about as long as a tenth of this many values."""


def find_obstacle(device: torch.device) -> str | None:
    """See `capsbench_kernels.passes.types.Kernels`."""
    if not COMPILED:
        return "Numba's compiler is switched off by NUMBA_DISABLE_JIT"
    return None if device.type == "cpu" else f"its kernels run on the CPU, and the tensors are on {device}"


def forward(inputs: PassInputs) -> PassSums:
    """See `capsbench_kernels.passes.types.Kernels`."""
    shape, arrays = _shape_of(inputs), _to_arrays(inputs)
    plan, layout = _cut_pass(shape), Scratch.lay_out(shape, offset=inputs.offset is not None, backward=False)
    allocator = _Allocator(arrays.poses.dtype)
    parts = len(plan.children)
    values = parts, shape.problems, shape.parents, shape.rows * shape.quads * QUAD
    mass, first, second = (
        allocator.zeros(parts, shape.problems, shape.parents),
        allocator.zeros(*values),
        allocator.zeros(*values),
    )
    log_normaliser = arrays.log_normaliser
    if inputs.log_normaliser is None:
        log_normaliser = allocator.empty(shape.problems, shape.children)
    _run_items(
        lambda scratch, part, child_range, problem_range, _: forward_item(
            arrays, Sums(mass[part], first[part], second[part], log_normaliser),
            shape, layout, scratch, *child_range, plan.step, *problem_range,
        ),
        plan, layout.size, allocator,
    )  # fmt: skip
    return PassSums(
        _sum_parts(mass),
        _sum_unpadded(first, shape),
        _sum_unpadded(second, shape),
        torch.from_numpy(log_normaliser),
    )


def backward(inputs: PassInputs, gradients: PassSums, *, offset_wanted: bool, constant_shares: bool) -> PassInputs:
    """See `capsbench_kernels.passes.types.Kernels`."""
    shape, arrays = _shape_of(inputs), _to_arrays(inputs)
    plan, layout = _cut_pass(shape), Scratch.lay_out(shape, offset=inputs.offset is not None, backward=True)
    allocator = _Allocator(arrays.poses.dtype)
    upstream = Sums(
        gradients.mass.numpy(),
        _pad_rows(gradients.first, shape.columns).numpy(),
        _pad_rows(gradients.second, shape.columns).numpy(),
        gradients.log_normaliser.numpy(),
    )
    parts = len(plan.children)
    values = parts, shape.problems, shape.parents, shape.rows * shape.quads * QUAD
    poses, activations = allocator.empty(*inputs.poses.shape), allocator.empty(shape.problems, shape.children)
    offset = (
        allocator.empty(shape.problems, shape.children, shape.rows, shape.columns)
        if offset_wanted
        else allocator.absent(4)
    )
    to_given = allocator.absent(2) if inputs.log_normaliser is None else allocator.empty(shape.problems, shape.children)
    weights = allocator.empty(len(plan.problems), *inputs.weights.shape)
    bias = allocator.zeros(*values[:3])
    direction = allocator.zeros(*(parts, 0, 0, 0) if inputs.direction is None else values)
    mean, precision = (allocator.zeros(*(parts, 0, 0, 0) if inputs.mean is None else values) for _ in range(2))
    _run_items(
        lambda scratch, part, child_range, problem_range, problem_part: backward_item(
            arrays, upstream,
            Gradients(
                poses, weights[problem_part], activations, offset,
                bias[part], direction[part], mean[part], precision[part], to_given,
            ),
            shape, layout, scratch, constant_shares, *child_range, plan.step, *problem_range,
        ),
        plan, layout.size, allocator,
    )  # fmt: skip

    to_bias = _sum_parts(bias)
    to_direction = None if inputs.direction is None else _sum_unpadded(direction, shape)
    if (
        to_direction is not None and inputs.mean is not None
    ):  # the kernel has summed gl (V - mean), and direction needs gl V
        to_direction += inputs.mean * to_bias.unsqueeze(2)
    return PassInputs(
        poses=torch.from_numpy(poses),
        weights=_sum_parts(weights),
        activations=None if inputs.activations is None else torch.from_numpy(activations),
        offset=torch.from_numpy(offset) if offset_wanted else None,
        bias=None if inputs.bias is None else to_bias,
        direction=to_direction,
        mean=None if inputs.mean is None else _sum_unpadded(mean, shape),
        precision=None if inputs.precision is None else _sum_unpadded(precision, shape),
        centre=None,
        log_normaliser=None if inputs.log_normaliser is None else torch.from_numpy(to_given),
    )


class _Plan(NamedTuple):
    """The cuts of a pass: an item is a stretch of children, in tiles of ``step``, of a stretch of problems."""

    step: int
    children: list[tuple[int, int]]
    problems: list[tuple[int, int]]


def _cut_pass(shape: Shape) -> _Plan:
    # Tiles of about equal size, in whole `Lanes`: a last tile of a few children would cost as much set-up as a full one.
    step = math.ceil(shape.children / math.ceil(shape.children / TILE) / WIDTH) * WIDTH
    tiles = math.ceil(shape.children / step)
    votes = shape.problems * shape.children * shape.parents * shape.rows * shape.columns
    items = max(1, min(ITEMS, votes // VOTE_VALUES_AN_ITEM))
    # A stretch of children costs a copy of the parents' sums, one of problems a copy of the weights. The last bound keeps
    # the copies of the weights below a sixteenth of the votes.
    child_parts = min(tiles, items)
    bounds = items // child_parts, shape.problems // BLOCK, shape.problems * shape.rows // (16 * shape.depth)
    return _Plan(
        step,
        [(first * step, min(last * step, shape.children)) for first, last in _cut_evenly(tiles, child_parts)],
        _cut_evenly(shape.problems, max(1, min(bounds))),
    )


def _cut_evenly(length: int, parts: int) -> list[tuple[int, int]]:
    """Returns the first and the last index, exclusive, of ``parts`` stretches of about equal length."""
    return list(itertools.pairwise(length * part // parts for part in range(parts + 1)))


class _Allocator:
    """Allocates arrays of one dtype by torch, so that its profiler sees them."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = torch.from_numpy(np.empty(0, dtype)).dtype

    def zeros(self, *shape: int) -> Array:
        return torch.zeros(shape, dtype=self.dtype, device="cpu").numpy()

    def empty(self, *shape: int) -> Array:
        return torch.empty(shape, dtype=self.dtype, device="cpu").numpy()

    def absent(self, dimensions: int) -> Array:
        return self.empty(*[0] * dimensions)


def _run_items(item: Callable[..., None], plan: _Plan, scratch_size: int, allocator: _Allocator) -> None:
    """Calls ``item`` for each item of the plan, on as many threads as torch uses.

    Its arguments: scratch memory, index and limits of the stretch of children, limits and index of the stretch of problems.
    """
    waiting = queue.SimpleQueue[tuple[Any, ...]]()
    for part, child_range in enumerate(plan.children):
        for problem_part, problem_range in enumerate(plan.problems):
            waiting.put((part, child_range, problem_range, problem_part))

    def work_off(scratch: Array) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                item(scratch, *waiting.get_nowait())

    # This thread allocates the scratch memory of all: torch's profiler sees no other thread.
    first_scratch, *others = (
        allocator.empty(scratch_size) for _ in range(min(torch.get_num_threads(), waiting.qsize()))
    )
    pool = _thread_pool(os.getpid(), torch.get_num_threads())
    futures = [pool.submit(work_off, scratch) for scratch in others]
    work_off(first_scratch)
    for future in futures:
        future.result()


@functools.lru_cache(maxsize=1)
def _thread_pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Returns the threads of a process, by its id: a fork copies the pool but not its threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="vote-pass")


def _shape_of(inputs: PassInputs) -> Shape:
    problems, children, rows, depth = inputs.poses.shape
    _, parents, _, columns = inputs.weights.shape
    return Shape(problems, children, parents, rows, depth, columns, math.ceil(columns / QUAD))


def _to_arrays(inputs: PassInputs) -> Inputs:
    dtype, columns = accumulation_dtype(inputs.poses.dtype), inputs.weights.shape[3]

    def to_array(tensor: Tensor | None, dimensions: int) -> Array:
        return (torch.empty([0] * dimensions, device="cpu") if tensor is None else tensor).to(dtype).numpy()

    def to_padded(tensor: Tensor | None) -> Array:
        return to_array(None if tensor is None else _pad_rows(tensor, columns), 1)

    return Inputs(
        to_array(inputs.poses, 4),
        to_array(inputs.weights, 4),
        to_array(inputs.activations, 2),
        to_array(inputs.offset, 4),
        to_array(inputs.bias, 2),
        to_padded(inputs.direction),
        to_padded(inputs.mean),
        to_padded(inputs.precision),
        to_padded(inputs.centre),
        to_array(inputs.log_normaliser, 2),
    )


def _pad_rows(tensor: Tensor, columns: int) -> Tensor:
    """Returns ``[N, J, R*E]``, flat, with each row of E filled up with zeros to a multiple of QUAD."""
    if columns % QUAD:
        tensor = pad(tensor.unflatten(2, (-1, columns)), (0, -columns % QUAD))
    return tensor.reshape(-1)


def _sum_unpadded(parts: Array, shape: Shape) -> Tensor:
    """Returns the sum over the parts ``[C, N, J, R*padded]`` as ``[N, J, R*E]``, not a view: it may be changed in place."""
    values = _sum_parts(parts)
    if shape.columns % QUAD:
        values = values.unflatten(2, (shape.rows, -1))[..., : shape.columns].flatten(2)
    return values


def _sum_parts(parts: Array) -> Tensor:
    return torch.from_numpy(parts[0]) if len(parts) == 1 else torch.from_numpy(parts).sum(dim=0)
