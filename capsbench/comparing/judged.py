"""The numbers that the gate judges by statistics, as the measures declare them, and how they are read from a record."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from statistics import fmean, median
from typing import NamedTuple

from capsbench.comparing.side import to_experiment
from capsbench.measures.spec import Judged, MeasureSpec, Metric, Rule
from capsbench.records.cell import Cell
from capsbench.records.record import Record, Row
from capsbench.records.specs import TRAINING_SPEC

Place = tuple[str, float | None]
"""Condition and level of a row."""


class JudgedNumber(NamedTuple):
    """A number that the gate judges: the mean of some rows of a record.

    - ``measure``: the measure of its rows, or the training
    - ``metric``, ``judged``: what the measure declares of it
    """

    measure: str
    metric: Metric
    judged: Judged

    @property
    def title(self) -> str:
        return self.judged.title

    @property
    def sign_of_drop(self) -> int:
        """1 if a lower number is a drop, -1 if a higher one is."""
        return 1 if self.metric.higher_is_better else -1

    def is_of(self, row: Row) -> bool:
        """Returns true for a row that the number is made of."""
        conditions = self.judged.conditions
        return row[:2] == (self.measure, self.metric.name) and (not conditions or row.condition in conditions)

    def name_check(self, row: Row) -> str:
        """Returns the name of the check that a row is about."""
        return f"{self.title}, {row.condition}"

    def find_rows(self, record: Record, sources: Mapping[str, Cell]) -> dict[Place, float]:
        """Returns the values of a record's rows by condition and level.

        Args:
            sources: identity -> cell, of the networks that a condition may name. Of those only the ones of the record's own seed
                count, on whichever machine, so that the number does not depend on how many seeds were run together.
        """
        values: dict[Place, float] = {}
        for row in filter(self.is_of, record.rows):
            source = sources.get(row.condition)
            if source is None:
                values[row.condition, row.level] = row.value
            elif source.seed == record.cell.seed:
                values[to_experiment(source), row.level] = row.value
        return values

    def find_time(self, record: Record) -> float | None:
        """Returns the value of a record's first row, a time; None if it has none above 0."""
        return next((row.value for row in record.rows if self.is_of(row) and row.value > 0), None)

    def average(self, values: Collection[float]) -> float | None:
        """Returns the number that some rows make, its logarithm if it is relative; None if they make none."""
        if not values or (self.judged.relative and min(values) <= 0):
            return None
        mean = fmean(values)
        if self.judged.floor is not None:
            mean = max(mean, self.judged.floor)
        return math.log(mean) if self.judged.relative else mean

    def describe(self, value: float) -> str:
        """Returns a number of `average` as a person reads it."""
        return f"{math.exp(value):.4g}" if self.judged.relative else f"{100 * value:.1f} %"


def list_judged(specs: Mapping[str, MeasureSpec], rule: Rule) -> list[JudgedNumber]:
    """Returns the numbers of a training and of measures that the gate judges by a rule."""
    return [
        JudgedNumber(spec.name, metric, judged)
        for spec in (TRAINING_SPEC, *specs.values())
        for metric, judged in spec.find_judged(rule)
    ]


def mean_by_seed(values: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """Returns the mean over contenders of each seed that all of them have: one draw of the noise that they have in common."""
    contenders = list(values)
    seeds = set.intersection(*map(set, contenders))
    return {seed: fmean(by_seed[seed] for by_seed in contenders) for seed in sorted(seeds)}


def ratios_to_median(times: Mapping[str, Mapping[int, float]]) -> dict[str, dict[int, float]]:
    """Returns contender -> seed -> the logarithm of its time divided by the median time of all contenders with that seed."""
    seeds = {seed for by_seed in times.values() for seed in by_seed}
    middle = {seed: median(by_seed[seed] for by_seed in times.values() if seed in by_seed) for seed in seeds}
    return {
        title: {seed: math.log(time / middle[seed]) for seed, time in by_seed.items()}
        for title, by_seed in times.items()
    }
