"""What of a plan is on record already, and what is missing of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from capsbench.errors import Kind, UsageError
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import make_measure, source_of
from capsbench.planning.edits import find_edits
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import DATA, Cell
from capsbench.records.record import Record
from capsbench.records.runs import find_left_to_retrain
from capsbench.records.store import Store
from capsbench.records.versions import stale_training
from capsbench.registry import measure_name
from capsbench.running.state import ask, missing_measures
from capsbench.sources import changed_parts


class OnRecord(NamedTuple):
    """What is on record of a plan.

    - ``records``: of the cells that are trained and need not be trained anew, by their identities
    - ``known``: those, and those of other versions
    - ``anew``: the cells that are to be trained anew whatever is on record
    - ``remarks``: what is to be told of that, a line each
    """

    records: dict[str, Record]
    known: dict[str, Record]
    anew: list[str]
    remarks: list[str]


def look_up(planned: Sequence[PlannedCell], store: Store, *, fresh: bool = False, train: bool = True) -> OnRecord:
    """What is on record of a plan.

    Args:
        fresh: all cells are to be trained anew. Else those are that a fresh run was to, and neither it nor a later one has.
        train: False for measures of networks on record alone, whatever version trained them.
    """
    found = {} if fresh else find_records(planned, store)
    left = {record.cell.id for record in find_left_to_retrain(store.runs(), found.values())} if train else set()
    known = {cell_id: record for cell_id, record in found.items() if cell_id not in left}
    others = [] if fresh else [each for each in planned if each.cell.id not in left]
    cells = "1 cell is" if len(left) == 1 else f"{len(left)} cells are"
    remarks = [f"{cells} trained anew, which a fresh run of before was to and has not yet"] if left else []
    return OnRecord(
        without_stale(known) if train else known,
        known,
        [each.cell.id for each in planned if fresh or each.cell.id in left],
        [*remarks, *map(str, find_edited(others, store, known))],
    )


def find_records(planned: Sequence[PlannedCell], store: Store) -> dict[str, Record]:
    """The records of the cells that are trained, by their identities."""
    found = ((each.cell.id, store.find(each.cell)) for each in planned)
    return {cell_id: record for cell_id, record in found if record is not None}


def without_stale(records: Mapping[str, Record]) -> dict[str, Record]:
    """The records of networks whose components all have the version of now."""
    return {cell_id: record for cell_id, record in records.items() if not stale_training(record)}


class Edited(NamedTuple):
    """A user's own part that has another source now, the modules that were edited, and of how many networks or their numbers.

    - ``part``: as ``routing my:Mine`` or ``measure my:Measure``; of an own data set that gives other images, ``data my:Set``
    - ``modules``: of ``data`` the parts, as ``test images``; empty where the record does not tell
    """

    part: str
    modules: tuple[str, ...]
    networks: int

    def __str__(self) -> str:
        where = f" in {', '.join(self.modules)}" if self.modules else ""
        networks = "1 network" if self.networks == 1 else f"{self.networks} networks"
        if self.part.startswith("measure "):
            return (
                f"{self.part} was edited: it is taken anew of {networks}; undo the edit to keep the numbers on record"
            )
        if self.part.startswith(f"{DATA} "):
            what = f"changed{where}" if where else "is not known as it was"
            return (
                f"{self.part} {what} since {networks} of this run were trained: they are trained anew, and the records of before "
                "stay"
            )
        return (
            f"{self.part} was edited{where} since {networks} of this run were trained: they are trained anew, and the records "
            "of before stay; undo the edit to use those"
        )


def find_edited(planned: Sequence[PlannedCell], store: Store, records: Mapping[str, Record]) -> list[Edited]:
    """What of a user's own was edited since networks of a plan were trained, or measured, that would else be on record."""
    counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
    absent = [each for each in planned if each.cell.code and each.cell.id not in records]
    before = _trained_by_source(store) if absent else {}
    for each in absent:
        if (known := before.get(_without_source(each.cell))) is not None:
            sources = known.training.sources if known.training else {}
            for part, modules in find_edits(known.cell, sources).items():
                counts[part, tuple(modules)] += 1
            if known.cell.code.get(DATA) != each.cell.code.get(DATA):
                changed = changed_parts(sources[DATA], each.data) if DATA in sources else []
                counts[f"{DATA} {each.cell.dataset}", tuple(changed)] += 1
    for each in planned:
        taken = records[each.cell.id].measures if each.cell.id in records else {}
        for spec in set(each.measures) & taken.keys():
            if taken[spec].code != source_of(spec):
                counts[f"measure {measure_name(spec)}", ()] += 1
    return [Edited(part, modules, networks) for (part, modules), networks in counts.items()]


def _trained_by_source(store: Store) -> dict[str, Record]:
    """The latest record of networks that differ in nothing but the source of a user's own, by what they have in common."""
    trained = ((record.training, record) for record in store.records()[0] if record.cell.code)
    dated = [
        (training.run or 0, training.started or "", record) for training, record in trained if training is not None
    ]
    return {_without_source(record.cell): record for *_, record in sorted(dated, key=lambda entry: entry[:2])}


def _without_source(cell: Cell) -> str:
    return cell.model_copy(update={"code": {}}).id


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
        and (missing := [spec for spec in _missing(each, record, store) if make_measure(spec).needs_weights])
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


def _missing(planned: PlannedCell, record: Record, store: Store) -> list[str]:
    return [*_missing_of_either_kind(planned, record), *_missing_between(planned, record, store)]


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
