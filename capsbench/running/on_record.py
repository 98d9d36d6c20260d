"""Compares a plan with the records of a folder: finds what is on record, what is missing, and what was edited since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from capsbench.errors import Kind, UsageError
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import make_measure, row_name, source_of
from capsbench.planning.edits import find_edits
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import spell_flag
from capsbench.records.artifacts import find_damaged_kept
from capsbench.records.cell import DATA, Cell
from capsbench.records.record import Record
from capsbench.records.runs import find_left_to_retrain
from capsbench.records.sharing.leases import Leases
from capsbench.records.store import Store
from capsbench.records.versions import stale_training
from capsbench.registry import measure_name
from capsbench.running.state import find_missing, record_request
from capsbench.sources import changed_parts


class OnRecord(NamedTuple):
    """The records of a plan's cells.

    - ``records``: cell identity -> record, of the networks that need not be trained again
    - ``known``: the same, with networks of outdated components
    - ``retrain``: the identities of cells that have to be trained again, whatever is on record
    - ``damaged``: cell identity -> the measures that have to be taken again, since their kept files are damaged
    - ``remarks``: lines for the user
    """

    records: dict[str, Record]
    known: dict[str, Record]
    retrain: list[str]
    damaged: dict[str, list[str]]
    remarks: list[str]

    def find_missing(self, planned: PlannedCell) -> list[str]:
        """Returns the measures that have to be taken of a network, see `capsbench.running.state.find_missing`."""
        cell_id = planned.cell.id
        return find_missing(planned, self.records.get(cell_id), self.damaged.get(cell_id, ()))

    def list_remaining(self, planned: Sequence[PlannedCell]) -> list[PlannedCell]:
        """Returns the cells of a plan that are not finished; trained ones have only their missing measures."""
        remaining = []
        for job in planned:
            if job.cell.id not in self.records:
                remaining.append(job)
            elif missing := self.find_missing(job):
                remaining.append(replace(job, measures=tuple(missing)))
        return remaining


def look_up(planned: Sequence[PlannedCell], store: Store, *, fresh: bool = False, train: bool = True) -> OnRecord:
    """Finds the records of a plan's cells.

    Args:
        fresh: train all cells again. Else those are trained again that an earlier fresh run left, unless a later run did.
        train: False to use networks on record whatever the versions of their components.
    """
    trained = {} if fresh else find_records(planned, store)
    left = {record.cell.id for record in find_left_to_retrain(store.runs(), trained.values())} if train else set()
    known = {cell_id: record for cell_id, record in trained.items() if cell_id not in left}
    records = _drop_outdated(known) if train else known
    remarks = []
    if left:
        cells = "1 cell is" if len(left) == 1 else f"{len(left)} cells are"
        remarks.append(f"{cells} trained again, which an earlier run with {spell_flag('fresh')} left")
    others = [] if fresh else [job for job in planned if job.cell.id not in left]
    remarks += map(str, find_edited(others, store, known))
    damaged, about_damaged = _find_damaged(planned, store, records)
    retrain = [job.cell.id for job in planned if fresh or job.cell.id in left]
    return OnRecord(records, known, retrain, damaged, [*remarks, *about_damaged])


def find_records(planned: Sequence[PlannedCell], store: Store) -> dict[str, Record]:
    """Returns cell identity -> record of the cells that are trained."""
    records = ((job.cell.id, store.find(job.cell)) for job in planned)
    return {cell_id: record for cell_id, record in records if record is not None}


def _drop_outdated(records: Mapping[str, Record]) -> dict[str, Record]:
    """Returns the records of networks whose components all have their present version."""
    return {cell_id: record for cell_id, record in records.items() if not stale_training(record)}


def _find_damaged(
    planned: Sequence[PlannedCell], store: Store, records: Mapping[str, Record]
) -> tuple[dict[str, list[str]], list[str]]:
    """Finds wanted measures on record whose kept files are damaged.

    Returns:
        Cell identity -> those that can be taken again, by weights in the folder; and a line for each way to go on.
    """
    damaged: dict[str, list[str]] = {}
    mended: list[Path] = []
    lost: list[Path] = []
    for job in planned:
        record = records.get(job.cell.id)
        if record is None:
            continue
        for spec, path in find_damaged_kept(store.folder, record, job.measures).items():
            if store.has_weights(record) or not make_measure(spec).needs_weights:
                damaged.setdefault(job.cell.id, []).append(spec)
                mended.append(path)
            else:
                lost.append(path)
    remarks = []
    if mended:
        remarks.append(f"{_list_files(mended)}: measured again")
    if lost:
        remedy = f"put the file back, or train the network again with {spell_flag('fresh')}"
        remarks.append(f"{_list_files(lost)}, and without weights nothing is measured again: {remedy}")
    return damaged, remarks


def _list_files(files: Sequence[Path]) -> str:
    """Returns the subject of a remark: one file by its name, several by their number and the first."""
    if len(files) == 1:
        return f"{files[0]} is damaged"
    return f"{len(files)} kept files are damaged, {files[0]} among them"


class Edited(NamedTuple):
    """A user's own component with another source than networks on record had.

    - ``part``: ``routing my:Mine`` or ``measure my:Measure``; for an own data set that gives other images, ``data my:Set``
    - ``modules``: the edited modules; for ``data`` the changed parts, as ``test images``; empty if the record does not tell
    - ``networks``: the number of networks that have to be trained or measured again
    """

    part: str
    modules: tuple[str, ...]
    networks: int

    def __str__(self) -> str:
        where = f" in {', '.join(self.modules)}" if self.modules else ""
        networks = "1 network" if self.networks == 1 else f"{self.networks} networks"
        if self.part.startswith("measure "):
            return f"{self.part} was edited: {networks} measured again; undo the edit to keep the numbers on record"
        changed = f"was edited{where}"
        if self.part.startswith(f"{DATA} "):
            changed = f"changed{where}" if where else "may have changed (no digest is on record)"
        remedy = "" if self.part.startswith(f"{DATA} ") else "; undo the edit to use those"
        return f"{self.part} {changed}: {networks} trained again, and the earlier records stay{remedy}"


def find_edited(planned: Sequence[PlannedCell], store: Store, records: Mapping[str, Record]) -> list[Edited]:
    """Finds a user's own components that were edited after networks of the plan were trained or measured with them."""
    counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
    absent = [job for job in planned if job.cell.code and job.cell.id not in records]
    before = _index_without_source(store) if absent else {}
    for job in absent:
        if (known := before.get(_identify_without_source(job.cell))) is not None:
            sources = known.training.sources if known.training else {}
            for part, modules in find_edits(known.cell, sources).items():
                counts[part, tuple(modules)] += 1
            if known.cell.code.get(DATA) != job.cell.code.get(DATA):
                changed = changed_parts(sources[DATA], job.data) if DATA in sources else []
                counts[f"{DATA} {job.cell.dataset}", tuple(changed)] += 1
    for job in planned:
        taken = records[job.cell.id].measures if job.cell.id in records else {}
        for spec in set(job.measures) & taken.keys():
            if taken[spec].code != source_of(spec):
                counts[f"measure {measure_name(spec)}", ()] += 1
    return [Edited(part, modules, networks) for (part, modules), networks in counts.items()]


def _index_without_source(store: Store) -> dict[str, Record]:
    """Returns the latest records of networks with own components, by their identities without the source digests."""
    trained = ((record.training, record) for record in store.records()[0] if record.cell.code)
    dated = [
        (training.run or 0, training.started or "", record) for training, record in trained if training is not None
    ]
    return {_identify_without_source(record.cell): record for *_, record in sorted(dated, key=lambda entry: entry[:2])}


def _identify_without_source(cell: Cell) -> str:
    return cell.model_copy(update={"code": {}}).id


def check_weights(planned: Sequence[PlannedCell], store: Store, on_record: OnRecord) -> None:
    """Raises UsageError if a measure is missing of a network without weights in the folder, which is not trained unasked."""
    lacking = [
        (record, specs)
        for job in planned
        if (record := on_record.records.get(job.cell.id)) is not None
        and not store.has_weights(record)
        and (specs := _list_needing_weights(job, record, on_record, store))
    ]
    if lacking:
        record, specs = lacking[0]
        others = f", nor those of {len(lacking) - 1} other networks" if len(lacking) > 1 else ""
        raise UsageError(
            Kind.MISSING,
            f"missing or outdated for {record.cell.title}, and its weights are not in {store.folder}{others}",
            flag="measure",
            value=",".join(specs),
            expected="`capsbench run` with {flag:fresh} trains again",
        )


def settle_row_names(planned: Sequence[PlannedCell], on_record: OnRecord) -> tuple[list[PlannedCell], dict[str, str]]:
    """Leaves out measures that the user did not name and whose numbers would have the name of another measure's on record.

    They could not be told apart. Found here, nothing is measured in vain.

    Returns:
        The cells without these measures, and measure -> why it is left out.

    Raises:
        UsageError: the user named such a measure.
    """
    settled: list[PlannedCell] = []
    left_out: dict[str, str] = {}
    for job in planned:
        faults = _find_taken_names(job, on_record)
        if named := [fault for spec, fault in faults.items() if spec not in job.unnamed]:
            raise named[0]
        left_out = {spec: fault.problem for spec, fault in faults.items()} | left_out
        settled.append(replace(job, measures=tuple(spec for spec in job.measures if spec not in faults)))
    return settled, left_out


def _find_taken_names(job: PlannedCell, on_record: OnRecord) -> dict[str, UsageError]:
    """Returns measure -> the error of a missing one whose numbers have the name of another measure's on record."""
    if (record := on_record.records.get(job.cell.id)) is None:
        return {}
    names = {row.measure: spec for spec, taken in record.measures.items() for row in taken.rows}
    faults = {}
    for spec in on_record.find_missing(job):
        other = names.get(row_name(spec) or "", spec)
        if measure_name(other) != measure_name(spec):
            problem = f"{record.cell.title} has numbers of its name, {row_name(spec)}, from {other} on record"
            remedy = f"ask for {other}, use another folder, or train again by `capsbench run` with {{flag:fresh}}"
            faults[spec] = UsageError(Kind.CONFLICT, problem, flag="measure", value=spec, expected=remedy)
    return faults


def _list_needing_weights(planned: PlannedCell, record: Record, on_record: OnRecord, store: Store) -> list[str]:
    missing = [*on_record.find_missing(planned), *_find_missing_between(planned, record, store)]
    return [spec for spec in missing if make_measure(spec).needs_weights]


def _find_missing_between(planned: PlannedCell, record: Record, store: Store) -> list[str]:
    """Returns the measures between networks that were not taken of a network; each includes the pair with itself."""
    measures = {spec: make_measure(spec) for spec in planned.measures}
    return [
        spec
        for spec, measure in measures.items()
        if isinstance(measure, MeasureBetween)
        and not store.has_between(spec, record, record, measure.version, source_of(spec))
    ]


def renew_requests(
    planned: Sequence[PlannedCell], finished: Sequence[Record], store: Store, leases: Leases
) -> list[Record]:
    """Returns the records of finished cells without failures of measures that are no longer wanted, and with the search that
    found their settings or epochs, and writes changed ones.

    A record that another run works on stays as it is.
    """
    by_id = {job.cell.id: job for job in planned}
    renewed = []
    for record in finished:
        job = by_id[record.cell.id]
        is_of_other_search = job.tuning not in (None, record.tuning) or job.convergence not in (
            None,
            record.convergence,
        )
        if (record.failures or is_of_other_search) and leases.take(record.cell.id):
            record = store.read(record.cell.id)
            updated = record_request(record, job)
            if updated != record:
                store.write(updated)
            leases.release(record.cell.id)
            record = updated
        renewed.append(record)
    return renewed
