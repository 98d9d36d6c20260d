"""The arguments of the kernels of `passes.py`, and the steps that the forward and the backward kernel share."""

from __future__ import annotations

from typing import NamedTuple

from capsbench_kernels.passes.cpu.cores import BLOCK, QUAD, ROWS
from capsbench_kernels.passes.cpu.emit import point_at
from capsbench_kernels.passes.cpu.exponential import exp
from capsbench_kernels.passes.cpu.inlining import inlined
from capsbench_kernels.passes.cpu.lanes import (
    WIDTH,
    advance_pointer,
    fill,
    get,
    is_given,
    load,
    maximum,
    put,
    store,
    sum_lanes,
)
from capsbench_kernels.passes.cpu.layout import Layer

TILE = 6
"""Groups of a tile: so few that their matrices fit the second-level cache, so many that a sum over lanes is worth its set-up."""

PAIRS = 4
"""Pairs of rows of a block."""


class Tensors(NamedTuple):
    """The addresses of the tensors of a pass, 0 if absent, and what varies between passes."""

    poses: int  # tiles, see `layout.py`, as the next two
    weights: int
    offset: int
    offset_shared: bool  # one offset for all problems
    activations: int  # [N, I]
    normaliser: int  # [N, I], the given one
    bias: int  # [N, J], as a parent's number
    direction: int  # a parent's values, as the next three
    mean: int
    steepness: int  # minus half the precision
    centre: int
    leaky: bool  # one more parent, with logits of 0, whose share is dropped


class Sums(NamedTuple):
    """The addresses of what the forward kernel writes."""

    mass: int
    first: int
    second: int  # 0 if not wanted
    log_normaliser: int  # [N, I]; 0 if not wanted


class Upstream(NamedTuple):
    """The addresses of the gradients of the sums; those but of first may be 0."""

    mass: int
    first: int
    second: int
    log_normaliser: int  # [N, I]


class Gradients(NamedTuple):
    """The addresses of what the backward kernel writes; it adds to the first four unless they are ``fresh``."""

    poses: int  # tiles
    weights: int
    offset: int  # 0 if not wanted
    activations: int  # [N, I]
    normaliser: int  # [N, I]
    slopes: int  # of the logits, as a parent's number: sum_i gl
    slopes_first: int  # about the mean, as a parent's values: sum_i gl t
    slopes_second: int  # 0 if not wanted
    fresh: bool
    constant_shares: bool


class Item(NamedTuple):
    """A part of a pass: groups and units, and the scratch memory of the thread."""

    first_group: int
    last_group: int
    first_unit: int
    last_unit: int
    scratch: int


class Scratch(NamedTuple):
    """Places in the scratch memory, counted in numbers."""

    zeros: int  # [QUAD, WIDTH], of which `BLOCK` are a parent's values
    unread: int  # a parent's values that nobody wants
    rows: int  # 4 rows of one number a child of the tile
    logits: int  # [problems of a block, J, children of a tile], as the next
    shares: int
    size: int


def lay_out_scratch(layer: Layer) -> Scratch:
    """Returns the places for both kernels."""
    width = TILE * WIDTH
    logits = count_block_units(layer) * layer.unit_problems * layer.parents * width
    lengths = QUAD * WIDTH, BLOCK, 4 * width, logits, logits
    return Scratch(*(sum(lengths[:n]) for n in range(len(lengths) + 1)))


def count_block_units(layer: Layer) -> int:
    """Returns the units of a block."""
    return max(1, PAIRS // layer.pairs)


@inlined
def size_tiles(layer, tensors, groups):
    """Returns the argument ``sizes`` of the cores."""
    rows, row = layer.pairs * ROWS, layer.quads * QUAD * WIDTH
    of_offset = rows * row if tensors.offset_shared else layer.units * rows * row
    between_rows = 0 if tensors.offset_shared and layer.unit_problems > 1 else row
    if tensors.offset == 0:
        of_offset, between_rows = 0, 0
    return (
        groups, layer.depth, layer.units * rows * layer.depth * WIDTH,
        layer.parents * layer.quads * layer.depth * QUAD * WIDTH, of_offset, between_rows, layer.units * rows * row, row,
    )  # fmt: skip


@inlined
def choose(values, at, zeros):
    """Returns the place of a parent's values, or zeros if there is no such tensor."""
    return advance_pointer(values, at) if is_given(values) else zeros


@inlined
def read_numbers(source, at, count, width, row, absent, beyond):
    """Copies ``count`` numbers to a row of ``width``: ``absent`` if there is no tensor, ``beyond`` where there is no child."""
    for lane in range(count):
        put(row, lane, get(source, at + lane) if is_given(source) else absent)
    for lane in range(count, width):
        put(row, lane, beyond)


@inlined
def share_out(logits, parents, width, lane, top_row, sum_row, normalised, leaky, scale, zero):
    """Turns the logits of 16 children into shares times ``scale``.

    The shares are the softmax over the parents. Its largest logit goes into ``top_row``, the sum of its powers into
    ``sum_row``. With ``normalised``, ``top_row`` holds each child's log-normaliser, which then takes the place of both.
    """
    if normalised:
        top = load(top_row, lane)
    else:
        top = load(logits, lane)
        for j in range(1, parents):
            top = maximum(top, load(logits, j * width + lane))
        if leaky:
            top = maximum(top, fill(zero))
    # Relative to the largest logit no power overflows, and their sum is at least 1.
    powers = fill(zero)
    if leaky:
        powers = exp(fill(zero) - top)
    for j in range(parents):
        power = exp(load(logits, j * width + lane) - top)
        powers = powers + power
        store(logits, j * width + lane, power)
    if not normalised:
        scale = scale / powers  # one division a child, instead of one a parent
        store(top_row, lane, top)
        store(sum_row, lane, powers)
    for j in range(parents):
        store(logits, j * width + lane, load(logits, j * width + lane) * scale)


@inlined
def sum_row(row, width, zero):
    """Returns the sum of a row."""
    partial = fill(zero)
    for lane in range(0, width, WIDTH):
        partial = partial + load(row, lane)
    return sum_lanes(partial)


@inlined
def start_logits(layer, bias, direction, mean, n, unit, logits, width, zero):
    """Fills the logits of a problem with their part that no vote changes: bias_j + <direction_j, m_j>."""
    values = layer.pairs * layer.quads * BLOCK
    for j in range(layer.parents):
        logit = get(bias, n * layer.parents + j) if is_given(bias) else zero
        if is_given(direction) and is_given(mean):
            at = (unit * layer.parents + j) * values
            for value in range(values):
                # With two problems in a unit, each has one row of a pair.
                if layer.unit_problems == 1 or (value // QUAD) % ROWS == n - unit * ROWS:
                    logit += get(direction, at + value) * get(mean, at + value)
        for lane in range(0, width, WIDTH):
            store(logits, j * width + lane, fill(logit))


@inlined
def clear_parents(layer, item, numbers, first, second, zero):
    """Fills a parent's number and two parent's values of the item's units with zeros."""
    values, count = layer.parents * layer.pairs * layer.quads * BLOCK, layer.parents * layer.unit_problems
    for at in range(item.first_unit * count, item.last_unit * count):
        put(numbers, at, zero)
    for at in range(item.first_unit * values, item.last_unit * values):
        put(first, at, zero)
        if is_given(second):
            put(second, at, zero)


@inlined
def place_offset(layer, tensors, offset, group, unit, pair, q, zeros):
    """Returns the place of the offset of a pair and a quad."""
    units, at = (1, 0) if tensors.offset_shared else (layer.units, unit)
    line = ((group * units + at) * layer.pairs + pair) * ROWS
    return choose(offset, (line * layer.quads + q) * QUAD * WIDTH, zeros)


@inlined
def point_at_tensors(tensors, zero):
    """Returns pointers to poses, weights, offset, activations, normaliser, bias, direction, mean, steepness and centre."""
    poses, weights, offset = (
        point_at(tensors.poses, zero),
        point_at(tensors.weights, zero),
        point_at(tensors.offset, zero),
    )
    activations, normaliser = point_at(tensors.activations, zero), point_at(tensors.normaliser, zero)
    bias, direction = point_at(tensors.bias, zero), point_at(tensors.direction, zero)
    mean, steepness = point_at(tensors.mean, zero), point_at(tensors.steepness, zero)
    centre = point_at(tensors.centre, zero)
    return poses, weights, offset, activations, normaliser, bias, direction, mean, steepness, centre
