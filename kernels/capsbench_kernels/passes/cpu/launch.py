"""The fused vote pass on the CPU, compiled by Numba: no compiler and no build at the user's.

    votes       V_ijh = sum_d u_ird W_ijde (+ o_irh)                    recomputed wherever they are needed
    logits      bias_j + <direction_j, m_j> + sum_h t (direction_jh - 1/2 precision_jh t),  t = V_ijh - m_jh, m the mean or 0
    gradients   as in `autograd.py`

One value of type `Lanes` (`lanes.py`) holds the same number of 16 children, so that a line of code is a line of the
formulas, a softmax over the parents needs no shuffling, and a batch of 1 costs as much, an image, as a large one. The
loops of `passes.py` go over

    items       stretches of children and of problems, each a task for the threads, whose number is that of torch
    tiles       up to TILE children, whose transformation matrices are copied once, children last, into the second-level cache
    blocks      BLOCK problems, for each of which the child poses of the tile are copied likewise
    rows        a row of R and 4 columns of E, whose sums over the children of the tile stay in registers

Items share no output: what several of them add to (a parent's sums by stretches of children, a matrix's gradient by
stretches of problems) each writes for itself, and a second step adds up. How a pass is cut depends on its shapes alone,
so the result depends neither on the number of threads nor on the order in which they finish.

Numba was chosen by measuring (docs/kernels.md). The first call on a machine compiles for some seconds and keeps the
result on disk, as Numba does: beside this file, or in the user's cache.
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
"""Tasks that a large pass is cut into."""

VOTE_VALUES_AN_ITEM = 1 << 18
"""A smaller pass is cut into fewer: handing a task over to a thread takes about as long as a tenth of this many values."""


def obstacle(device: torch.device) -> str | None:
    """See `capsbench_kernels.passes.types.Kernels`."""
    if not COMPILED:
        return "Numba's compiler is switched off by NUMBA_DISABLE_JIT"
    return None if device.type == "cpu" else f"its kernels run on the CPU, and the tensors are on {device}"


def forward(inputs: PassInputs) -> PassSums:
    """See `capsbench_kernels.passes.types.Kernels`."""
    shape, arrays = _shape(inputs), _arrays(inputs)
    plan, layout = _plan(shape), Scratch.of(shape, offset=inputs.offset is not None, backward=False)
    made = _Maker(arrays.poses.dtype)
    parts = len(plan.children)
    values = parts, shape.problems, shape.parents, shape.rows * shape.quads * QUAD
    mass, first, second = made.zeros(parts, shape.problems, shape.parents), made.zeros(*values), made.zeros(*values)
    log_normaliser = arrays.log_normaliser
    if inputs.log_normaliser is None:
        log_normaliser = made.empty(shape.problems, shape.children)
    _work_off(
        lambda scratch, part, child_range, problem_range, _: forward_item(
            arrays, Sums(mass[part], first[part], second[part], log_normaliser),
            shape, layout, scratch, *child_range, plan.step, *problem_range,
        ),
        plan, layout.size, made,
    )  # fmt: skip
    return PassSums(
        _added(mass),
        _unpadded(first, shape),
        _unpadded(second, shape),
        torch.from_numpy(log_normaliser),
    )


def backward(inputs: PassInputs, gradients: PassSums, *, offset_wanted: bool, constant_shares: bool) -> PassInputs:
    """See `capsbench_kernels.passes.types.Kernels`."""
    shape, arrays = _shape(inputs), _arrays(inputs)
    plan, layout = _plan(shape), Scratch.of(shape, offset=inputs.offset is not None, backward=True)
    made = _Maker(arrays.poses.dtype)
    upstream = Sums(
        gradients.mass.numpy(),
        _padded(gradients.first, shape.columns).numpy(),
        _padded(gradients.second, shape.columns).numpy(),
        gradients.log_normaliser.numpy(),
    )
    parts = len(plan.children)
    values = parts, shape.problems, shape.parents, shape.rows * shape.quads * QUAD
    poses, activations = made.empty(*inputs.poses.shape), made.empty(shape.problems, shape.children)
    offset = made.empty(shape.problems, shape.children, shape.rows, shape.columns) if offset_wanted else made.none(4)
    given = made.none(2) if inputs.log_normaliser is None else made.empty(shape.problems, shape.children)
    weights = made.empty(len(plan.problems), *inputs.weights.shape)
    bias = made.zeros(*values[:3])
    direction = made.zeros(*(parts, 0, 0, 0) if inputs.direction is None else values)
    mean, precision = (made.zeros(*(parts, 0, 0, 0) if inputs.mean is None else values) for _ in range(2))
    _work_off(
        lambda scratch, part, child_range, problem_range, problem_part: backward_item(
            arrays, upstream,
            Gradients(
                poses, weights[problem_part], activations, offset,
                bias[part], direction[part], mean[part], precision[part], given,
            ),
            shape, layout, scratch, constant_shares, *child_range, plan.step, *problem_range,
        ),
        plan, layout.size, made,
    )  # fmt: skip

    to_bias = _added(bias)
    to_direction = None if inputs.direction is None else _unpadded(direction, shape)
    if to_direction is not None and inputs.mean is not None:  # the kernel has summed gl (V - mean)
        to_direction += inputs.mean * to_bias.unsqueeze(2)
    return PassInputs(
        poses=torch.from_numpy(poses),
        weights=_added(weights),
        activations=None if inputs.activations is None else torch.from_numpy(activations),
        offset=torch.from_numpy(offset) if offset_wanted else None,
        bias=None if inputs.bias is None else to_bias,
        direction=to_direction,
        mean=None if inputs.mean is None else _unpadded(mean, shape),
        precision=None if inputs.precision is None else _unpadded(precision, shape),
        centre=None,
        log_normaliser=None if inputs.log_normaliser is None else torch.from_numpy(given),
    )


class _Plan(NamedTuple):
    """How a pass is cut: an item is a stretch of children, in tiles of ``step``, of a stretch of problems."""

    step: int
    children: list[tuple[int, int]]
    problems: list[tuple[int, int]]


def _plan(shape: Shape) -> _Plan:
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
        [(first * step, min(last * step, shape.children)) for first, last in _stretches(tiles, child_parts)],
        _stretches(shape.problems, max(1, min(bounds))),
    )


def _stretches(length: int, parts: int) -> list[tuple[int, int]]:
    return list(itertools.pairwise(length * part // parts for part in range(parts + 1)))


class _Maker:
    """New arrays of one dtype, allocated by torch, so that its profiler sees them."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = torch.from_numpy(np.empty(0, dtype)).dtype

    def zeros(self, *shape: int) -> Array:
        return torch.zeros(shape, dtype=self.dtype, device="cpu").numpy()

    def empty(self, *shape: int) -> Array:
        return torch.empty(shape, dtype=self.dtype, device="cpu").numpy()

    def none(self, dimensions: int) -> Array:
        return self.empty(*[0] * dimensions)


def _work_off(item: Callable[..., None], plan: _Plan, scratch_size: int, made: _Maker) -> None:
    """Calls ``item(scratch, number of its children, children, problems, number of its problems)`` for each item of the
    plan, on as many threads as torch uses.
    """
    waiting = queue.SimpleQueue[tuple[Any, ...]]()
    for part, child_range in enumerate(plan.children):
        for problem_part, problem_range in enumerate(plan.problems):
            waiting.put((part, child_range, problem_range, problem_part))

    def work(scratch: Array) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                item(scratch, *waiting.get_nowait())

    # All scratch memory is this thread's: torch's profiler sees no other.
    own, *others = (made.empty(scratch_size) for _ in range(min(torch.get_num_threads(), waiting.qsize())))
    pool = _pool(os.getpid(), torch.get_num_threads())
    futures = [pool.submit(work, scratch) for scratch in others]
    work(own)
    for future in futures:
        future.result()


@functools.lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The threads of this process; its number is in the key because a fork copies the pool but not its threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="vote-pass")


def _shape(inputs: PassInputs) -> Shape:
    problems, children, rows, depth = inputs.poses.shape
    _, parents, _, columns = inputs.weights.shape
    return Shape(problems, children, parents, rows, depth, columns, math.ceil(columns / QUAD))


def _arrays(inputs: PassInputs) -> Inputs:
    dtype, columns = accumulation_dtype(inputs.poses.dtype), inputs.weights.shape[3]

    def array(tensor: Tensor | None, dimensions: int) -> Array:
        return (torch.empty([0] * dimensions, device="cpu") if tensor is None else tensor).to(dtype).numpy()

    def padded(tensor: Tensor | None) -> Array:
        return array(None if tensor is None else _padded(tensor, columns), 1)

    return Inputs(
        array(inputs.poses, 4),
        array(inputs.weights, 4),
        array(inputs.activations, 2),
        array(inputs.offset, 4),
        array(inputs.bias, 2),
        padded(inputs.direction),
        padded(inputs.mean),
        padded(inputs.precision),
        padded(inputs.centre),
        array(inputs.log_normaliser, 2),
    )


def _padded(tensor: Tensor, columns: int) -> Tensor:
    """``[N, J, R*E]`` with each row of E filled up with zeros to a multiple of QUAD, flat."""
    if columns % QUAD:
        tensor = pad(tensor.unflatten(2, (-1, columns)), (0, -columns % QUAD))
    return tensor.reshape(-1)


def _unpadded(parts: Array, shape: Shape) -> Tensor:
    """The sum over the parts ``[C, N, J, R*padded]`` as ``[N, J, R*E]``, not a view: it may be changed in place."""
    values = _added(parts)
    if shape.columns % QUAD:
        values = values.unflatten(2, (shape.rows, -1))[..., : shape.columns].flatten(2)
    return values


def _added(parts: Array) -> Tensor:
    return torch.from_numpy(parts[0]) if len(parts) == 1 else torch.from_numpy(parts).sum(dim=0)
