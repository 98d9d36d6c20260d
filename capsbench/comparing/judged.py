"""The numbers that the gate judges, each a single one of a network."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from statistics import fmean, median
from typing import NamedTuple

from capsbench.comparing.side import experiment
from capsbench.records.cell import Cell
from capsbench.records.record import Record

Place = tuple[str, float | None]
"""Condition and level of a row."""


class Judged(NamedTuple):
    """A number that the gate judges: the mean of some rows of a record.

    - ``name``: for people
    - ``conditions``: those rows', or how they begin; empty: all
    - ``higher``: whether higher is better
    - ``relative``: whether it is compared by its logarithm, as an error without a scale is, so that a point is a hundredth of it
    - ``least``: what anything below counts as, where that says no more
    """

    name: str
    measure: str
    metric: str
    conditions: tuple[str, ...] = ()
    higher: bool = True
    relative: bool = False
    least: float = -math.inf

    def rows(self, record: Record, sources: Mapping[str, Cell]) -> dict[Place, float]:
        """The rows of a record by condition and level.

        Args:
            sources: identity -> cell, of the networks that a condition may name. Of those only the ones of the record's own seed
                count, whatever the machine: how many seeds were run together is no matter of the number.
        """
        found: dict[Place, float] = {}
        for row in record.rows:
            if row[:2] == (self.measure, self.metric) and (not self.conditions or row.condition in self.conditions):
                source = sources.get(row.condition)
                if source is None:
                    found[row.condition, row.level] = row.value
                elif source.seed == record.cell.seed:
                    found[experiment(source), row.level] = row.value
        return found

    def of(self, values: Collection[float]) -> float | None:
        """The number that some rows make; None where they make none."""
        if not values or (self.relative and min(values) <= 0):
            return None
        mean = max(fmean(values), self.least)
        return math.log(mean) if self.relative else mean

    def shown(self, value: float) -> str:
        """A value as a person reads it."""
        return f"{math.exp(value):.4g}" if self.relative else f"{100 * value:.1f} %"


JUDGED = (
    Judged("test accuracy", "accuracy", "accuracy", ("test",)),
    Judged("area under the affine curves", "affine", "area under the curve"),
    Judged("robust accuracy, worst case in Linf", "adversarial", "robust accuracy", ("Linf, worst case",)),
    Judged("robust accuracy, worst case in L2", "adversarial", "robust accuracy", ("L2, worst case",)),
    Judged("robust accuracy, vote and output attack", "routing-robustness", "robust accuracy", ("vote attack", "output attack")),
    Judged("accuracy at other iterations", "routing-robustness", "accuracy", ("iterations at test time",)),
    Judged("undetected adversarial images", "detection", "undetected rate", ("worst case",), higher=False),
    Judged("consistency under transformations", "equivariance", "consistency", ("all",)),
    Judged("R^2 of what poses know of transformations", "equivariance", "R^2", ("all",), least=0.0),
    Judged("success of transferred attacks", "transfer", "success rate", higher=False),
    Judged("error of novel viewpoints", "viewpoint", "error", ("novel",), higher=False),
    Judged("images of which all objects are found", "overlap", "accuracy", ("all found",)),
    Judged("squared error of transformed images", "transformation", "squared error", ("inside",), higher=False, relative=True),
)  # fmt: skip
"""Judged by statistics, of each contender and of the mean over contenders."""

EXACT = {
    ("training", "parameters", "network"): "parameters",
    ("cost", "parameters", "inference"): "parameters at inference",
    ("cost", "flops", "inference"): "FLOPs an image",
}
"""(measure, metric, condition) -> name, of numbers that may not differ at all."""

TIMES = {
    ("speed", "latency p50", "inference"): "time of inference",
    ("speed", "latency p50", "training step"): "time of a training step",
}
"""(measure, metric, condition) -> name, of times that are judged as ratios between the contenders of a run."""

CHECKS = ("adversarial", "sanity check")
"""Measure and metric of the checks on attacks: 1 where one held."""


def mean_by_seed(values: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """The mean over contenders of each seed that all of them have: one draw of the noise that they have in common."""
    contenders = list(values)
    seeds = set.intersection(*(set(each) for each in contenders))
    return {seed: fmean(each[seed] for each in contenders) for seed in sorted(seeds)}


def ratios_to_median(times: Mapping[str, Mapping[int, float]]) -> dict[str, dict[int, float]]:
    """Contender -> seed -> the logarithm of its time by the median of all contenders' of the seed, which are one run's."""
    seeds = {seed for each in times.values() for seed in each}
    middle = {seed: median(each[seed] for each in times.values() if seed in each) for seed in seeds}
    return {
        title: {seed: math.log(time / middle[seed]) for seed, time in each.items()} for title, each in times.items()
    }
