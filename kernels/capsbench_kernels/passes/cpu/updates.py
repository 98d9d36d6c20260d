"""The updates of the parents between the passes of a routing, and their gradients, on the layout of `layout.py`.

The formulas are those of `capsbench_kernels.routings`: the M-step of EM routing, and the squash of dynamic routing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from capsbench_kernels.passes.cpu.caching import compile_kernel
from capsbench_kernels.passes.cpu.cores import BLOCK, QUAD, ROWS
from capsbench_kernels.passes.cpu.emit import define_template, point_at
from capsbench_kernels.passes.cpu.inlining import inlined
from capsbench_kernels.passes.cpu.lanes import (
    advance_pointer,
    favour_small_code,
    get,
    is_given,
    maximum,
    minimum,
    put,
)


class Gaussians(NamedTuple):
    """The addresses of an iteration of EM routing: sums, and the belief that follows from them. A part is 0 if absent."""

    mass: int  # [N, J], as a parent's number
    first: int  # a parent's values, about the centre
    second: int
    centre: int
    logs: int  # a parent's number, written: the sum of the logarithms of its variances
    mean: int  # the belief, written
    steepness: int
    bias: int
    means: int  # [N, J, R, E], written in the last iteration
    activations: int  # [N, J], likewise
    beta_a: int  # [J]
    beta_u: int


class GaussianGradients(NamedTuple):
    """The addresses of gradients of an iteration of EM routing."""

    slopes: int  # what the next pass sends to the belief: see `steps.Gradients`; 0 in the last iteration
    slopes_first: int
    slopes_second: int
    means: int  # upstream [N, J, R, E], in the last iteration
    activations: int  # upstream [N, J]
    mass: int  # written: the upstream of the pass
    first: int
    second: int
    beta_a: int  # [N, J], added to
    beta_u: int


class Options(NamedTuple):
    """The options of an iteration of EM routing."""

    inverse_temperature: float
    variance_epsilon: float
    mass_scale: float
    annealing: float
    mass_floor: float
    cancellation: float


def _fit_block(
    k, first, second, centre, factor_0, factor_1, epsilon, annealing, cancellation, rows, columns, mean, steepness
):  # fmt: skip
    """Writes mean and minus half the precision of a block.

    Returns the product of the variances of each row, and 1 if a value has lost its variance to cancellation, else 0.
    """
    factor = k.join(factor_0, factor_1)  # 1 / mass of each row's problem
    shift, square = k.load(first) * factor, k.load(second) * factor
    raw = square - shift * shift
    variance = k.select_positive(raw, raw) + k.join(epsilon)
    used = k.select_cells(rows, columns)  # the others are padding
    k.store(mean, k.load(centre) + shift)
    k.store(steepness, k.choose(used, k.join(annealing) * k.join(-0.5) / variance, k.join(0.0)))
    products = k.reduce_rows("fmul", k.choose(used, variance, k.join(1.0)))
    return [*products, k.tell_any_above(used, square, k.join(cancellation) * variance)]


def _differentiate_block(
    k, first, second, factor_0, factor_1, epsilon, annealing, of_log_0, of_log_1, rows, columns, slopes_first, slopes_second,
    upstream, to_first, to_second,
):  # fmt: skip
    """Writes the gradients of the moments of a block; returns what each row sends to the mass that it is divided by."""
    factor, of_log = k.join(factor_0, factor_1), k.join(of_log_0, of_log_1)
    shift, square = k.load(first) * factor, k.load(second) * factor
    raw = square - shift * shift
    inverse = k.join(1.0) / (k.select_positive(raw, raw) + k.join(epsilon))
    precision = k.join(annealing) * inverse
    # precision = annealing / variance, and the next pass has sent -1/2 slopes_second to it
    of_variance = (k.join(0.5) * k.load(slopes_second) * precision + of_log) * inverse
    of_raw = k.select_positive(raw, of_variance)  # the clamp at 0
    of_mean = k.load(upstream) + precision * k.load(slopes_first)
    of_shift = of_mean - shift * (of_raw + of_raw)
    used, zeros = k.select_cells(rows, columns), k.join(0.0)
    k.store(to_first, k.choose(used, of_shift * factor, zeros))
    k.store(to_second, k.choose(used, of_raw * factor, zeros))
    return k.reduce_rows("fadd", k.choose(used, (of_raw * square + of_shift * shift) * factor, zeros))


fit_block = define_template(_fit_block, BLOCK, results=3)
differentiate_block = define_template(_differentiate_block, BLOCK, results=2)


@inlined
def divide_masses(layer, mass, unit, j, floor, zero):
    """Returns 1 / mass for the problems of both rows of a block; at least the floor divides."""
    n = unit * layer.unit_problems
    first = get(mass, n * layer.parents + j)
    second = get(mass, (n + 1) * layer.parents + j) if layer.unit_problems > 1 else first
    least = type(zero)(floor)
    return type(zero)(1) / maximum(first, least), type(zero)(1) / maximum(second, least)


@inlined
def count_cells(layer, unit, pair, q):
    """Returns the rows and the columns of a block that are not padding."""
    rows = layer.problems - unit * ROWS if layer.unit_problems > 1 else layer.rows - pair * ROWS
    return minimum(ROWS, rows), minimum(QUAD, layer.columns - q * QUAD)


@compile_kernel
def update_gaussians(layer, tensors, options, first_unit, last_unit, checked, zero):
    """Computes the M-step of EM routing for some units.

    If ``checked`` and some values have lost their spread to cancellation (`passes.recentre`), it moves their centre to the mean
    and returns True: the pass has then to be repeated.
    """
    favour_small_code()
    mass, first, second = point_at(tensors.mass, zero), point_at(tensors.first, zero), point_at(tensors.second, zero)
    centre, logs = point_at(tensors.centre, zero), point_at(tensors.logs, zero)
    mean, steepness, bias = (
        point_at(tensors.mean, zero),
        point_at(tensors.steepness, zero),
        point_at(tensors.bias, zero),
    )
    means, activations = point_at(tensors.means, zero), point_at(tensors.activations, zero)
    beta_a, beta_u = point_at(tensors.beta_a, zero), point_at(tensors.beta_u, zero)
    values = layer.rows * layer.columns
    epsilon, annealing = type(zero)(options.variance_epsilon), type(zero)(options.annealing)
    cancellation, any_lost = type(zero)(options.cancellation), False
    for unit in range(first_unit, last_unit):
        for j in range(layer.parents):
            factor_0, factor_1 = divide_masses(layer, mass, unit, j, options.mass_floor, zero)
            log_0, log_1 = 0.0, 0.0
            for pair in range(layer.pairs):
                for q in range(layer.quads):
                    at = (((unit * layer.parents + j) * layer.pairs + pair) * layer.quads + q) * BLOCK
                    rows, columns = count_cells(layer, unit, pair, q)
                    # One logarithm for four or eight values; in double precision their product does not overflow.
                    product_0, product_1, lost = fit_block(
                        advance_pointer(first, at), advance_pointer(second, at), advance_pointer(centre, at),
                        factor_0, factor_1, epsilon, annealing, cancellation, rows, columns,
                        advance_pointer(mean, at), advance_pointer(steepness, at),
                    )  # fmt: skip
                    if layer.unit_problems > 1:
                        log_0, log_1 = log_0 + math.log(product_0), log_1 + math.log(product_1)
                    else:
                        log_0 += math.log(product_0 * product_1)
                    if checked and lost > 0.0:
                        any_lost = True
                        move_centre(
                            advance_pointer(second, at), advance_pointer(first, at), advance_pointer(centre, at),
                            advance_pointer(mean, at), factor_0, factor_1, epsilon, cancellation,
                        )  # fmt: skip
                    if is_given(means):
                        write_block(layer, means, unit, j, pair, q, rows, columns, advance_pointer(mean, at))
            for p in range(layer.unit_problems):
                n = unit * layer.unit_problems + p
                at, log_variance = n * layer.parents + j, log_0 if p == 0 else log_1
                put(logs, at, type(zero)(log_variance))
                cost = (values * get(beta_u, j) + 0.5 * log_variance) * get(mass, at) * options.mass_scale
                logit = options.inverse_temperature * (get(beta_a, j) - cost)
                if is_given(bias):
                    density = -0.5 * (values * math.log(2 * math.pi) + log_variance)
                    put(bias, at, type(zero)(options.annealing * (log_sigmoid(logit) + density)))
                if is_given(activations) and n < layer.problems:
                    put(activations, at, type(zero)(math.exp(log_sigmoid(logit))))
    return any_lost


@inlined
def move_centre(second, first, centre, mean, factor_0, factor_1, epsilon, cancellation):
    """Moves the centre of the values of a block whose second moment is far above their variance to the mean."""
    for cell in range(BLOCK):
        factor = factor_0 if cell < QUAD else factor_1
        shift, square = get(first, cell) * factor, get(second, cell) * factor
        if square > cancellation * (maximum(square - shift * shift, type(epsilon)(0)) + epsilon):
            put(centre, cell, get(mean, cell))


@inlined
def place_row(layer, unit, j, pair, q, row):
    """Returns the place of a row of a block in ``[N, J, R, E]``."""
    n, r = (unit * ROWS + row, 0) if layer.unit_problems > 1 else (unit, pair * ROWS + row)
    return ((n * layer.parents + j) * layer.rows + r) * layer.columns + q * QUAD


@inlined
def write_block(layer, target, unit, j, pair, q, rows, columns, block):
    """Copies a block to ``[N, J, R, E]``."""
    for row in range(rows):
        at = place_row(layer, unit, j, pair, q, row)
        for column in range(columns):
            put(target, at + column, get(block, row * QUAD + column))


@inlined
def log_sigmoid(logit):
    """Returns log sigmoid(logit)."""
    return minimum(logit, 0.0) - math.log1p(math.exp(-abs(logit)))


@compile_kernel
def differentiate_gaussians(layer, tensors, options, gradients, first_unit, last_unit, scratch, zero):
    """Computes the gradients of the M-step for some units: from those of the belief, or of the outputs, to those of the sums."""
    favour_small_code()
    mass, first, second = point_at(tensors.mass, zero), point_at(tensors.first, zero), point_at(tensors.second, zero)
    beta_a, beta_u, logs = point_at(tensors.beta_a, zero), point_at(tensors.beta_u, zero), point_at(tensors.logs, zero)
    slopes, upstream = point_at(gradients.slopes, zero), point_at(gradients.means, zero)
    slopes_first, slopes_second = point_at(gradients.slopes_first, zero), point_at(gradients.slopes_second, zero)
    of_activations = point_at(gradients.activations, zero)
    to_mass, to_first = point_at(gradients.mass, zero), point_at(gradients.first, zero)
    to_second = point_at(gradients.second, zero)
    to_beta_a, to_beta_u = point_at(gradients.beta_a, zero), point_at(gradients.beta_u, zero)
    zeros = point_at(scratch, zero)
    block = advance_pointer(zeros, BLOCK)  # of the upstream gradient of the means
    for cell in range(2 * BLOCK):
        put(zeros, cell, zero)
    values = layer.rows * layer.columns
    epsilon, annealing = type(zero)(options.variance_epsilon), type(zero)(options.annealing)
    for unit in range(first_unit, last_unit):
        for j in range(layer.parents):
            factor_0, factor_1 = divide_masses(layer, mass, unit, j, options.mass_floor, zero)
            of_log_0, of_log_1 = zero, zero
            # Through the cost and the logit, to the mass and to the logarithms of the variances.
            for p in range(layer.unit_problems):
                n = unit * layer.unit_problems + p
                at = n * layer.parents + j
                m = get(mass, at)
                unit_cost = (values * get(beta_u, j) + 0.5 * get(logs, at)) * options.mass_scale
                logit = options.inverse_temperature * (get(beta_a, j) - unit_cost * m)
                share = math.exp(log_sigmoid(-logit))  # 1 - sigmoid
                of_log, of_logit = 0.0, 0.0
                if is_given(slopes):
                    of_logit = options.annealing * get(slopes, at) * share
                    of_log = -0.5 * options.annealing * get(slopes, at)
                if is_given(of_activations) and n < layer.problems:
                    of_logit += get(of_activations, at) * math.exp(log_sigmoid(logit)) * share
                of_gain = options.inverse_temperature * of_logit  # the gradient of beta_a, and minus that of the cost
                of_log -= of_gain * 0.5 * m * options.mass_scale
                put(to_beta_a, at, get(to_beta_a, at) + type(zero)(of_gain))
                put(to_beta_u, at, get(to_beta_u, at) - type(zero)(of_gain * values * m * options.mass_scale))
                put(to_mass, at, type(zero)(-of_gain * unit_cost))
                if p == 0:
                    of_log_0 = type(zero)(of_log)
                of_log_1 = type(zero)(of_log)
            share_0, share_1 = 0.0, 0.0
            for pair in range(layer.pairs):
                for q in range(layer.quads):
                    at = (((unit * layer.parents + j) * layer.pairs + pair) * layer.quads + q) * BLOCK
                    rows, columns = count_cells(layer, unit, pair, q)
                    if is_given(upstream):
                        for row in range(rows):
                            place = place_row(layer, unit, j, pair, q, row)
                            for column in range(columns):
                                put(block, row * QUAD + column, get(upstream, place + column))
                    part_0, part_1 = differentiate_block(
                        advance_pointer(first, at), advance_pointer(second, at), factor_0, factor_1, epsilon, annealing,
                        of_log_0, of_log_1, rows, columns,
                        advance_pointer(slopes_first, at) if is_given(slopes) else zeros,
                        advance_pointer(slopes_second, at) if is_given(slopes) else zeros,
                        block,
                        advance_pointer(to_first, at), advance_pointer(to_second, at),
                    )  # fmt: skip
                    share_0, share_1 = share_0 + part_0, share_1 + part_1
            if layer.unit_problems == 1:
                share_0 += share_1
            for p in range(layer.unit_problems):
                at = (unit * layer.unit_problems + p) * layer.parents + j
                if get(mass, at) >= options.mass_floor:
                    put(to_mass, at, get(to_mass, at) - type(zero)(share_0 if p == 0 else share_1))


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
