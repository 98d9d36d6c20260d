"""The declarations of a measure: its numbers, their direction, and who reads them.

A built-in measure declares them in ``measures/NAME/spec.py``, and a user's own measure in its class attribute ``spec``, which its
record repeats. Defaults, "who won", the gate and the default section read them. Nothing here imports torch or pandas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, StrictBool, StringConstraints

from capsbench import registry
from capsbench.errors import ArgumentError

Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Conditions = Annotated[tuple[Word, ...], Field(max_length=100)]
"""The limits are for records of other people, which hold declarations too."""

LARGEST = 1e30
"""The largest magnitude of a number: squares, sums and per cent of such numbers are finite."""

SHARE = "fraction"
"""The unit of shares. Tables show them in per cent, and the gate compares them in points."""

Rule = Literal["mean", "exact", "time", "check"]
"""A rule by which the gate judges a number:

- ``mean``: its mean over seeds may not be worse than the reference's
- ``exact``: it has to be what it is in the reference
- ``time``: its ratio to that of the run's median contender may not be longer by a factor
- ``check``: it is 1 where a check held, which may not fail more often
"""


@dataclass(frozen=True)
class Contest:
    """A line of "who won": a number by which one contender is ahead of others.

    Attributes:
        title: the heading of the line, without the unit.
        conditions: the conditions of its rows, whose mean is taken; empty: all conditions.
        at_headline_bound: only rows whose level is the headline epsilon of the data set (`capsbench.attacks.threats`) count. A
            contender for which a sanity check of the attacks failed is then not called ahead.
        excludes_collapsed: collapsed contenders take no part, because a network that predicts one class withstands everything.
    """

    title: Word
    conditions: Conditions = ()
    at_headline_bound: StrictBool = False
    excludes_collapsed: StrictBool = False


@dataclass(frozen=True)
class Judged:
    """A number that the gate judges: the mean of some rows of a record.

    Attributes:
        title: the name of the number in a check.
        conditions: the conditions of its rows; empty: all conditions.
        rule: how it is judged.
        relative: it is compared by its logarithm, as an error without a scale is, so that a point is a hundredth of it.
        floor: a lower value counts as this one, because it says no more.
    """

    title: Word
    conditions: Conditions = ()
    rule: Rule = "mean"
    relative: StrictBool = False
    floor: Annotated[FiniteFloat, Field(ge=-LARGEST, le=LARGEST)] | None = None


def _check_parts(argument: str, parts: object, kind: type) -> None:
    """Raises ArgumentError for one part where a tuple of them belongs, as when its comma is forgotten, and for other types."""
    if not isinstance(parts, tuple | list) or not all(isinstance(part, kind) for part in parts):
        raise ArgumentError(argument, f"a tuple of {kind.__name__}, such as ({kind.__name__}(...),)", parts)


@dataclass(frozen=True)
class Metric:
    """A metric of a measure.

    Attributes:
        name: the ``metric`` of its rows.
        unit: the ``unit`` of its rows.
        higher_is_better: its direction; None if it has none.
        columns: the conditions that are columns of the default section.
        contests: its lines in "who won".
        judged: the numbers that the gate judges.
        repeatable: False for times and memory, which differ each time they are taken.
        is_share: False for a fraction that may lie outside [0, 1], such as R^2.

    Raises:
        ArgumentError: a number is compared and has no direction, or is judged in points and is no fraction; or contests or judged
            numbers are of another type.
    """

    name: Word
    unit: Word
    higher_is_better: StrictBool | None = None
    columns: Conditions = ()
    contests: Annotated[tuple[Contest, ...], Field(max_length=10)] = ()
    judged: Annotated[tuple[Judged, ...], Field(max_length=10)] = ()
    repeatable: StrictBool = True
    is_share: StrictBool = True

    def __post_init__(self) -> None:
        _check_parts("contests", self.contests, Contest)
        _check_parts("judged", self.judged, Judged)
        averaged = [judged for judged in self.judged if judged.rule == "mean"]
        if self.higher_is_better is None and (self.contests or averaged):
            raise ArgumentError("higher_is_better", "True or False for a metric that is compared", None)
        if self.unit != SHARE and any(not judged.relative for judged in averaged):
            raise ArgumentError("judged", f"relative=True for a metric whose unit is not {SHARE}", self.unit)


@dataclass(frozen=True)
class MeasureSpec:
    """The declarations of a measure.

    Attributes:
        name: the ``measure`` of its rows.
        metrics: its metrics; rows of other metrics are on record and in no table.
        title: the heading of its default section; empty: the name.
        caption: how to read the default section, in sentences.
        by_default: a run that names no measure takes it; only for built-in measures.
        compared: the count of its numbers by which contenders are compared; None: its contests, at least one. Bonferroni's
            correction counts them.
        retired: metric -> why readers leave out its rows in records of before; only for built-in measures.

    Raises:
        ArgumentError: two metrics, contests or judged numbers have one name, or metrics are of another type.
    """

    name: Word
    metrics: Annotated[tuple[Metric, ...], Field(max_length=100)] = ()
    title: Text = ""
    caption: Text = ""
    by_default: StrictBool = False
    compared: Annotated[int, Field(ge=0, le=100)] | None = None
    retired: Mapping[Word, Text] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_parts("metrics", self.metrics, Metric)
        names = [metric.name for metric in self.metrics]
        contests = [contest.title for metric in self.metrics for contest in metric.contests]
        titles = [judged.title for metric in self.metrics for judged in metric.judged]
        for argument, values in (("metrics", names), ("contests", contests), ("judged", titles)):
            if repeated := [value for value in values if values.count(value) > 1]:
                raise ArgumentError(argument, "a name of its own for each", repeated[0])

    @property
    def count_compared(self) -> int:
        """The count of numbers by which contenders are compared."""
        contests = sum(len(metric.contests) for metric in self.metrics)
        return max(1, contests) if self.compared is None else self.compared

    def find_contests(self) -> Iterator[tuple[Metric, Contest]]:
        """Yields each contest with its metric."""
        yield from ((metric, contest) for metric in self.metrics for contest in metric.contests)

    def find_judged(self, rule: Rule) -> Iterator[tuple[Metric, Judged]]:
        """Yields each number that the gate judges by a rule, with its metric."""
        yield from ((metric, judged) for metric in self.metrics for judged in metric.judged if judged.rule == rule)


@cache
def built_in_specs() -> Mapping[str, MeasureSpec]:
    """Returns measure -> spec of the built-in measures, in the order of the registry, which is that of the page."""
    return {name: registry.load_beside("measure", name, "spec:SPEC") for name in registry.BUILT_IN["measure"]}


@cache
def metrics_beyond_shares() -> frozenset[tuple[str, str]]:
    """Returns (measure, metric) of built-in fractions that may lie outside [0, 1]."""
    return frozenset(
        (spec.name, metric.name) for spec in built_in_specs().values() for metric in spec.metrics if not metric.is_share
    )
