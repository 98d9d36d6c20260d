"""Widths for a number of parameters, to compare a CNN with a capsule network of equal size. `matched.py` has its own solver."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import combinations

import torch
from torch import nn

from capsbench_baselines.errors import ArgumentError, UnmetParameters

TOLERANCE = 0.02
"""Largest difference from the number of parameters requested, as a share of it."""

STRETCH = 3.0
"""Largest ratio of a width to its proportional width, or the inverse: beyond, the network would be a different one."""

TARGETS = 97
"""Shared targets a decade; neighbours differ by 2.4 %.

Rounding separates some numbers that are almost equal. With 97 targets a decade, it separates no networks here that differ by up
to 300 parameters, at any of their sizes on digits and MNIST.
"""

Build = Callable[..., nn.Module]
"""Function that builds a network from the whole widths of its layers, channels or units, in a fixed order."""

Widths = tuple[int, ...]


def build_sized(build: Build, widths: Widths, parameters: int) -> nn.Module:
    """Builds the network of the given widths, or one with a number of parameters and about these proportions.

    Args:
        build: builds the network.
        widths: the widths, or their proportions.
        parameters: number of trainable parameters, met within 2 %; 0: the number that the given widths give.

    Raises:
        ArgumentError: a width is below 1.
        UnmetParameters: no widths meet ``parameters``.
    """
    if min(widths) < 1:
        raise ArgumentError("widths", "1 or more", widths)
    return build(*(solve_widths(build, widths, parameters) if parameters else widths))


def solve_widths(build: Build, widths: Widths, parameters: int) -> Widths:
    """Returns the whole widths that meet ``parameters`` within `TOLERANCE` and are nearest to a multiple of those given.

    Multiplied by one factor, the widths meet the number exactly, as fractions. Whole widths are tried in the order of their
    distance to these, the sum of squared log ratios. A layer narrower than another one never becomes the wider one.
    Raises UnmetParameters if none is within the tolerance.
    """
    count = count_of(build, len(widths))

    def scale_widths(step: int) -> list[float]:
        return [max(1.0, 2 ** (step / 256) * width / max(widths)) for width in widths]

    # Steps of 2^(1/256), 0.27 %: fine enough for the ideal, as whole widths are searched for around it.
    ideal = scale_widths(bisect_left(range(8192), float(parameters), key=lambda step: count(*scale_widths(step))))
    ordered = [(i, j) for i, j in combinations(range(len(widths)), 2) if widths[i] != widths[j]]
    ordered = [(i, j) if widths[i] < widths[j] else (j, i) for i, j in ordered]
    smallest = nearest = round(count(*[1] * len(widths)))
    for tried in _search_outwards(ideal):
        if any(tried[i] > tried[j] for i, j in ordered):
            continue
        total = round(count(*tried))
        if abs(total - parameters) <= TOLERANCE * parameters:
            return tried
        nearest = min(nearest, total, key=lambda size: abs(size - parameters))
    raise UnmetParameters(parameters, TOLERANCE, smallest, nearest)


def shared_targets(parameters: int) -> list[int]:
    """Returns the targets near a number of parameters, nearest first, so that networks of almost one size share a CNN.

    They are the numbers of a geometric series within `TOLERANCE` of ``parameters``, so they do not depend on other contenders.
    """
    place = round(TARGETS * math.log10(max(1, parameters)))
    series = {round(10 ** (step / TARGETS)) for step in range(place - 1, place + 2)}
    near = [target for target in series if abs(target - parameters) <= TOLERANCE * parameters]
    return sorted(near, key=lambda target: (abs(math.log(target / parameters)), target))


def count_of(build: Build, widths: int) -> Callable[..., float]:
    """Returns the number of parameters as a function of ``widths`` widths, which may be fractions.

    At most two sides of a parameter are widths, so the number is a polynomial of degree two in them. Its coefficients are
    differences between networks of widths 1, 2 and 3, built on the meta device.
    """

    # Newton's form of the polynomial: first and second differences of one width, and mixed ones of two.
    def count_with(*wider: int) -> int:
        with torch.device("meta"):
            network = build(*(1 + wider.count(i) for i in range(widths)))
        return sum(parameter.numel() for parameter in network.parameters())

    narrowest = count_with()
    first = [count_with(i) - narrowest for i in range(widths)]
    second = [count_with(i, i) - 2 * first[i] - narrowest for i in range(widths)]
    mixed = {(i, j): count_with(i, j) - first[i] - first[j] - narrowest for i, j in combinations(range(widths), 2)}

    def evaluate_count(*values: float) -> float:
        steps = [value - 1 for value in values]
        alone = (a * x + b * x * (x - 1) / 2 for a, b, x in zip(first, second, steps, strict=True))
        return narrowest + sum(alone) + sum(coefficient * steps[i] * steps[j] for (i, j), coefficient in mixed.items())

    return evaluate_count


def _search_outwards(ideal: list[float]) -> Iterator[Widths]:
    """Yields whole widths in the order of their distance to the ideal ones, none beyond `STRETCH` times them."""

    def distance_to_ideal(widths: Widths) -> float:
        return sum(math.log(width / share) ** 2 for width, share in zip(widths, ideal, strict=True))

    # Best first: a width moved away from its ideal only adds distance, so a heap of neighbours yields them in order.
    start = tuple(round(share) for share in ideal)
    waiting, seen = [(distance_to_ideal(start), start)], {start}
    while waiting:
        _, widths = heapq.heappop(waiting)
        yield widths
        for i, share in enumerate(ideal):
            for width in (widths[i] - 1, widths[i] + 1):
                beside = (*widths[:i], width, *widths[i + 1 :])
                if max(1.0, share / STRETCH) <= width <= share * STRETCH and beside not in seen:
                    seen.add(beside)
                    heapq.heappush(waiting, (distance_to_ideal(beside), beside))
