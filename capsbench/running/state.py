"""Record transitions: pure functions from a record and an event to the next record.

A record is written after the training, after each measure, and after each failure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from capsbench.errors import ProcessFailed, StorageFailed, TrainingFailed
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import ALL, is_current, make_measure
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import MEASURE_FLAG
from capsbench.records.record import TRAINING, Failure, Measurement, Record, Training
from capsbench.registry import measure_name
from capsbench.running.events import JobEvent, Measured, Measuring, NotMeasured, Trained

LONGEST_REASON, LONGEST_TRACE = 2_000, 50_000
"""The most characters of a failure on record: the beginning of the reason, the end of the traceback."""


def record_training(
    planned: PlannedCell, event: Trained, run: int | None = None, aliases: Sequence[str] = ()
) -> Record:
    """Returns the record of a network that was just trained.

    Args:
        run: sequence number of the run.
        aliases: identities of schema 1 that the cell has on record.
    """
    training = Training(
        rows=event.rows,
        history=event.history,
        versions=event.versions,
        provenance=event.provenance,
        started=event.started,
        seconds=event.seconds,
        backends=event.backends,
        weights=event.weights,
        sources=event.sources,
        data=event.data,
        segments=event.segments,
        run=run,
    )
    return record_request(Record(planned.cell, training, aliases=[*aliases]), planned)


def record_failed_training(
    planned: PlannedCell, failure: Exception, run: int | None = None, before: Record | None = None
) -> Record:
    """Returns the record of a cell whose training failed; raises a failure that every other cell would meet as well.

    Args:
        before: the record of an earlier training, whose numbers stay and are marked as outdated.
    """
    described = _describe_failure(failure, run)
    if before is not None:
        return replace(before, failures={**before.failures, TRAINING: described})
    return record_request(Record(planned.cell, failures={TRAINING: described}), planned)


def record_request(record: Record, planned: PlannedCell, *, add: bool = False) -> Record:
    """Returns the record with the present request for its cell, and with the measures wanted of the network alone.

    The request on record also names measures that were taken for earlier requests. Failures of measures that are no longer
    wanted are dropped.

    Args:
        add: keep the measures of earlier requests among the wanted ones.
    """
    request = dict(planned.request)
    if planned.tuning is not None:
        record = replace(record, role=planned.role, tuning=planned.tuning)
    if planned.convergence is not None:
        record = replace(record, role=planned.role, convergence=planned.convergence)
    others = {*record.measures} - {*planned.measures}
    if request and others and request.get(MEASURE_FLAG) != ALL:
        request[MEASURE_FLAG] = ",".join(sorted({*planned.measures, *others}))
    record = replace(record, request=request)
    asked = select_asked(record, planned)
    return replace(record, wanted=list(dict.fromkeys([*record.wanted, *asked.wanted]))) if add else asked


def select_asked(record: Record, planned: PlannedCell) -> Record:
    """Returns the record with what a plan asked for: only its measures are wanted, and only their failures are failures.

    The record of a network that is only measured also has the failures of earlier commands.
    """
    asked = [spec for spec in planned.measures if not isinstance(make_measure(spec), MeasureBetween)]
    failures = {spec: failure for spec, failure in record.failures.items() if spec in (TRAINING, *planned.measures)}
    return replace(record, wanted=asked, failures=failures)


def check_row_names(record: Record, event: Measured | NotMeasured) -> Measured | NotMeasured:
    """Returns the event, or the failure of a measure whose rows have the name of another measure's rows on record."""
    if isinstance(event, NotMeasured):
        return event
    names = {row.measure for row in event.rows}
    for spec, taken in record.measures.items():
        shared = names & {row.measure for row in taken.rows}
        if shared and measure_name(spec) != measure_name(event.spec):
            reason = f"gave a row of the name {min(shared)!r}, which the rows of {spec} on record have"
            return NotMeasured(event.spec, TrainingFailed(reason))
    return event


def record_measure(record: Record, event: Measured | NotMeasured, run: int | None = None) -> Record:
    """Returns the record with the rows of one more measure, or with its failure."""
    if isinstance(event, NotMeasured):
        return record_failed_measures(record, [event.spec], event.failure, run)
    measurement = Measurement(
        rows=event.rows,
        version=event.version,
        provenance=event.provenance,
        taken=_format_now(),
        seconds=event.seconds,
        kept=event.kept,
        code=event.code,
        data=event.data,
        run=run,
        declaration=event.declaration,
    )
    record = replace(record, measures={**record.measures, event.spec: measurement})
    return clear_failed_measure(record, event.spec)


def record_failed_measures(record: Record, specs: Iterable[str], failure: Exception, run: int | None = None) -> Record:
    """Returns the record with the failure of some measures; raises a failure that every other cell would meet as well."""
    return replace(record, failures={**record.failures, **dict.fromkeys(specs, _describe_failure(failure, run))})


def clear_failed_measure(record: Record, spec: str) -> Record:
    """Returns the record without the failure of a measure."""
    return replace(record, failures={name: failure for name, failure in record.failures.items() if name != spec})


def find_missing(planned: PlannedCell, record: Record | None, damaged: Collection[str] = ()) -> list[str]:
    """Returns the measures that have to be taken of a network: wanted, and not on record or outdated there.

    Measures between networks are left out. Those that have to run alone come last.

    Args:
        damaged: measures on record that have to be taken again, since their kept files are damaged.
    """
    known = {} if record is None else record.measures
    wanted = {spec: make_measure(spec) for spec in planned.measures}
    missing = [
        spec
        for spec, measure in wanted.items()
        if not isinstance(measure, MeasureBetween)
        and (spec not in known or spec in damaged or not is_current(spec, known[spec]))
    ]
    return sorted(missing, key=lambda spec: wanted[spec].alone)


def list_events(before: Record | None, record: Record) -> Iterator[JobEvent]:
    """Yields the events that led from the record of a trained network, or from none, to a later one."""
    training = record.training
    if training is not None and (before is None or before.training != training):
        yield Trained(**_select_fields(training, Trained))
    for spec, taken in record.measures.items():
        if before is None or before.measures.get(spec) != taken:
            yield Measuring(spec)
            yield Measured(spec, **_select_fields(taken, Measured))


def _select_fields(entry: Training | Measurement, event: type[Trained | Measured]) -> dict[str, Any]:
    """Returns the fields of an entry on record that an event has, too."""
    return {part.name: getattr(entry, part.name) for part in fields(event) if hasattr(entry, part.name)}


def _describe_failure(failure: Exception, run: int | None) -> Failure:
    if isinstance(failure, StorageFailed):
        raise failure
    trace = failure.trace if isinstance(failure, ProcessFailed) else ""
    reason = _to_unicode(str(failure))[:LONGEST_REASON]
    return Failure(reason, _format_now(), _to_unicode(trace)[-LONGEST_TRACE:], run)


def _to_unicode(text: str) -> str:
    """Escapes lone surrogates, which no record can hold; a file name that is not UTF-8 has them."""
    return text.encode(errors="backslashreplace").decode()


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
