"""Numbers that no measure gives any more: they stay in the files that have them, and nothing reads them."""

from __future__ import annotations

from dataclasses import replace

from capsbench.records.record import Record

RETIRED = {
    ("speed", "parameters"): "taken by the measure cost",
    (
        "speed",
        "flops",
    ): "taken by the measure cost: these counted votes in every pass, and no elements outside the passes",
}
"""(measure, metric) -> why rows of it are left out of records."""


def without_retired(record: Record) -> Record:
    """The record without rows that would stand beside others of the same name and another meaning."""
    if all(row[:2] not in RETIRED for row in record.rows):
        return record
    measures = {
        spec: replace(taken, rows=[row for row in taken.rows if row[:2] not in RETIRED])
        for spec, taken in record.measures.items()
    }
    return replace(record, measures=measures)
