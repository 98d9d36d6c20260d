"""The threads of the CPU kernels: which part of a pass each works on."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

from capsbench_kernels.passes.cpu.layout import Layer
from capsbench_kernels.passes.cpu.memory import Memory
from capsbench_kernels.passes.cpu.steps import TILE, Item, lay_out_scratch
from capsbench_kernels.passes.cpu.waiting import limit_spinning, release_idle_threads

ITEMS = 16
"""Number of items that a large pass is cut into: so many that threads end at about the same time, and few, because each item has
a copy of the weights' gradient, and threads take turns at the Python code between its kernels."""

VOTE_VALUES_AN_ITEM = 1 << 18
"""Vote values of the smallest item. Handing an item to a thread takes about as long as a tenth of this many values."""


class Plan(NamedTuple):
    """The cuts of a pass: an item is a stretch of groups, in tiles of ``tile``, of a stretch of units."""

    tile: int
    groups: list[tuple[int, int]]
    units: list[tuple[int, int]]


def cut_pass(layer: Layer) -> Plan:
    """Cuts a pass by its shape alone, so that the order of sums does not depend on the number of threads."""
    # Tiles of about equal size: a last tile of a few children would cost as much set-up as a full one.
    tile = math.ceil(layer.groups / math.ceil(layer.groups / TILE))
    tiles = math.ceil(layer.groups / tile)
    votes = layer.problems * layer.children * layer.parents * layer.rows * layer.columns
    items = max(1, min(ITEMS, votes // VOTE_VALUES_AN_ITEM))
    # First by problems: then an item routes its problems alone, and no thread waits for another between the passes. Each
    # stretch of problems has a copy of the weights' gradient; the bound keeps the copies below a sixteenth of the votes.
    unit_parts = max(1, min(items, layer.units, layer.problems * layer.rows // (16 * layer.depth)))
    child_parts = min(tiles, items // unit_parts)
    return Plan(
        tile,
        [(first * tile, min(last * tile, layer.groups)) for first, last in cut_evenly(tiles, child_parts)],
        cut_evenly(layer.units, unit_parts),
    )


def cut_evenly(length: int, parts: int) -> list[tuple[int, int]]:
    """Returns the first and the last index, exclusive, of ``parts`` stretches of about equal length."""
    return list(itertools.pairwise(length * part // parts for part in range(parts + 1)))


def run_items(
    layer: Layer, plan: Plan, memory: Memory, work: Callable[[Item, int, int], object], numbers: int = 0, kept: int = 0
) -> None:
    """Calls ``work`` with each item of the plan and its parts of children and problems, on as many threads as torch uses.

    An item has memory for ``numbers``: that of its thread, or its part of ``kept``, the address of the memory of all items.
    """
    waiting = queue.SimpleQueue[tuple[int, ...]]()
    for part, groups in enumerate(plan.groups):
        for unit_part, units in enumerate(plan.units):
            waiting.put((*groups, *units, part, unit_part))
    size, item_bytes = lay_out_scratch(layer).size, numbers * memory.dtype.itemsize
    scratch_bytes, unit_parts = size * memory.dtype.itemsize, len(plan.units)

    def work_off(scratch: int) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                *ranges, part, unit_part = waiting.get_nowait()
                first_group, last_group, first_unit, last_unit = ranges
                place = kept + (part * unit_parts + unit_part) * item_bytes if kept else scratch + scratch_bytes
                work(Item(first_group, last_group, first_unit, last_unit, scratch, place), part, unit_part)

    # This thread allocates the scratch memory of all: torch's profiler sees no other thread.
    first_scratch, *others = (
        memory.empty(size if kept else size + numbers).data_ptr()
        for _ in range(min(torch.get_num_threads(), waiting.qsize()))
    )
    futures = []
    if others:
        limit_spinning()
        release_idle_threads()
        pool = _thread_pool(os.getpid(), torch.get_num_threads())
        # At the end of the interpreter no thread takes work: this one does it all.
        with contextlib.suppress(RuntimeError):
            for scratch in others:
                futures.append(pool.submit(work_off, scratch))
    work_off(first_scratch)
    for future in futures:
        # A thread that has not begun, because other processes hold its core, has nothing left to do: it is not waited for.
        if not future.cancel():
            future.result()


@functools.lru_cache(maxsize=1)
def _thread_pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Returns the threads of a process, by its id: a fork copies the pool but not its threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="vote-pass")
