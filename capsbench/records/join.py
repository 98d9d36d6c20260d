"""Joins records of one cell: in schema 1, the measures were part of the identity, so one cell could have several records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from capsbench.records.record import Measurement, Record, Training


def join_records(records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """Joins the records of each cell if their trainings are the same, epoch by epoch; else keeps the newest training.

    Returns:
        One record a cell, in the order of the first record of each; and a line for each cell whose trainings differ.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.cell.id, []).append(record)
    conflicts: list[str] = []
    joined = []
    for of_cell in groups.values():
        record, conflict = _join_cell(of_cell)
        joined.append(record)
        conflicts += [conflict] if conflict else []
    return joined, conflicts


def rename_sources(records: list[Record], names: Mapping[str, str]) -> list[Record]:
    """Replaces identities of schema 1 by current ones in rows whose condition is a cell.

    Args:
        names: identity of schema 1 -> current identity.
    """
    if not names:
        return records
    return [
        replace(record, measures={spec: rename_conditions(taken, names) for spec, taken in record.measures.items()})
        for record in records
    ]


def rename_conditions(measurement: Measurement, names: Mapping[str, str]) -> Measurement:
    """Replaces identities of schema 1 by current ones in the rows of a measurement."""
    if not any(row.condition in names for row in measurement.rows):
        return measurement
    rows = [row._replace(condition=names.get(row.condition, row.condition)) for row in measurement.rows]
    return replace(measurement, rows=rows)


def add_measurement(record: Record, spec: str, taken: Measurement) -> Record:
    """Adds the rows of a measure between networks to a record; they replace rows of the same numbers."""
    known = record.measures.get(spec)
    if known is None:
        return replace(record, measures={**record.measures, spec: taken})
    new = {row[:3] + row[5:] for row in taken.rows}
    rows = [row for row in known.rows if row[:3] + row[5:] not in new]
    joined = replace(known, rows=[*rows, *taken.rows], data=_join_data(known, taken) if rows else taken.data)
    return replace(record, measures={**record.measures, spec: joined})


def _join_data(one: Measurement, other: Measurement) -> str | None:
    """Returns the digest of the data of both; if they differ, a digest of the two, with its labels by themselves."""
    if one.data is None or other.data is None or one.data == other.data:
        return one.data if one.data == other.data else None
    parts = zip(one.data.partition("-")[::2], other.data.partition("-")[::2], strict=True)
    return "-".join(
        first if first == second else hashlib.sha256(f"{first} {second}".encode()).hexdigest()[:16]
        for first, second in parts
    )


def _join_cell(records: list[Record]) -> tuple[Record, str]:
    if len(records) == 1:
        return records[0], ""
    newest_first = sorted(records, key=_start_time, reverse=True)
    trained = [record for record in newest_first if record.training is not None] or newest_first[:1]
    newest = trained[0]
    alike = [record for record in trained if have_same_curve(record, newest)]
    joined = unite_records(alike)
    others = [file_name(record) for record in trained if record not in alike]
    if not others:
        return joined, ""
    return joined, (
        f"{newest.cell.title}: {', '.join([file_name(newest), *others])} are of one cell, but their trainings differ; "
        f"the newest, {file_name(newest)}, is used"
    )


def unite_records(records: Sequence[Record]) -> Record:
    """Returns the first of some records of one training, with the measures of all.

    Of a measure that several have, the first one's stands. A failed measure that another record has is no failure.
    """
    measures: dict[str, Measurement] = {}
    for record in reversed(records):  # the first last, since the last one wins
        measures |= record.measures
    return replace(
        records[0],
        measures=measures,
        failures={
            name: failure
            for record in reversed(records)
            for name, failure in record.failures.items()
            if name not in measures
        },
        wanted=list(dict.fromkeys(spec for record in records for spec in record.wanted)),
        aliases=list(dict.fromkeys(alias for record in records for alias in record.aliases)),
    )


def file_name(record: Record) -> str:
    """Returns the path of a record's file in its folder."""
    return f"records/{(record.aliases or [record.cell.id])[0]}.json"


def _start_time(record: Record) -> str:
    if record.training is not None:
        return record.training.started or ""
    return max((failure.failed for failure in record.failures.values()), default="")


def have_same_curve(one: Record, other: Record) -> bool:
    """Returns true if two trainings of one cell were the same, epoch by epoch."""
    return _curve_without_times(one.training) == _curve_without_times(other.training)


def _curve_without_times(training: Training | None) -> list[dict[str, float]]:
    """Returns the training curve without its times, which differ between identical trainings."""
    history = training.history if training else []
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history]
