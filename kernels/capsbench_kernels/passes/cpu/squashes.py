"""The squash of dynamic routing, between the passes, and its gradient, on the layout of `layout.py`."""

from __future__ import annotations

import math
from typing import NamedTuple

from capsbench_kernels.passes.cpu.caching import compile_kernel
from capsbench_kernels.passes.cpu.cores import BLOCK, QUAD, ROWS
from capsbench_kernels.passes.cpu.emit import point_at
from capsbench_kernels.passes.cpu.inlining import inlined
from capsbench_kernels.passes.cpu.lanes import favour_small_code, get, is_given, put


class Squashed(NamedTuple):
    """The addresses of an iteration of dynamic routing. A part is 0 if absent."""

    sums: int  # a parent's values, which get the bias added
    bias: int  # [J, R*E]
    direction: int  # a parent's values, as the next one; the sum of the outputs before
    next_direction: int  # written, with this output added
    outputs: int  # [N, J, R, E], written
    variant: int  # the index in `SQUASHES`, or -1 for no squash


@inlined
def place_cell(layer, unit, j, row, value):
    """Returns the place of value h = (r, e) of a parent: in the layout of a parent's values, and in [N, J, R, E]."""
    r, e = value // layer.columns, value % layer.columns
    pair, line = (0, row) if layer.unit_problems > 1 else (r // ROWS, r % ROWS)
    block = ((unit * layer.parents + j) * layer.pairs + pair) * layer.quads + e // QUAD
    n = unit * layer.unit_problems + row
    return block * BLOCK + line * QUAD + e % QUAD, (n * layer.parents + j) * layer.rows * layer.columns + value


@inlined
def squash_length(length, variant):
    """Returns the factor f of a squash s f(|s|), and f'(|s|) / |s|, or 0 for a length of 0."""
    if variant < 0:
        return 1.0, 0.0
    divisor = length if length > 0.0 else math.inf
    if variant == 0:
        root = 1.0 + length * length
        return length / root, (1.0 - length * length) / (root * root) / divisor
    if variant == 1:
        if length < 1e-3:
            factor = 1.0 - length / 2.0 * (1.0 - length / 3.0 * (1.0 - length / 4.0 * (1.0 - length / 5.0)))
            return factor, (-0.5 + length / 3.0 - length * length / 8.0 + length**3 / 30.0) / divisor
        factor = -math.expm1(-length) / length
        return factor, (math.exp(-length) - factor) / length / length
    if length >= 1e-6:
        return 1.0 / length, -1.0 / (length * length * length)
    return 1e6, 0.0


@compile_kernel
def update_squashed(layer, tensors, first_unit, last_unit, zero):
    """Squashes the sums of some units, and adds the outputs to the direction of the next pass."""
    favour_small_code()
    sums, bias, outputs = point_at(tensors.sums, zero), point_at(tensors.bias, zero), point_at(tensors.outputs, zero)
    before, after = point_at(tensors.direction, zero), point_at(tensors.next_direction, zero)
    values = layer.rows * layer.columns
    for unit in range(first_unit, last_unit):
        for row in range(layer.unit_problems):
            for j in range(layer.parents):
                square = 0.0
                for value in range(values):
                    at, _ = place_cell(layer, unit, j, row, value)
                    if is_given(bias):
                        put(sums, at, get(sums, at) + get(bias, j * values + value))
                    square += float(get(sums, at)) * get(sums, at)
                factor, _ = squash_length(math.sqrt(square), tensors.variant)
                for value in range(values):
                    at, target = place_cell(layer, unit, j, row, value)
                    output = get(sums, at) * type(zero)(factor)
                    if is_given(after):
                        put(after, at, output + get(before, at) if is_given(before) else output)
                    if is_given(outputs) and unit * layer.unit_problems + row < layer.problems:
                        put(outputs, target, output)


@compile_kernel
def differentiate_squashed(layer, tensors, upstream, slopes_first, total, to_first, first_unit, last_unit, zero):
    """Computes the gradient of the sums of some units from that of their outputs.

    The outputs of an iteration are part of the direction of all later passes: the total of its gradients gets those of the next.
    In the last iteration, ``upstream`` ``[N, J, R, E]`` is given instead.
    """
    favour_small_code()
    sums, given = point_at(tensors.sums, zero), point_at(upstream, zero)
    slopes, total_at, target = point_at(slopes_first, zero), point_at(total, zero), point_at(to_first, zero)
    values = layer.rows * layer.columns
    for unit in range(first_unit, last_unit):
        for row in range(layer.unit_problems):
            for j in range(layer.parents):
                square, product = 0.0, 0.0
                for value in range(values):
                    at, place = place_cell(layer, unit, j, row, value)
                    gradient = zero
                    if is_given(given):
                        if unit * layer.unit_problems + row < layer.problems:
                            gradient = get(given, place)
                    else:
                        gradient = get(total_at, at) + get(slopes, at)
                        put(total_at, at, gradient)
                    put(target, at, gradient)
                    square += float(get(sums, at)) * get(sums, at)
                    product += float(get(sums, at)) * gradient
                factor, slope = squash_length(math.sqrt(square), tensors.variant)
                for value in range(values):
                    at, _ = place_cell(layer, unit, j, row, value)
                    put(target, at, type(zero)(get(target, at) * factor + get(sums, at) * (slope * product)))
