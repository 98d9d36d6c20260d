"""The record of a cell as training and measuring go on: each function makes the next one of the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from capsbench.errors import ProcessFailed, StorageFailed
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import make_measure
from capsbench.records.cell import Cell
from capsbench.records.provenance import provenance
from capsbench.records.record import Record
from capsbench.running.events import Measured, NotMeasured, Trained

FAILED_MEASURES = "failed measures"
"""In a record's provenance: measure -> why it could not be taken and when, until it is."""


def missing_measures(cell: Cell, record: Record | None, *, alone: bool = False) -> list[str]:
    """The measures of a cell that a record does not have yet."""
    specs = [spec for spec in cell.measures if record is None or spec not in record.measured]
    made = {spec: make_measure(spec) for spec in specs}
    return [s for s, each in made.items() if each.alone == alone and not isinstance(each, MeasureBetween)]


def record_of(cell: Cell, trained: Trained) -> Record:
    """The record of a network that was just trained."""
    facts = {
        **provenance(),
        "backend": ", ".join(trained.backends) or None,
        "threads": cell.threads,
        "started": trained.started,
        "seconds": trained.seconds,
    }
    return _settled(Record(cell, "trained", rows=trained.rows, history=trained.history, provenance=facts))


def record_after(record: Record, event: Measured | NotMeasured) -> Record:
    """The record with the rows of one more measure, or with why there are none."""
    if isinstance(event, NotMeasured):
        return without_measures(record, [event.spec], event.failure)
    seconds = {**record.provenance.get("measuring seconds", {}), event.spec: event.seconds}
    record = replace(
        record,
        rows=record.rows + event.rows,
        measured=[*record.measured, event.spec],
        provenance={**record.provenance, "measuring seconds": seconds},
    )
    return _settled(mended_record(record, event.spec))


def _settled(record: Record) -> Record:
    """The record as finished, once it has all of its measures."""
    if any(missing_measures(record.cell, record, alone=alone) for alone in (False, True)):
        return record
    return replace(record, status="finished")


def failed_record(cell: Cell, failure: Exception) -> Record:
    """The record of a cell that could not be trained; raises what would meet every other cell as well."""
    facts = {**provenance(), "threads": cell.threads, "failed": _now(), **_trace_of(failure)}
    return Record(cell=cell, status="failed", reason=str(failure), provenance=facts)


def without_measures(record: Record, specs: Sequence[str], failure: Exception) -> Record:
    """The record with why some measures could not be taken; raises what would meet every other cell as well."""
    note = {"reason": str(failure), "failed": _now(), **_trace_of(failure)}
    return _noting(record, {**record.provenance.get(FAILED_MEASURES, {}), **dict.fromkeys(specs, note)})


def mended_record(record: Record, spec: str) -> Record:
    """The record without a word on a measure that failed before."""
    notes = record.provenance.get(FAILED_MEASURES, {})
    return _noting(record, {name: note for name, note in notes.items() if name != spec})


def _noting(record: Record, notes: Mapping[str, Mapping[str, str]]) -> Record:
    """The record with notes on all measures that failed, its reason a phrase of all of them."""
    facts = {
        key: fact for key, fact in record.provenance.items() if key not in ("failed", "traceback", FAILED_MEASURES)
    }
    if notes:
        facts[FAILED_MEASURES] = dict(notes)
    alike: dict[str, list[str]] = {}
    for name, note in notes.items():
        alike.setdefault(note["reason"], []).append(name)
    reason = "; ".join(f"{', '.join(names)}: {why}" for why, names in alike.items())
    return replace(record, reason=reason, provenance=facts)


def _trace_of(failure: Exception) -> dict[str, str]:
    if isinstance(failure, StorageFailed):
        raise failure
    return {"traceback": failure.trace} if isinstance(failure, ProcessFailed) and failure.trace else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
