"""Widths for a number of parameters: with them every CNN here can stand beside a capsule network at equal size."""

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
"""How far the number of parameters may be off, as a share of what was asked for."""

STRETCH = 3.0
"""How many times its share, or the inverse, a width may be: beyond, the network would be another one."""

TARGETS = 97
"""Shared targets a decade; neighbours differ by 2.4 %.

Wherever numbers are rounded, some that are almost equal fall to either side. With 97 a decade this happens to none of the
networks here that differ by up to 300 parameters, at any of their sizes on digits and MNIST.
"""

Build = Callable[..., nn.Module]
"""Makes a network from its widths: the channels or units of its layers, given as whole numbers in a fixed order."""

Widths = tuple[int, ...]


def sized(build: Build, widths: Widths, parameters: int) -> nn.Module:
    """The network of the given widths, or the one that has a number of parameters and widths in about these proportions.

    Args:
        build: makes the network.
        widths: the widths as given.
        parameters: how many trainable parameters to have, met within 2 %; 0: as many as the given widths make.

    Raises:
        ArgumentError: a width is below 1.
        UnmetParameters: no widths meet ``parameters``.
    """
    if min(widths) < 1:
        raise ArgumentError("widths", "1 or more", widths)
    return build(*(solve(build, widths, parameters) if parameters else widths))


def solve(build: Build, widths: Widths, parameters: int) -> Widths:
    """The whole widths that have ``parameters`` within `TOLERANCE` and are nearest to a multiple of those given.

    Multiplied by one factor the widths would meet the number exactly, as fractions. Whole ones are tried in the order of
    their distance to these, the sum of squared log ratios; a layer narrower than another one never becomes the wider one.
    Raises UnmetParameters if none is within the tolerance.
    """
    count = count_of(build, len(widths))

    def shares(step: int) -> list[float]:
        return [max(1.0, 2 ** (step / 256) * width / max(widths)) for width in widths]

    ideal = shares(bisect_left(range(8192), float(parameters), key=lambda step: count(*shares(step))))
    ordered = [(i, j) for i, j in combinations(range(len(widths)), 2) if widths[i] != widths[j]]
    ordered = [(i, j) if widths[i] < widths[j] else (j, i) for i, j in ordered]
    smallest = nearest = round(count(*[1] * len(widths)))
    for tried in _outwards(ideal):
        if any(tried[i] > tried[j] for i, j in ordered):
            continue
        found = round(count(*tried))
        if abs(found - parameters) <= TOLERANCE * parameters:
            return tried
        nearest = min(nearest, found, key=lambda size: abs(size - parameters))
    raise UnmetParameters(parameters, TOLERANCE, smallest, nearest)


def shared_targets(parameters: int) -> list[int]:
    """The numbers of parameters to ask for, so that networks of almost ``parameters`` get one CNN: the nearest first.

    They are those within `TOLERANCE` of ``parameters`` in a geometric series, and so depend on nothing else that is compared.
    """
    place = round(TARGETS * math.log10(max(1, parameters)))
    series = {round(10 ** (step / TARGETS)) for step in range(place - 1, place + 2)}
    near = [target for target in series if abs(target - parameters) <= TOLERANCE * parameters]
    return sorted(near, key=lambda target: (abs(math.log(target / parameters)), target))


def count_of(build: Build, widths: int) -> Callable[..., float]:
    """The number of parameters as a function of so many widths, fractions too.

    At most two sides of a parameter are widths, so the number is a polynomial of degree two in them. Its differences from
    the narrowest network are taken from networks of widths 1, 2 and 3, made on the meta device.
    """

    def made(*wider: int) -> int:
        with torch.device("meta"):
            network = build(*(1 + wider.count(i) for i in range(widths)))
        return sum(parameter.numel() for parameter in network.parameters())

    narrowest = made()
    first = [made(i) - narrowest for i in range(widths)]
    second = [made(i, i) - 2 * first[i] - narrowest for i in range(widths)]
    mixed = {(i, j): made(i, j) - first[i] - first[j] - narrowest for i, j in combinations(range(widths), 2)}

    def count(*values: float) -> float:
        steps = [value - 1 for value in values]
        alone = (a * x + b * x * (x - 1) / 2 for a, b, x in zip(first, second, steps, strict=True))
        return narrowest + sum(alone) + sum(each * steps[i] * steps[j] for (i, j), each in mixed.items())

    return count


def _outwards(ideal: list[float]) -> Iterator[Widths]:
    """Whole widths in the order of their distance to the ideal ones, none beyond `STRETCH` times them."""

    def distance(widths: Widths) -> float:
        return sum(math.log(width / share) ** 2 for width, share in zip(widths, ideal, strict=True))

    start = tuple(round(share) for share in ideal)
    waiting, seen = [(distance(start), start)], {start}
    while waiting:
        _, widths = heapq.heappop(waiting)
        yield widths
        for i, share in enumerate(ideal):
            for width in (widths[i] - 1, widths[i] + 1):
                beside = (*widths[:i], width, *widths[i + 1 :])
                if max(1.0, share / STRETCH) <= width <= share * STRETCH and beside not in seen:
                    seen.add(beside)
                    heapq.heappush(waiting, (distance(beside), beside))
