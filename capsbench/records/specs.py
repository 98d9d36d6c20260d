"""The specs of the measures that records have numbers of: built-in ones, those that a user's own declare, and defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

from capsbench.measures.spec import Judged, MeasureSpec, Metric, built_in_specs
from capsbench.records.record import TRAINING, Record, Row

MOST_COLUMNS = 8
"""The most columns of the default section of a measure that declares nothing."""

TRAINING_SPEC = MeasureSpec(
    TRAINING,
    compared=0,
    metrics=(
        Metric(
            "parameters",
            "parameters",
            higher_is_better=False,
            judged=(Judged("parameters", conditions=("network",), rule="exact"),),
        ),
        Metric("epochs", "epochs"),
        Metric("start", "s", higher_is_better=False, repeatable=False),
        Metric("duration", "s", higher_is_better=False, repeatable=False),
    ),
)
"""The rows of a training, which no measure takes."""


def specs_of(records: Iterable[Record]) -> dict[str, MeasureSpec]:
    """Returns measure -> spec: all built-in measures in the order of the page, then a user's own that the records have rows of.

    A user's own measure has the spec that its latest measurement declares. Without one it has `make_default_spec`, whose columns
    a spec without columns has, too.
    """
    declared: dict[str, tuple[str, MeasureSpec]] = {}
    rows: dict[str, list[Row]] = {}
    for record in records:
        for measurement in record.measures.values():
            for row in measurement.rows:
                if row.measure not in built_in_specs():
                    rows.setdefault(row.measure, []).append(row)
            spec, taken = measurement.declaration, measurement.taken or ""
            if spec is not None and (spec.name not in declared or taken >= declared[spec.name][0]):
                declared[spec.name] = taken, spec
    own = {
        name: _complete_columns(declared[name][1], rows[name])
        if name in declared
        else make_default_spec(name, rows[name])
        for name in rows
    }
    return {**built_in_specs(), **own}


def _complete_columns(spec: MeasureSpec, rows: Iterable[Row]) -> MeasureSpec:
    """Returns a spec that declares no columns with those that `make_default_spec` gives its metrics, so that it has a table."""
    if any(metric.columns for metric in spec.metrics):
        return spec
    default = {metric.name: metric for metric in make_default_spec(spec.name, rows).metrics}
    metrics = [
        replace(metric, columns=default[metric.name].columns) if metric.name in default else metric
        for metric in spec.metrics
    ]
    return replace(spec, metrics=tuple(metrics or default.values()))


def make_default_spec(name: str, rows: Iterable[Row]) -> MeasureSpec:
    """Returns the spec of a measure that declares nothing: its first `MOST_COLUMNS` numbers without a level are columns."""
    columns: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        conditions = columns.setdefault((row.metric, row.unit), {})
        if row.level is None and sum(map(len, columns.values())) < MOST_COLUMNS:
            conditions[row.condition] = None
    metrics = {metric: Metric(metric, unit, columns=tuple(shown)) for (metric, unit), shown in columns.items() if shown}
    return MeasureSpec(name, tuple(metrics.values()))


def find_unrepeatable(specs: Mapping[str, MeasureSpec]) -> frozenset[tuple[str, str]]:
    """Returns (measure, metric) of the times and memory among the numbers of a training and of measures."""
    return frozenset(
        (spec.name, metric.name)
        for spec in (TRAINING_SPEC, *specs.values())
        for metric in spec.metrics
        if not metric.repeatable
    )


@cache
def retired_metrics() -> Mapping[tuple[str, str], str]:
    """Returns (measure, metric) -> the reason why its rows are left out, as the measures declare them."""
    return {
        (spec.name, metric): reason for spec in built_in_specs().values() for metric, reason in spec.retired.items()
    }


def remove_retired(record: Record) -> Record:
    """Removes the rows of retired metrics, whose names now mean another number."""
    retired = retired_metrics()
    if all(row[:2] not in retired for row in record.rows):
        return record
    measures = {
        spec: replace(taken, rows=[row for row in taken.rows if row[:2] not in retired])
        for spec, taken in record.measures.items()
    }
    return replace(record, measures=measures)
