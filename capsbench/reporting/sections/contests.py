"""The numbers by which contenders compete in "who won", as the measures declare them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from capsbench.attacks.threats import Threat, bounds_of
from capsbench.measures.accuracy.spec import ACCURACY, TEST_CONTEST
from capsbench.measures.spec import SHARE, Contest, MeasureSpec, Metric
from capsbench.presenting.format import PERCENT
from capsbench.presenting.material import Material
from capsbench.presenting.verdicts import Verdicts
from capsbench.stats.differences import paired_seeds
from capsbench.stats.verdicts import Verdict


class Value(NamedTuple):
    """A contender's number of one seed, and its step: the number is a multiple of it."""

    value: float
    step: float


Values = dict[str, dict[int, Value]]
"""Contender -> seed -> value."""


class Number(NamedTuple):
    """A number by which one contender is ahead of others.

    - ``title``: the heading of its line; it ends in % if the number is a share
    - ``measure``, ``metric``, ``contest``: what its measure declares of it
    """

    title: str
    measure: str
    metric: Metric
    contest: Contest

    @property
    def factor(self) -> float:
        """The factor by which tables show it: shares are in per cent."""
        return 100.0 if self.metric.unit == SHARE else 1.0

    @property
    def is_test_accuracy(self) -> bool:
        """True for the test accuracy, whose differences have verdicts of their own."""
        return (self.measure, self.contest) == (ACCURACY, TEST_CONTEST)

    def find_values(self, material: Material) -> Values:
        """Returns the number of each contender and seed, the mean over its rows."""
        chosen = material.of_number(self.measure, self.metric.name)
        if self.contest.conditions:
            chosen = chosen[chosen["condition"].isin(self.contest.conditions)]
        if chosen.empty:
            return {}
        chosen = material.with_steps(chosen)
        if self.contest.at_headline_bound:
            bounds = {name: bounds_of(name, Threat.LINF).headline for name in chosen["dataset"].unique()}
            chosen = chosen[(chosen["level"] - chosen["dataset"].map(bounds).astype(float)).abs() < 1e-6]
        by_seed = chosen.groupby(["contender", "seed"], sort=False)
        means = by_seed.agg(value=("value", "mean"), step=("step", "max"), count=("value", "count"))
        values: Values = {}
        for (contender, seed), (value, step, count) in zip(means.index, means.to_numpy(), strict=True):
            values.setdefault(contender, {})[seed] = Value(float(value), float(step / count))
        return values


def list_numbers(specs: Mapping[str, MeasureSpec]) -> list[Number]:
    """Returns the numbers of all contests, in the order of the measures; a title that is taken gets the measure's name."""
    numbers: dict[str, Number] = {}
    for spec in specs.values():
        for metric, contest in spec.find_contests():
            unit = PERCENT if metric.unit == SHARE else f"({metric.unit})"
            title = f"{contest.title} {unit}"
            if title in numbers:
                title = f"{contest.title} of {spec.name} {unit}"
            numbers[title] = Number(title, spec.name, metric, contest)
    return [*numbers.values()]


def find_step(values: Values) -> float:
    """Returns the step of a number of some contenders, at least one: the largest."""
    return max(value.step for by_seed in values.values() for value in by_seed.values())


def judge_difference(
    number: Number, values: Values, one: str, other: str, step: float, verdicts: Verdicts
) -> Verdict | None:
    """Returns the verdict on one contender's number minus another's; None without a seed in common.

    There is none between contenders of different searches, whose studies are no pairs.
    """
    if number.is_test_accuracy:
        return verdicts.of_accuracy(one, other)
    sides = values[one], values[other]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    if not seeds or not verdicts.share_search(one, other):
        return None
    numbers = [[by_seed[seed].value for seed in seeds] for by_seed in sides]
    return verdicts.judge(paired_seeds(numbers[0], numbers[1], step))


def count_digits(title: str, value: float) -> int:
    """Returns the digits after the point of a number: 1 of a share in per cent, of any other three significant ones."""
    if title.endswith(PERCENT):
        return 1
    size = abs(value)
    digits = 2 - math.floor(math.log10(size)) if 0 < size < math.inf else 2
    return min(max(digits, 0), 6)
