"""What becomes of a record when something happened to its cell: pure functions, from a record to the next.

A record is written whenever there is more to write: after the training, after each measure, and after each failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from capsbench.errors import ProcessFailed, StorageFailed
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import ALL, is_current, make_measure
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import MEASURE_FLAG
from capsbench.records.provenance import provenance
from capsbench.records.record import TRAINING, Failure, Measurement, Record, Training
from capsbench.running.events import Measured, NotMeasured, Trained

LONGEST_REASON, LONGEST_TRACE = 2_000, 50_000
"""Letters of a failure that are kept: the beginning of the reason, the end of the traceback."""


def record_training(
    planned: PlannedCell, event: Trained, run: int | None = None, aliases: Sequence[str] = ()
) -> Record:
    """The record of a network that was just trained.

    Args:
        run: sequence number of the run.
        aliases: identities of schema 1 that the cell has on record.
    """
    training = Training(
        rows=event.rows,
        history=event.history,
        versions=event.versions,
        provenance=provenance(),
        started=event.started,
        seconds=event.seconds,
        backends=event.backends,
        weights=event.weights,
        sources=event.sources,
        data=event.data,
        run=run,
    )
    return ask(Record(planned.cell, training, aliases=[*aliases]), planned)


def record_failed_training(
    planned: PlannedCell, failure: Exception, run: int | None = None, before: Record | None = None
) -> Record:
    """The record of a cell that could not be trained; raises what would meet every other cell as well.

    Args:
        before: what is on record of an earlier training, which stays, as outdated.
    """
    described = _describe(failure, run)
    if before is not None:
        return replace(before, failures={**before.failures, TRAINING: described})
    return ask(Record(planned.cell, failures={TRAINING: described}), planned)


def ask(record: Record, planned: PlannedCell, *, beside: bool = False) -> Record:
    """The record with what is asked of its cell now: the request, and the measures that are wanted of the network alone.

    The request names the measures as well that are on record beside those. What failed before and is not asked for any more
    is forgotten.

    Args:
        beside: the measures are asked for beside those that were asked for before.
    """
    request = dict(planned.request)
    others = {*record.measures} - {*planned.measures}
    if request and others and request.get(MEASURE_FLAG) != ALL:
        request[MEASURE_FLAG] = ",".join(sorted({*planned.measures, *others}))
    wanted = [spec for spec in planned.measures if not isinstance(make_measure(spec), MeasureBetween)]
    if beside:
        return replace(record, request=request, wanted=list(dict.fromkeys([*record.wanted, *wanted])))
    failures = {spec: failure for spec, failure in record.failures.items() if spec in (TRAINING, *planned.measures)}
    return replace(record, request=request, wanted=wanted, failures=failures)


def record_measure(record: Record, event: Measured | NotMeasured, run: int | None = None) -> Record:
    """The record with the rows of one more measure, or with why there are none."""
    if isinstance(event, NotMeasured):
        return record_failed_measures(record, [event.spec], event.failure, run)
    measurement = Measurement(
        rows=event.rows,
        version=event.version,
        provenance=provenance(),
        taken=_now(),
        seconds=event.seconds,
        kept=event.kept,
        code=event.code,
        data=event.data,
        run=run,
        declaration=event.declaration,
    )
    record = replace(record, measures={**record.measures, event.spec: measurement})
    return clear_failed_measure(record, event.spec)


def record_failed_measures(record: Record, specs: Sequence[str], failure: Exception, run: int | None = None) -> Record:
    """The record with why some measures could not be taken; raises what would meet every other cell as well."""
    return replace(record, failures={**record.failures, **dict.fromkeys(specs, _describe(failure, run))})


def clear_failed_measure(record: Record, spec: str) -> Record:
    """The record without a word on a measure that failed before."""
    return replace(record, failures={name: failure for name, failure in record.failures.items() if name != spec})


def missing_measures(planned: PlannedCell, record: Record | None, *, alone: bool = False) -> list[str]:
    """The measures of a network that are wanted and not on record, or on record of another version.

    Args:
        alone: those that have to be taken alone, or those that need not.
    """
    known = {} if record is None else record.measures
    made = {spec: make_measure(spec) for spec in planned.measures}
    return [
        spec
        for spec, measure in made.items()
        if measure.alone == alone
        and not isinstance(measure, MeasureBetween)
        and not (spec in known and is_current(spec, known[spec]))
    ]


def _describe(failure: Exception, run: int | None) -> Failure:
    if isinstance(failure, StorageFailed):
        raise failure
    trace = failure.trace if isinstance(failure, ProcessFailed) else ""
    return Failure(str(failure)[:LONGEST_REASON], _now(), trace[-LONGEST_TRACE:], run)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
