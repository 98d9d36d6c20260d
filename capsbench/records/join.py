"""Records of one cell made one: a cell of today may have been several in schema 1, where what was measured made another cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from capsbench.records.record import Measurement, Record, Row, Training


def join_records(records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """The records, one a cell, in the order in which their cells come first.

    Records of one cell are joined where their trainings were the same, epoch by epoch; where not, the newest training stands.

    Returns:
        The records; and a line for each cell whose trainings differ.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.cell.id, []).append(record)
    conflicts: list[str] = []
    joined = []
    for same in groups.values():
        record, conflict = _join(same)
        joined.append(record)
        conflicts += [conflict] if conflict else []
    return joined, conflicts


def rename_sources(records: list[Record], names: Mapping[str, str]) -> list[Record]:
    """The records with the identities of today in the place of those of schema 1, where the condition of a row names a cell.

    Args:
        names: identity of schema 1 -> identity of today.
    """

    def renamed(measurement: Measurement) -> Measurement:
        if not any(row.condition in names for row in measurement.rows):
            return measurement
        rows = [row._replace(condition=names.get(row.condition, row.condition)) for row in measurement.rows]
        return replace(measurement, rows=rows)

    if not names:
        return records
    return [
        replace(record, measures={spec: renamed(found) for spec, found in record.measures.items()})
        for record in records
    ]


def put_on(record: Record, spec: str, rows: list[Row], version: int, provenance: Mapping[str, Any]) -> Record:
    """The record with rows of a measure between networks beside those that it has of it."""
    known = record.measures.get(spec, Measurement(version=version, provenance=dict(provenance)))
    return replace(record, measures={**record.measures, spec: replace(known, rows=[*known.rows, *rows])})


def _join(records: list[Record]) -> tuple[Record, str]:
    if len(records) == 1:
        return records[0], ""
    newest_first = sorted(records, key=_began, reverse=True)
    trained = [record for record in newest_first if record.training is not None] or newest_first[:1]
    newest = trained[0]
    alike = [record for record in trained if _curve(record.training) == _curve(newest.training)]
    measures: dict[str, Measurement] = {}
    for record in reversed(alike):  # of a measure that several have, the newest stands
        measures |= record.measures
    joined = replace(
        newest,
        measures=measures,
        failures={
            name: failure for each in reversed(alike) for name, failure in each.failures.items() if name not in measures
        },
        wanted=list(dict.fromkeys(spec for record in alike for spec in record.wanted)),
        aliases=list(dict.fromkeys(alias for record in alike for alias in record.aliases)),
    )
    others = [_name(record) for record in trained if record not in alike]
    if not others:
        return joined, ""
    return joined, (
        f"{newest.cell.title}: {', '.join([_name(newest), *others])} are one cell, whose trainings differ; "
        f"{_name(newest)}, the newest, stands"
    )


def _name(record: Record) -> str:
    return f"records/{(record.aliases or [record.cell.id])[0]}.json"


def _began(record: Record) -> str:
    if record.training is not None:
        return record.training.started or ""
    return max((failure.failed for failure in record.failures.values()), default="")


def _curve(training: Training | None) -> list[dict[str, float]]:
    """The training curve without its times, which are never the same twice."""
    history = training.history if training else []
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history]
