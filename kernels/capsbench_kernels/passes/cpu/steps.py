"""The arguments of the kernels of `passes.py`, and the steps that the forward and the backward kernel share."""

from __future__ import annotations

from typing import NamedTuple

from capsbench_kernels.passes.cpu.cores import BLOCK, QUAD, ROWS
from capsbench_kernels.passes.cpu.emit import choose, clear, point_at
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

    poses: int  # its place in the memory of an item; tiles, see `layout.py`, as the next two
    weights: int
    offset: int  # its address if it is shared, or its place in the memory of an item; -1 if absent
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
    """What `passes.sweep_item` writes: addresses, 0 if not wanted, and places in the memory of an item.

    Forward, these are S0, S1 and S2. Backward, they are the sums over the children of gl, and of gl t and gl t^2 about the mean.
    """

    mass: int
    first: int
    second: int
    log_normaliser: int  # [N, I], forward
    shares: int = (
        -1
    )  # backward, the place of w_ij, [tiles, units, problems of a unit, J, children of a tile], as the next one
    slopes: int = -1  # gl_ij, the gradients of the logits
    activations: int = 0  # [N, I], added to unless ``fresh``
    normaliser: int = 0  # [N, I]
    fresh: bool = False
    constant_shares: bool = False


class Upstream(NamedTuple):
    """The addresses of the gradients of the sums; those but of first may be 0."""

    mass: int
    first: int
    second: int
    log_normaliser: int  # [N, I]


class Votes(NamedTuple):
    """The passes whose gradients `passes.spread_item` sends on, and where to.

    The tensors of the first pass with a belief are those of the `Tensors` and of the `Upstream`; those of the others follow.
    """

    passes: int  # their number, of those with a belief
    shares: int  # the place of their shares, as in `Sums`
    slopes: int
    distance: int  # of the shares and slopes of a pass from those of the next
    about_mean: bool  # the centre of each is its mean
    equal_share: float  # of a child for each parent in the pass without a belief; 0 if there is none
    equal_centre: int
    equal_mass: int
    equal_first: int
    equal_second: int
    poses: int  # its place
    weights: int
    offset: int  # its place, or -1 if not wanted
    activations: int  # what the pass without a belief adds to, or writes if ``fresh``
    fresh: bool


class Item(NamedTuple):
    """A part of a pass: groups and units, the scratch memory of the thread, and the memory of the item."""

    first_group: int
    last_group: int
    first_unit: int
    last_unit: int
    scratch: int
    memory: int


class Scratch(NamedTuple):
    """Places in the scratch memory, counted in numbers."""

    rows: int  # 5 rows of one number a child of the tile
    equal: int  # [problems of a block, children of a tile], as the next
    gains: int
    logits: int  # [problems of a block, J, children of a tile]
    size: int


def lay_out_scratch(layer: Layer) -> Scratch:
    """Returns the places for all kernels. Each begins at a whole number of vectors, which do not cross a line of the cache."""
    width = TILE * WIDTH
    problems = count_block_units(layer) * layer.unit_problems
    lengths = 5 * width, problems * width, problems * width, problems * layer.parents * width
    return Scratch(*(sum(lengths[:n]) for n in range(len(lengths) + 1)))


def count_block_units(layer: Layer) -> int:
    """Returns the units of a block."""
    return max(1, PAIRS // layer.pairs)


@inlined
def size_tiles(layer, tensors, item, groups):
    """Returns the argument ``sizes`` of the cores."""
    rows, row, units = layer.pairs * ROWS, layer.quads * QUAD * WIDTH, item.last_unit - item.first_unit
    of_offset = rows * row if tensors.offset_shared else units * rows * row
    between_rows = 0 if tensors.offset_shared and layer.unit_problems > 1 else row
    return (
        groups, layer.depth, units * rows * layer.depth * WIDTH,
        layer.parents * layer.quads * layer.depth * QUAD * WIDTH, of_offset, between_rows, units * rows * row, row,
    )  # fmt: skip


@inlined
def place_line(layer, item, group, unit, pair):
    """Returns the place of a pair of rows in the memory of an item."""
    at = (group - item.first_group) * (item.last_unit - item.first_unit) + unit - item.first_unit
    return (at * layer.pairs + pair) * ROWS


@inlined
def place_rows(layer, item, group, unit, tile):
    """Returns the place of the shares of a tile and a unit in the memory of an item."""
    at = (group - item.first_group) // tile * (item.last_unit - item.first_unit) + unit - item.first_unit
    return at * layer.unit_problems * layer.parents * tile * WIDTH


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
def clear_parents(layer, item, numbers, first, second, zero):
    """Fills a parent's number and two parent's values of the item's units with zeros."""
    values, count = layer.parents * layer.pairs * layer.quads * BLOCK, layer.parents * layer.unit_problems
    units = item.last_unit - item.first_unit
    clear(advance_pointer(numbers, item.first_unit * count), units * count, zero)
    clear(advance_pointer(first, item.first_unit * values), units * values, zero)
    if is_given(second):
        clear(advance_pointer(second, item.first_unit * values), units * values, zero)


@inlined
def place_offset(layer, tensors, item, offset, group, unit, pair, q):
    """Returns the place of the offset of a pair and a quad, or a null pointer if there is no offset."""
    line = (group * layer.pairs + pair) * ROWS if tensors.offset_shared else place_line(layer, item, group, unit, pair)
    return choose(offset, (line * layer.quads + q) * QUAD * WIDTH)


@inlined
def point_at_votes(tensors, memory, zero):
    """Returns pointers to poses, weights and offset."""
    poses, weights = advance_pointer(memory, tensors.poses), point_at(tensors.weights, zero)
    offset = point_at(0, zero)
    if tensors.offset_shared:
        offset = point_at(tensors.offset, zero)
    elif tensors.offset >= 0:
        offset = advance_pointer(memory, tensors.offset)
    return poses, weights, offset


@inlined
def point_at_belief(tensors, zero):
    """Returns pointers to bias, direction, mean, steepness and centre."""
    bias, direction = point_at(tensors.bias, zero), point_at(tensors.direction, zero)
    mean, steepness = point_at(tensors.mean, zero), point_at(tensors.steepness, zero)
    return bias, direction, mean, steepness, point_at(tensors.centre, zero)
