"""The M-step of EM routing, between the passes, and its gradient, on the layout of `layout.py`.

The formulas are those of `capsbench_kernels.routings`. What is done once a parent, such as a logarithm or a sigmoid, is done for
sixteen parents at a time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from capsbench_kernels.passes.cpu.caching import compile_kernel
from capsbench_kernels.passes.cpu.cores import BLOCK, QUAD, ROWS
from capsbench_kernels.passes.cpu.emit import define_template, fill_rows, point_at
from capsbench_kernels.passes.cpu.exponential import log, log_sigmoid, sigmoid
from capsbench_kernels.passes.cpu.inlining import inlined
from capsbench_kernels.passes.cpu.lanes import (
    WIDTH,
    advance_pointer,
    favour_small_code,
    fill,
    get,
    is_given,
    load,
    load_first,
    maximum,
    minimum,
    put,
    store,
    store_first,
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
def count_cells(layer, unit, pair, q):
    """Returns the rows and the columns of a block that are not padding."""
    rows = layer.problems - unit * ROWS if layer.unit_problems > 1 else layer.rows - pair * ROWS
    return minimum(ROWS, rows), minimum(QUAD, layer.columns - q * QUAD)


@inlined
def pad_parents(layer):
    """Returns the length of a row of one number a parent, in whole vectors."""
    return (layer.parents + WIDTH - 1) // WIDTH * WIDTH


@inlined
def divide_masses(layer, mass, unit, floor, factors, zero):
    """Fills a row a problem with 1 / mass of each parent; at least the floor divides. A problem without a second one gets two."""
    row, least = pad_parents(layer), fill(type(zero)(floor))
    for p in range(ROWS):
        n = unit * layer.unit_problems + p % layer.unit_problems
        for j in range(0, layer.parents, WIDTH):
            masses = load_first(mass, n * layer.parents + j, minimum(WIDTH, layer.parents - j))
            store(factors, p * row + j, fill(type(zero)(1)) / maximum(masses, least))


@compile_kernel
def update_gaussians(layer, tensors, options, first_unit, last_unit, checked, scratch, zero):
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
    # Rows of one number a parent: products of variances in double precision, sums of their logarithms, 1 / mass.
    products, row, blocks = point_at(scratch, 0.0), pad_parents(layer), layer.pairs * layer.quads
    sums = advance_pointer(point_at(scratch, zero), 2 * ROWS * row)
    factors = advance_pointer(sums, ROWS * row)
    number, parent_values = type(zero), layer.rows * layer.columns
    # The distance between the rows of a block in [N, J, R, E].
    distance = parent_values * layer.parents if layer.unit_problems > 1 else layer.columns
    values, annealing = number(parent_values), number(options.annealing)
    epsilon, cancellation, any_lost = number(options.variance_epsilon), number(options.cancellation), False
    for place in range(ROWS * row):
        put(products, place, 1.0)
    for unit in range(first_unit, last_unit):
        divide_masses(layer, mass, unit, options.mass_floor, factors, zero)
        fill_rows(sums, ROWS * row // WIDTH, zero)
        for block in range(blocks):
            pair, q = block // layer.quads, block % layer.quads
            rows, columns = count_cells(layer, unit, pair, q)
            first_value = (
                unit * layer.unit_problems * parent_values * layer.parents + pair * ROWS * layer.columns + q * QUAD
            )
            for j in range(layer.parents):
                factor_0, factor_1 = get(factors, j), get(factors, row + j)
                at = ((unit * layer.parents + j) * blocks + block) * BLOCK
                product_0, product_1, lost = fit_block(
                    advance_pointer(first, at), advance_pointer(second, at), advance_pointer(centre, at),
                    factor_0, factor_1, epsilon, annealing, cancellation, rows, columns,
                    advance_pointer(mean, at), advance_pointer(steepness, at),
                )  # fmt: skip
                # One logarithm for four or eight values; in double precision their product does not overflow.
                put(products, j, product_0 * product_1 if layer.unit_problems == 1 else product_0)
                put(products, row + j, product_1)
                if checked and lost > 0.0:
                    any_lost = True
                    move_centre(
                        advance_pointer(second, at), advance_pointer(first, at), advance_pointer(centre, at),
                        advance_pointer(mean, at), factor_0, factor_1, epsilon, cancellation,
                    )  # fmt: skip
                if is_given(means):
                    for r in range(rows):
                        for column in range(columns):
                            place = first_value + j * parent_values + r * distance + column
                            put(means, place, get(mean, at + r * QUAD + column))
            for j in range(0, layer.unit_problems * row, WIDTH):
                store(sums, j, load(sums, j) + log(load(products, j), zero))
        for p in range(layer.unit_problems):
            n = unit * layer.unit_problems + p
            for j in range(0, layer.parents, WIDTH):
                at, count = n * layer.parents + j, minimum(WIDTH, layer.parents - j)
                log_variance, half = load(sums, p * row + j), fill(number(0.5))
                store_first(logs, at, count, log_variance)
                gains, costs = load_first(beta_a, j, count), load_first(beta_u, j, count)
                masses = load_first(mass, at, count) * fill(number(options.mass_scale))
                cost = (fill(values) * costs + half * log_variance) * masses
                logit = fill(number(options.inverse_temperature)) * (gains - cost)
                if is_given(bias):
                    density = half * (fill(values * number(math.log(2 * math.pi))) + log_variance)
                    store_first(bias, at, count, fill(annealing) * (log_sigmoid(logit) - density))
                if is_given(activations) and n < layer.problems:
                    store_first(activations, at, count, sigmoid(logit))
    return any_lost


@inlined
def move_centre(second, first, centre, mean, factor_0, factor_1, epsilon, cancellation):
    """Moves the centre of the values of a block whose second moment is far above their variance to the mean."""
    for cell in range(BLOCK):
        factor = factor_0 if cell < QUAD else factor_1
        shift, square = get(first, cell) * factor, get(second, cell) * factor
        if square > cancellation * (maximum(square - shift * shift, type(epsilon)(0)) + epsilon):
            put(centre, cell, get(mean, cell))


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
    # Rows of one number a parent: 1 / mass, and the gradients of the sums of logarithms.
    row, blocks = pad_parents(layer), layer.pairs * layer.quads
    factors = point_at(scratch, zero)
    of_logs, zeros = advance_pointer(factors, ROWS * row), advance_pointer(factors, 2 * ROWS * row)
    block_upstream = advance_pointer(zeros, BLOCK)
    for cell in range(2 * BLOCK):
        put(zeros, cell, zero)
    number, parent_values = type(zero), layer.rows * layer.columns
    distance = (
        parent_values * layer.parents if layer.unit_problems > 1 else layer.columns
    )  # between the rows of a block
    values = number(parent_values)
    epsilon, annealing = number(options.variance_epsilon), number(options.annealing)
    for unit in range(first_unit, last_unit):
        divide_masses(layer, mass, unit, options.mass_floor, factors, zero)
        # Through the cost and the logit, to the mass and to the logarithms of the variances.
        for p in range(ROWS):
            n = unit * layer.unit_problems + p % layer.unit_problems
            for j in range(0, layer.parents, WIDTH):
                at, count = n * layer.parents + j, minimum(WIDTH, layer.parents - j)
                half, temperature = fill(number(0.5)), fill(number(options.inverse_temperature))
                masses = load_first(mass, at, count) * fill(number(options.mass_scale))
                log_variance = load_first(logs, at, count)
                unit_cost = fill(values) * load_first(beta_u, j, count) + half * log_variance
                logit = temperature * (load_first(beta_a, j, count) - unit_cost * masses)
                share = sigmoid(fill(zero) - logit)  # 1 - sigmoid
                of_log, of_logit = fill(zero), fill(zero)
                if is_given(slopes):
                    slope = fill(annealing) * load_first(slopes, at, count)
                    of_logit, of_log = slope * share, fill(zero) - half * slope
                if is_given(of_activations) and n < layer.problems:
                    received = load_first(of_activations, at, count)
                    of_logit = of_logit + received * sigmoid(logit) * share
                of_gain = temperature * of_logit  # the gradient of beta_a, and minus that of the cost
                of_cost = of_gain * masses
                store(of_logs, p * row + j, of_log - half * of_cost)
                if p < layer.unit_problems:
                    total = load_first(to_beta_a, at, count) + of_gain
                    store_first(to_beta_a, at, count, total)
                    total = load_first(to_beta_u, at, count) - fill(values) * of_cost
                    store_first(to_beta_u, at, count, total)
                    to_masses = of_gain * unit_cost * fill(number(-options.mass_scale))
                    store_first(to_mass, at, count, to_masses)
        for j in range(layer.parents):
            share_0, share_1 = 0.0, 0.0
            for block in range(blocks):
                pair, q = block // layer.quads, block % layer.quads
                at = ((unit * layer.parents + j) * blocks + block) * BLOCK
                rows, columns = count_cells(layer, unit, pair, q)
                if is_given(upstream):
                    n = unit * layer.unit_problems
                    place = (n * layer.parents + j) * parent_values + pair * ROWS * layer.columns + q * QUAD
                    for r in range(rows):
                        for column in range(columns):
                            put(block_upstream, r * QUAD + column, get(upstream, place + r * distance + column))
                part_0, part_1 = differentiate_block(
                    advance_pointer(first, at), advance_pointer(second, at), get(factors, j), get(factors, row + j),
                    epsilon, annealing, get(of_logs, j), get(of_logs, row + j), rows, columns,
                    advance_pointer(slopes_first, at) if is_given(slopes) else zeros,
                    advance_pointer(slopes_second, at) if is_given(slopes) else zeros,
                    block_upstream,
                    advance_pointer(to_first, at), advance_pointer(to_second, at),
                )  # fmt: skip
                share_0, share_1 = share_0 + part_0, share_1 + part_1
            if layer.unit_problems == 1:
                share_0 += share_1
            for p in range(layer.unit_problems):
                at = (unit * layer.unit_problems + p) * layer.parents + j
                if get(mass, at) >= options.mass_floor:
                    put(to_mass, at, get(to_mass, at) - number(share_0 if p == 0 else share_1))
