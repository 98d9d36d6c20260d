"""Retired metrics: existing files keep their rows, but readers leave them out."""

from __future__ import annotations

from dataclasses import replace

from capsbench.records.record import Record

RETIRED = {
    ("speed", "parameters"): "taken by the measure cost",
    (
        "speed",
        "flops",
    ): "taken by the measure cost: these counted the votes in every pass, and no elementwise work outside the passes",
}
"""(measure, metric) -> the reason why its rows are left out."""


def remove_retired(record: Record) -> Record:
    """Removes the rows of retired metrics, whose names now mean another number."""
    if all(row[:2] not in RETIRED for row in record.rows):
        return record
    measures = {
        spec: replace(taken, rows=[row for row in taken.rows if row[:2] not in RETIRED])
        for spec, taken in record.measures.items()
    }
    return replace(record, measures=measures)
