"""What of a plan is on record already, and what is missing of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from capsbench.errors import Kind, UsageError
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import make_measure, source_of
from capsbench.planning.matrix import PlannedCell
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.records.versions import stale_training
from capsbench.running.state import ask, missing_measures


def find_records(planned: Sequence[PlannedCell], store: Store) -> dict[str, Record]:
    """The records of the cells that are trained, by their identities."""
    found = ((each.cell.id, store.find(each.cell)) for each in planned)
    return {cell_id: record for cell_id, record in found if record is not None}


def without_stale(records: Mapping[str, Record]) -> dict[str, Record]:
    """The records of networks whose components all have the version of now."""
    return {cell_id: record for cell_id, record in records.items() if not stale_training(record)}


def remaining(planned: Sequence[PlannedCell], records: Mapping[str, Record]) -> list[PlannedCell]:
    """The cells with those of their measures that are not on record yet."""
    return [
        replace(each, measures=tuple(_missing_of_either_kind(each, records[each.cell.id])))
        if each.cell.id in records
        else each
        for each in planned
    ]


def check_weights(planned: Sequence[PlannedCell], store: Store, records: Mapping[str, Record]) -> None:
    """Raises UsageError where a measure is missing of a network whose weights are not here: it is not trained by surprise."""
    lacking = [
        (record, missing)
        for each in planned
        if (record := records.get(each.cell.id)) is not None
        and not store.has_weights(record)
        and (missing := [*_missing_of_either_kind(each, record), *_missing_between(each, record, store)])
    ]
    if lacking:
        record, missing = lacking[0]
        others = f", and {len(lacking) - 1} other networks alike" if len(lacking) > 1 else ""
        raise UsageError(
            Kind.MISSING,
            f"not on record of {record.cell.title}, or stale there, and its weights are not in {store.folder}{others}",
            flag="measure",
            value=",".join(missing),
            expected="`capsbench run` with {flag:fresh} trains anew",
        )


def ask_anew(planned: Sequence[PlannedCell], finished: Sequence[Record], store: Store) -> list[Record]:
    """The records of finished cells; one with a measure that failed before and is not asked for any more forgets that."""
    by_id = {each.cell.id: each for each in planned}
    anew = [ask(record, by_id[record.cell.id]) if record.failures else record for record in finished]
    for before, record in zip(finished, anew, strict=True):
        if record != before:
            store.write(record)
    return anew


def is_finished(planned: PlannedCell, record: Record | None) -> bool:
    """Whether a cell is trained and has all of its measures, those between networks aside."""
    return record is not None and not _missing_of_either_kind(planned, record)


def _missing_of_either_kind(planned: PlannedCell, record: Record) -> list[str]:
    return [spec for alone in (False, True) for spec in missing_measures(planned, record, alone=alone)]


def _missing_between(planned: PlannedCell, record: Record, store: Store) -> list[str]:
    """The measures between networks that were not taken of a network: each is taken from it to itself as well."""
    made = {spec: make_measure(spec) for spec in planned.measures}
    return [
        spec
        for spec, measure in made.items()
        if isinstance(measure, MeasureBetween)
        and not store.has_between(spec, record, record, measure.version, source_of(spec))
    ]
