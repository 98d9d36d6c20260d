"""Retired metrics: existing files keep their rows, but readers leave them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from capsbench.measures.spec import built_in_specs
from capsbench.records.record import Record


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
