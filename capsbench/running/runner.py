"""Runs cells: skips what is on record, keeps what is finished, survives what fails.

A run has three phases. First the networks are trained and measured, several at a time, each in a process of its own. Then
what has to be measured alone, such as speed, is measured one cell after the other with nothing else running. Last come the
measures between networks. A record is written as soon as there is more to write, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from capsbench import registry
from capsbench.data.base import load_splits
from capsbench.data.draws import few
from capsbench.errors import Kind, UsageError
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import declaration_of, make_measure, source_of
from capsbench.planning.defaults import usable_cores
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import Cell
from capsbench.records.parts import Parts
from capsbench.records.provenance import provenance
from capsbench.records.record import Measurement, Record
from capsbench.records.store import Store
from capsbench.records.versions import describe_stale
from capsbench.running.cell_job import measure_between, run_cell
from capsbench.running.events import Measured, Measuring, NotMeasured, Trained
from capsbench.running.executors.local import Job, in_processes
from capsbench.running.on_record import ask_anew, check_weights, is_finished, look_up
from capsbench.running.state import (
    ask,
    clear_failed_measure,
    missing_measures,
    record_failed_measures,
    record_failed_training,
    record_measure,
    record_training,
)
from capsbench.training.loop import Progress


class Listener(Protocol):
    """What is told of a run as it goes; `capsbench.running.progress` shows it on a terminal."""

    def remarked(self, remark: str) -> None: ...

    def data_left_out(self, dataset: str, cells: int, reason: str) -> None: ...

    def measure_left_out(self, measure: str, reason: str) -> None: ...

    def run_started(self, cells: Sequence[Cell], on_record: Sequence[Record]) -> None: ...

    def cell_progressed(self, cell: Cell, progress: Progress) -> None: ...

    def cell_ended(self, record: Record) -> None: ...

    def cell_measuring(self, cell: Cell, measure: str) -> None: ...

    def measuring_alone(self, cell: Cell, measures: Sequence[str]) -> None: ...

    def measuring_between(self, measure: str, networks: int) -> None: ...


@dataclass
class Outcome:
    """What became of a run: cells finished now, on record before, failed with their records, and left by Ctrl-C.

    Failed are those that could not be trained, and those of which a measure could not be taken; what else was is on record.
    Of those left, ``trained`` are on record and only have to be measured. ``left_out`` says of each data set that could not be
    had why not; its cells are none of the run's.
    """

    finished: list[str] = field(default_factory=list)
    on_record: list[str] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    interrupted: bool = False
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass
class _Work:
    """A run underway: what is planned, and the records of the networks that are trained, by the identities of their cells."""

    planned: Sequence[PlannedCell]
    store: Store
    data_folder: Path
    listener: Listener
    workers: int
    run: int | None
    records: dict[str, Record]
    outcome: Outcome
    train: bool


def run_cells(
    planned: Sequence[PlannedCell],
    store: Store,
    data_folder: Path,
    listener: Listener,
    *,
    workers: int | None = None,
    command: str = "",
    fresh: bool = False,
    suite: str | None = None,
    leave_out: bool = False,
    unmeasured: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
    train: bool = True,
) -> Outcome:
    """Runs cells and writes a record of each.

    A cell with all of its measures on record is skipped. Of a trained one the measures that are missing, or that are of another
    version, are taken; one whose components are of another version, and a failed one, is trained. Ctrl-C ends the run with all
    that is finished on record, and the same call goes on from there.

    Args:
        workers: networks trained at a time; by default as many as fill the cores, and one where a GPU is used.
        fresh: run cells again that are on record; an old record stays until its network is trained anew. What a fresh run leaves
            is trained anew by the next run of these cells, fresh or not.
        suite: noted with the run.
        leave_out: leave out cells whose data set cannot be had, rather than raise.
        unmeasured: what is not measured here though it would be elsewhere, and why; told, and noted with the run.
        remarks: what else is to be told of the cells before they are run.
        train: False takes measures of networks on record alone, by components of whatever version they were made.

    Raises:
        UsageError: a data set that cannot be had, or none of them; a folder that cannot be written or that another run
            holds; a measure that is missing of a network whose weights are not here: before anything is computed.
        StorageFailed: a record cannot be written; what was written before stays.
    """
    left_out = check_data([each.cell for each in planned], data_folder, leave_out)
    for remark in remarks:
        listener.remarked(remark)
    for dataset, reason in left_out.items():
        listener.data_left_out(dataset, sum(each.cell.dataset == dataset for each in planned), reason)
    for measure, reason in (unmeasured or {}).items():
        listener.measure_left_out(measure, reason)
    planned = [each for each in planned if each.cell.dataset not in left_out]
    store.check_writable()
    with store.lock():
        store.check_not_newer(each.cell for each in planned)
        found = look_up(planned, store, fresh=fresh, train=train)
        records = found.records
        for line in [*describe_stale(found.known.values()), *found.remarks]:
            listener.remarked(line)
        check_weights(planned, store, records)
        finished = [records[each.cell.id] for each in planned if is_finished(each, records.get(each.cell.id))]
        if train:
            finished = ask_anew(planned, finished, store)
        outcome = Outcome(on_record=[record.cell.id for record in finished], left_out=left_out)
        sequence = None
        if train:  # measuring what is on record is no run: the latest stays the one that asked for the networks
            noted = [each.cell for each in planned]
            sequence = store.write_run(
                noted,
                command,
                suite=suite,
                left_out={**left_out, **(unmeasured or {})},
                folders=_folders_of(noted),
                anew=found.anew,
                commit=provenance()["commit"],
            ).sequence
        listener.run_started([each.cell for each in planned], finished)
        at_a_time = workers or default_workers(planned)
        work = _Work(
            planned,
            store,
            data_folder,
            listener,
            at_a_time,
            sequence,
            records,
            outcome,
            train,
        )
        unfinished = [each for each in planned if each.cell.id not in {record.cell.id for record in finished}]
        try:
            _train_and_measure(work, unfinished)
            _measure_alone(work, [each for each in unfinished if each.cell.id in records])
            _measure_between(work)
        except KeyboardInterrupt:
            outcome.interrupted = True
        ended = {*outcome.on_record, *outcome.finished, *(record.cell.id for record in outcome.failed)}
        outcome.left = [each.cell.id for each in planned if each.cell.id not in ended]
        outcome.trained = [cell_id for cell_id in outcome.left if cell_id in records]
    return outcome


def _folders_of(cells: Sequence[Cell]) -> set[Path]:
    """Where the modules of a user's own parts of cells were found."""
    parts = {part for cell in cells for part in Parts.from_cell(cell)}
    return {folder for part in parts if (folder := registry.folder_of(part.kind, part.name)) is not None}


def check_data(cells: Sequence[Cell], data_folder: Path, leave_out: bool = False) -> dict[str, str]:
    """Loads every data set once, so that a missing file or too large a train size ends the run before it starts.

    Returns:
        With ``leave_out``: data set -> why it cannot be had.

    Raises:
        UsageError: a data set cannot be had, with ``leave_out`` none of them; or a train size that one does not have.
    """
    missing = {}
    datasets = sorted({cell.dataset for cell in cells})
    for dataset in datasets:
        try:
            train = load_splits(dataset, data_folder).train
        except UsageError as error:
            if not leave_out:
                raise
            missing[dataset] = str(error)
            continue
        for size in sorted({cell.train_size for cell in cells if cell.dataset == dataset and cell.train_size}):
            few(train, size, seed=0, name=dataset)
    if missing and len(missing) == len(datasets):
        reasons = "; ".join(f"{dataset}: {reason}" for dataset, reason in missing.items())
        problem = f"none of the data can be had here: {reasons}"
        raise UsageError(Kind.MISSING, problem, flag="dataset", value=", ".join(missing))
    return missing


def default_workers(planned: Sequence[PlannedCell]) -> int:
    """As many networks at a time as fill the cores; one where a GPU is used, whose memory they would share."""
    if not planned or any(each.cell.device != "cpu" for each in planned):
        return 1
    return max(1, usable_cores() // max(each.cell.threads for each in planned))


def _train_and_measure(work: _Work, planned: Sequence[PlannedCell]) -> None:
    """Trains cells that are not, and takes the measures that need not be alone."""
    by_id = {each.cell.id: each for each in planned}
    jobs = []
    for each in sorted(planned, key=_longest_first):
        record = work.records.get(each.cell.id)
        missing = missing_measures(each, record)
        if record is None or missing:
            jobs.append(Job(each.cell.id, run_cell, (each, missing, record, work.data_folder, work.store)))

    underway: dict[str, str] = {}

    def receive(name: str, event: Progress | Trained | Measuring | Measured | NotMeasured) -> None:
        each = by_id[name]
        if isinstance(event, Progress):
            work.listener.cell_progressed(each.cell, event)
        elif isinstance(event, Measuring):
            underway[name] = event.spec
            work.listener.cell_measuring(each.cell, event.spec)
        elif isinstance(event, Trained):
            _write(work, record_training(each, event, work.run, work.store.aliases_of(each.cell)))
            work.store.remove_outdated(work.records[name])
        else:
            _write(work, record_measure(_asked(work, each), event, work.run))

    for name, failure in in_processes(jobs, work.workers, receive):
        record = work.records.get(name)
        if failure is not None and record is None:
            # A failure takes no result of before away, and what stays is marked by it.
            record = record_failed_training(by_id[name], failure, work.run, work.store.find(by_id[name].cell))
            work.store.write(record)
        elif failure is not None:
            assert record is not None
            specs = [underway[name]] if name in underway else missing_measures(by_id[name], record)
            record = record_failed_measures(_asked(work, by_id[name]), specs, failure, work.run)
            _write(work, record)
        assert record is not None
        _note(record, work.outcome)
        work.listener.cell_ended(record)


def _measure_alone(work: _Work, planned: Sequence[PlannedCell]) -> None:
    """Takes the measures that have to be alone, one after the other with nothing else running."""
    for each in planned:
        cell_id = each.cell.id
        measures = missing_measures(each, work.records[cell_id], alone=True)
        if not measures:
            continue
        work.listener.measuring_alone(each.cell, measures)

        def receive(spec: str, event: Measuring | Measured | NotMeasured, each: PlannedCell = each) -> None:
            if not isinstance(event, Measuring):
                _write(work, record_measure(_asked(work, each), event, work.run))

        # One job at a time, each in a process of its own: nothing of one measure bleeds into the next.
        jobs = [
            Job(spec, run_cell, (each, [spec], work.records[cell_id], work.data_folder, work.store))
            for spec in measures
        ]
        for spec, failure in in_processes(jobs, on_event=receive):
            if failure is not None:
                _write(work, record_failed_measures(_asked(work, each), [spec], failure, work.run))
        _note(work.records[cell_id], work.outcome)
        if set(measures) & work.records[cell_id].failures.keys():
            work.listener.cell_ended(work.records[cell_id])


def _measure_between(work: _Work) -> None:
    """Takes the measures between networks, from each to each of the same data set, as far as they are not on record."""
    store = work.store
    for spec in sorted({spec for each in work.planned for spec in each.measures}):
        measure = make_measure(spec)
        if not isinstance(measure, MeasureBetween):
            continue
        code = source_of(spec)
        measured = {
            each.cell.id: (each, record)
            for each in work.planned
            if spec in each.measures
            and (record := work.records.get(each.cell.id)) is not None
            and store.has_weights(record)
        }
        jobs, asked = [], {}
        for each, source in measured.values():
            targets = [
                record
                for other, record in measured.values()
                if (other.cell.dataset, other.cell.device) == (each.cell.dataset, each.cell.device)
                and not store.has_between(spec, source, record, measure.version, code)
            ]
            if targets:
                asked[each.cell.id] = targets
                jobs.append(Job(each.cell.id, measure_between, (spec, each, source, targets, work.data_folder, store)))
        if jobs:
            work.listener.measuring_between(spec, len(jobs))
        for name, result in in_processes(jobs, work.workers):
            record = store.read(name)
            if isinstance(result, Exception):
                record = record_failed_measures(record, [spec], result, work.run)
                store.write(record)
                _note(record, work.outcome)
                work.listener.cell_ended(record)
                continue
            for target, rows in zip(asked[name], result, strict=True):
                taken = Measurement(rows, measure.version, provenance(), code=code, declaration=declaration_of(spec))
                store.write_between(spec, name, target.cell.id, taken)
            if spec in record.failures:
                store.write(clear_failed_measure(record, spec))


def _longest_first(planned: PlannedCell) -> tuple[bool, int]:
    """Sorts what takes long to the front, so that no core is left alone with it in the end: CNNs, then many iterations.

    A CNN of as many parameters as a capsule network does more arithmetic than it.
    """
    return planned.cell.has_routing, -(planned.cell.iterations or 0)


def _asked(work: _Work, planned: PlannedCell) -> Record:
    """The record of a trained cell, with what is asked of the cell now."""
    return ask(work.records[planned.cell.id], planned, beside=not work.train)


def _write(work: _Work, record: Record) -> None:
    work.records[record.cell.id] = record
    work.store.write(record)


def _note(record: Record, outcome: Outcome) -> None:
    """Notes what became of a cell, in the place of what was noted of it before."""
    for noted in (outcome.finished, outcome.on_record):
        if record.cell.id in noted:
            noted.remove(record.cell.id)
    outcome.failed[:] = [other for other in outcome.failed if other.cell.id != record.cell.id]
    if record.reason:
        outcome.failed.append(record)
    elif record.status == "finished":
        outcome.finished.append(record.cell.id)
